import io

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from bithive.blobs import FileBlobs, MemoryBlobs
from bithive.errors import DigestMismatch, Refused
from clinic import refusals
from clinic.reader import read
from tests.common.dicom_factory import content_of, files_of, make_series, rows_of

SHAPE = (3, 4, 5)


def volume_of(series):
    rows, blobs = rows_of(series)
    return read(rows, blobs)[1]


def stored(low, high, dtype=np.int16):
    return np.linspace(low, high, 60).astype(dtype).reshape(SHAPE)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_whole_numbers_stay_what_they_are(syntax):
    pixels = stored(-500, 1500)
    volume = volume_of(make_series(SHAPE, pixels=pixels, syntax=syntax))
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, pixels)
    assert volume.unit == "arbitrary"


def test_rle_and_big_endian_go_through_the_decoders():
    pixels = stored(0, 4000, np.uint16)
    plain = make_series(SHAPE, pixels=pixels, signed=False, bits_stored=12)
    packed = make_series(SHAPE, pixels=pixels, signed=False, bits_stored=12)
    for item in packed:
        item.compress(RLELossless, generate_instance_uid=False)
    assert np.array_equal(volume_of(plain).array, volume_of(packed).array)
    swapped = []
    for item in make_series(SHAPE, pixels=pixels, signed=False, bits_stored=12):
        item.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        item.PixelData = np.frombuffer(item.PixelData, "<u2").astype(">u2").tobytes()
        target = io.BytesIO()
        pydicom.dcmwrite(target, item, little_endian=False, implicit_vr=False, enforce_file_format=True)
        swapped.append(target.getvalue())
    assert np.array_equal(volume_of(swapped).array, pixels)


def test_ct_becomes_hounsfield_units():
    pixels = stored(0, 4095, np.uint16)
    volume = volume_of(make_series(SHAPE, modality="CT", pixels=pixels, signed=False, bits_stored=12))
    assert (volume.unit, volume.array.dtype) == ("HU", np.int16)
    assert np.array_equal(volume.array, pixels.astype(int) - 1024)


def test_ct_without_a_rescale_is_refused():
    series = make_series(SHAPE, modality="CT")
    del series[1].RescaleIntercept
    with pytest.raises(refusals.NoHounsfield):
        volume_of(series)
    with pytest.raises(refusals.NoHounsfield):
        volume_of(make_series(SHAPE, modality="CT", RescaleType="OD"))


def test_a_slope_gives_floats_slice_by_slice():
    series = make_series(SHAPE, pixels=stored(0, 100))
    for z, item in enumerate(series):
        item.RescaleSlope, item.RescaleIntercept = 0.5 * (z + 1), 3
    array = volume_of(series).array
    expected = [0.5 * (z + 1) * plane + 3 for z, plane in enumerate(stored(0, 100))]
    assert array.dtype == np.float32
    assert array == pytest.approx(np.array(expected))


def test_large_unsigned_values_stay_whole():
    pixels = stored(0, 65535, np.uint16)
    volume = volume_of(make_series(SHAPE, pixels=pixels, signed=False))
    assert volume.array.dtype == np.uint16
    assert np.array_equal(volume.array, pixels)


def test_values_that_fit_no_type_become_floats():
    pixels = stored(-32768, 32767)
    volume = volume_of(make_series(SHAPE, modality="CT", pixels=pixels))
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, pixels.astype(int) - 1024)


def test_bits_beyond_those_stored_are_cut_off():
    pixels = stored(0, 4095, np.uint16)
    dirty = pixels | 0xF000
    assert np.array_equal(volume_of(make_series(SHAPE, pixels=dirty, signed=False, bits_stored=12)).array, pixels)
    signed = stored(-2048, 2047)
    cut = (signed & 0x0FFF).astype(np.int16)
    assert np.array_equal(volume_of(make_series(SHAPE, pixels=cut, bits_stored=12)).array, signed)


def test_eight_bits():
    series = make_series(SHAPE, pixels=stored(0, 255, np.uint8).astype(np.uint16), signed=False, bits_stored=8)
    for z, item in enumerate(series):
        item.BitsAllocated, item.HighBit = 8, 7
        item.PixelData = stored(0, 255, np.uint8)[z].tobytes()
        item["PixelData"].VR = "OB"
    volume = volume_of(series)
    assert volume.array.dtype == np.uint8
    assert np.array_equal(volume.array, stored(0, 255, np.uint8))


def test_monochrome1_is_turned_round_unless_it_is_hounsfield():
    pixels = stored(0, 4095, np.uint16)
    arguments = {"pixels": pixels, "signed": False, "bits_stored": 12, "PhotometricInterpretation": "MONOCHROME1"}
    assert np.array_equal(volume_of(make_series(SHAPE, **arguments)).array, 4095 - pixels.astype(int))
    assert np.array_equal(volume_of(make_series(SHAPE, modality="CT", **arguments)).array, pixels.astype(int) - 1024)


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("PhotometricInterpretation", "RGB", "unsupported-pixels"),
        ("SamplesPerPixel", 3, "unsupported-pixels"),
        ("BitsAllocated", 32, "unsupported-pixels"),
        ("BitsStored", 0, "unsupported-pixels"),
        ("HighBit", 3, "unsupported-pixels"),
        ("RescaleSlope", 0, "unsupported-pixels"),
    ],
)
def test_unusual_pixels_are_refused(member, value, code):
    series = make_series(SHAPE)
    setattr(series[1], member, value)
    with pytest.raises(Refused) as refusal:
        volume_of(series)
    assert refusal.value.code == code


def test_pixels_that_end_early_are_refused():
    series = make_series(SHAPE)
    series[1].PixelData = series[1].PixelData[:-8]
    with pytest.raises(refusals.TruncatedPixels):
        volume_of(series)


def test_pixels_that_no_decoder_reads_are_refused():
    series = make_series(SHAPE)
    for item in series:
        item.compress(RLELossless, generate_instance_uid=False)
    series[1].PixelData = encapsulate([b"\xff" * 80])
    with pytest.raises(refusals.UndecodablePixels):
        volume_of(series)


def test_exact_duplicates_are_read_once():
    series = make_series(SHAPE)
    twin = make_series(SHAPE)[1]
    twin.SOPInstanceUID = "1.2.9"
    rows, blobs = rows_of([*series, twin])
    grid, volume = read(rows, blobs)
    assert (grid.duplicates, volume.array.shape) == (1, SHAPE)
    twin.PixelData = bytes(len(twin.PixelData))
    rows, blobs = rows_of([*series, twin])
    with pytest.raises(refusals.DuplicatePositions):
        read(rows, blobs)


def test_a_file_that_changed_on_disk_is_noticed(tmp_path):
    rows, blobs = rows_of(make_series(SHAPE), FileBlobs(tmp_path))
    path = blobs.path(rows[1].blob)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DigestMismatch):
        read(rows, blobs)


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [("t1-head/dicom", "*"), ("mr-head-sagittal", "*.dcm"), ("ct-head-philips", "I*"), ("ct-body-j2k", "CT*")],
)
def test_voxels_and_places_are_those_that_simpleitk_reads(shared, tmp_path, folder, pattern):
    sitk = pytest.importorskip("SimpleITK")
    contents = [with_uids(content) for content in files_of(shared / "data" / folder, pattern)]
    names = []
    for number, content in enumerate(contents):
        names.append(str(tmp_path / f"{number}.dcm"))
        (tmp_path / f"{number}.dcm").write_bytes(content)
    rows, blobs = rows_of(contents, MemoryBlobs())
    grid, volume = read(rows, blobs)
    place = {row.sop_uid: names[k] for k, row in enumerate(rows)}
    image = sitk.ReadImage([place[row.sop_uid] for row in grid.rows])
    assert np.array_equal(sitk.GetArrayViewFromImage(image), volume.array)
    ends = [size - 1 for size in image.GetSize()]
    for corner in np.ndindex(2, 2, 2):
        index = [int(end * bit) for end, bit in zip(ends, corner, strict=True)]
        theirs = image.TransformIndexToPhysicalPoint(index)
        assert (volume.affine @ (*index, 1))[:3] == pytest.approx(theirs, abs=1e-3)


def with_uids(content: bytes) -> bytes:
    """The file as it is, but for one that left its UIDs blank."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    if dataset.SOPInstanceUID:
        return content
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    return content_of(dataset)
