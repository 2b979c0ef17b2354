"""What BitHive writes, judged by programs that nobody here made: dciodvfy, dcmqi, SimpleITK, highdicom."""

import io
import json
import re
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from clinic.writers import rejection, sr, write
from tests.common.dicom_factory import CORONAL, content_of, files_of, head_series
from tests.common.external import external
from tests.common.written import context, findings_of, source_of

SERIES = {
    "t1-head": ("t1-head/dicom", "*"),
    "mr-head-sagittal": ("mr-head-sagittal", "*.dcm"),
    "ct-head-philips": ("ct-head-philips", "I*"),
}


@pytest.fixture(scope="module", params=["factory", *SERIES])
def case(request, tmp_path_factory):
    """A source, its files, what was found in it, and the five objects written, as files."""
    if request.param == "factory":
        contents = [content_of(item) for item in head_series((12, 33, 31), orientation=CORONAL)]
    else:
        folder, pattern = SERIES[request.param]
        contents = files_of(request.getfixturevalue("shared") / "data" / folder, pattern)
    source = source_of(contents)
    findings = findings_of(source)
    objects = write(source, findings, context())
    objects.append(sr.verified(objects[1].content, "2.25.77", "Berg^", "Test Hospital", 1_800_000_900_000))
    every = [item.content for item in objects]
    objects.append(rejection.write(every, "2.25.78", "2.25.79", "Berg^", "Test Hospital", 1_800_000_950_000))
    place = tmp_path_factory.mktemp("written")
    for item in objects:
        (place / f"{item.kind}.dcm").write_bytes(item.content)
    (place / "source.dcm").write_bytes(contents[0])
    return source, findings, place


def faults(path: Path) -> set[str]:
    """The errors that dciodvfy sees, without the values and the place in the file."""
    ended = subprocess.run([external("dciodvfy"), "-new", path], capture_output=True, text=True)
    lines = (ended.stdout + ended.stderr).splitlines()
    return {re.sub(r"<[^>]*/|=? ?<[^>]*>", "", line) for line in lines if line.startswith(("Error", "Abort"))}


@pytest.mark.parametrize("kind", ["seg", "sr", "sc", "sr-verified", "rejection"])
def test_dciodvfy_sees_no_error_that_the_source_does_not_have(case, kind):
    _, _, place = case
    assert faults(place / f"{kind}.dcm") <= faults(place / "source.dcm")


def test_dcmqi_finds_every_voxel_where_the_source_has_it(case, tmp_path):
    source, findings, place = case
    command = [
        external("segimage2itkimage"),
        "--inputDICOM",
        place / "seg.dcm",
        "--outputDirectory",
        tmp_path,
        "-t",
        "nrrd",
    ]
    subprocess.run(command, check=True, capture_output=True)
    image = sitk.ReadImage(tmp_path / "1.nrrd")
    theirs = sitk.GetArrayFromImage(image) > 0
    mask = findings.masks[0].array
    assert theirs.sum() == mask.sum()
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    index = np.argwhere(theirs)[:: max(1, int(theirs.sum()) // 20_000), ::-1]
    places = index @ steps.T + np.array(image.GetOrigin())
    ours = (places - source.volume.affine[:3, 3]) @ np.linalg.inv(source.volume.affine[:3, :3]).T
    nearest = np.round(ours).astype(int)
    assert np.abs((ours - nearest) * source.volume.spacing_mm).max() < 1e-3
    assert mask[nearest[:, 2], nearest[:, 1], nearest[:, 0]].all()


def test_highdicom_finds_every_voxel_where_the_source_has_it(case):
    source, findings, place = case
    volume = hd.seg.segread(place / "seg.dcm").get_volume(combine_segments=True)
    assert int(volume.array.sum()) == int(findings.masks[0].array.sum())
    index = np.argwhere(volume.array)[:: max(1, int(volume.array.sum()) // 20_000)]
    places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    ours = (places - source.volume.affine[:3, 3]) @ np.linalg.inv(source.volume.affine[:3, :3]).T
    nearest = np.round(ours).astype(int)
    assert np.abs((ours - nearest) * source.volume.spacing_mm).max() < 1e-3
    assert findings.masks[0].array[nearest[:, 2], nearest[:, 1], nearest[:, 0]].all()


@pytest.mark.parametrize("kind", ["sr", "sr-verified"])
def test_dcmqi_and_highdicom_read_the_measurement_back(case, tmp_path, kind):
    _, findings, place = case
    value = findings.measurements[0].value
    (group,) = hd.sr.srread(place / f"{kind}.dcm").content.get_volumetric_roi_measurement_groups()
    assert group.get_measurements()[0].value == pytest.approx(value, rel=1e-5)
    told = tmp_path / "report.json"
    command = [external("tid1500reader"), "--inputDICOM", place / f"{kind}.dcm", "--outputMetadata", told]
    subprocess.run(command, check=True, capture_output=True)
    (measured,) = json.loads(told.read_text())["Measurements"]
    (item,) = measured["measurementItems"]
    assert float(item["value"]) == pytest.approx(value, rel=1e-5)
    assert item["units"]["CodeValue"] == "mL"
    assert measured["segmentationSOPInstanceUID"] == pydicom.dcmread(place / "seg.dcm").SOPInstanceUID


def test_dcmtk_parses_the_reports(case):
    _, _, place = case
    for kind in ("sr", "sr-verified", "rejection"):
        ended = subprocess.run([external("dsrdump"), place / f"{kind}.dcm"], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert not re.search(r"^[EF]:", ended.stderr, re.MULTILINE), ended.stderr


def test_pydicom_opens_the_preview(case):
    _, _, place = case
    dataset = pydicom.dcmread(io.BytesIO((place / "sc.dcm").read_bytes()))
    assert dataset.pixel_array.shape[2] == 3
