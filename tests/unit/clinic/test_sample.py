import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

from clinic.sample import BadSample, SyntheticPatient, write_sample

AFFINE = np.array([[-1.5, 0.1, 0, 40], [0.15, 1.0, 0, -50], [0, 0, 2.0, -20], [0, 0, 0, 1.0]])


@pytest.fixture
def nifti(tmp_path):
    array = np.random.default_rng(0).integers(0, 646, (20, 30, 25)).astype(np.int16)
    path = tmp_path / "head.nii.gz"
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def read(folder):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_an_independent_reader_finds_each_voxel_where_it_was(nifti, tmp_path):
    files = write_sample(nifti, tmp_path / "series")
    assert len(files) == 20
    image, source = read(tmp_path / "series"), nib.load(nifti)
    stored = SimpleITK.GetArrayFromImage(image)
    values = np.asarray(source.dataobj)
    rng = np.random.default_rng(1)
    for index in rng.integers(0, values.shape, (200, 3)):
        x, y, z = (source.affine @ [*index, 1])[:3]
        place = image.TransformPhysicalPointToContinuousIndex((-x, -y, z))
        assert np.allclose(place, np.rint(place), atol=1e-3)
        column, row, plane = np.rint(place).astype(int)
        assert stored[plane, row, column] == values[tuple(index)]


def test_it_is_valid_and_consistent(nifti, tmp_path, external):
    files = write_sample(nifti, tmp_path / "series")
    for path in (files[0], files[-1]):
        checked = subprocess.run([external("dciodvfy"), path], capture_output=True, text=True)
        assert "Error" not in checked.stderr + checked.stdout, checked.stderr
    checked = subprocess.run([external("dcentvfy"), *files], capture_output=True, text=True)
    assert "Error" not in checked.stderr + checked.stdout


def test_it_is_sagittal_and_of_nobody(nifti, tmp_path):
    headers = [pydicom.dcmread(path) for path in write_sample(nifti, tmp_path / "series")]
    first = headers[0]
    assert str(first.PatientName) == "SYNTHETIC^HEAD"
    orientation = np.array(first.ImageOrientationPatient, float)
    assert orientation[1] > 0.9
    assert orientation[5] < -0.9
    assert [header.InstanceNumber for header in headers] == list(range(1, 21))
    across = [float(header.ImagePositionPatient[0]) for header in headers]
    assert across == sorted(across, reverse=True)
    assert len({header.SOPInstanceUID for header in headers}) == 20
    assert len({header.SeriesInstanceUID for header in headers}) == 1


def test_the_seed_decides_every_uid(nifti, tmp_path):
    def uids(folder, **given):
        return {str(pydicom.dcmread(path).SOPInstanceUID) for path in write_sample(nifti, tmp_path / folder, **given)}

    assert uids("a") == uids("b")
    assert uids("a").isdisjoint(uids("c", seed="another"))
    patient = SyntheticPatient(name="SYNTHETIC^OTHER")
    path = write_sample(nifti, tmp_path / "d", patient=patient)[0]
    assert str(pydicom.dcmread(path).PatientName) == "SYNTHETIC^OTHER"


def save(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_what_cannot_be_written_is_refused(tmp_path):
    skewed = AFFINE.copy()
    skewed[0, 1] = 0.8
    text = tmp_path / "text.nii"
    text.write_text("no image")
    cut = save(tmp_path / "whole.nii.gz", np.ones((9, 9, 9), np.int16))
    short = tmp_path / "short.nii.gz"
    short.write_bytes(cut.read_bytes()[:60])
    for path in (
        text,
        short,
        tmp_path / "absent.nii",
        save(tmp_path / "flat.nii", np.ones((9, 9), np.int16)),
        save(tmp_path / "nan.nii", np.full((9, 9, 9), np.nan, np.float32)),
        save(tmp_path / "zero.nii", np.zeros((9, 9, 9), np.int16)),
        save(tmp_path / "skewed.nii", np.ones((9, 9, 9), np.int16), skewed),
    ):
        with pytest.raises(BadSample):
            write_sample(path, tmp_path / "out")


def test_values_beyond_twelve_bits_are_scaled(tmp_path):
    array = np.linspace(-1000, 30000, 1000).reshape(10, 10, 10).astype(np.float32)
    header = pydicom.dcmread(write_sample(save(tmp_path / "wide.nii", array), tmp_path / "out")[0])
    values = np.stack([pydicom.dcmread(path).pixel_array for path in sorted((tmp_path / "out").iterdir())])
    assert (values.min(), values.max()) == (0, 4095)
    assert header.BitsStored == 12
