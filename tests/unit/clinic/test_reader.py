import io
import subprocess

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

from bithive.blobs import FileBlobs
from bithive.errors import DigestMismatch, Refused
from clinic import refusals
from clinic.reader import read
from tests.common.dicom_factory import content_of, make_series, rows_of

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


def big_endian(item):
    item.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    item.PixelData = np.frombuffer(item.PixelData, "<u2").astype(">u2").tobytes()
    target = io.BytesIO()
    pydicom.dcmwrite(target, item, little_endian=False, implicit_vr=False, enforce_file_format=True)
    return target.getvalue()


def by_program(external, folder, item, *command):
    (folder / "in.dcm").write_bytes(content_of(item))
    subprocess.run([external(command[0]), *command[1:], folder / "in.dcm", folder / "out.dcm"], check=True)
    return (folder / "out.dcm").read_bytes()


@pytest.mark.parametrize(("signed", "bits"), [(False, 8), (True, 8), (False, 12), (True, 12), (False, 16), (True, 16)])
@pytest.mark.parametrize(
    "command",
    [
        None,
        ("dcmcjpeg", "+e1"),
        ("dcmcjpeg", "+el"),
        ("dcmcjpls", "+el"),
        ("dcmcrle",),
        ("dcmconv", "+tb"),
        ("dcmconv", "+td"),
        ("dcmconv", "+ti"),
    ],
    ids=lambda command: "-".join(command) if command else "plain",
)
def test_every_depth_and_sign_in_every_lossless_syntax(external, tmp_path, command, signed, bits):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    dtype = np.int16 if signed else np.uint16
    pixels = np.linspace(low, high, 2 * 16 * 16).astype(dtype).reshape(2, 16, 16)
    series = make_series((2, 16, 16), pixels=pixels, signed=signed, bits_stored=bits)
    if bits == 8:
        for z, item in enumerate(series):
            item.BitsAllocated = 8
            item.PixelData = pixels[z].astype(np.int8 if signed else np.uint8).tobytes()
            item["PixelData"].VR = "OB"
    found = [by_program(external, tmp_path, item, *command) if command else item for item in series]
    assert np.array_equal(volume_of(found).array, pixels)


@pytest.mark.parametrize("high_bit", [11, 13, 15])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("form", ["little", "big", "rle"])
def test_values_anywhere_in_their_cell(high_bit, signed, form):
    pixels = stored(-2048, 2047) if signed else stored(0, 4095, np.uint16)
    cells = ((pixels.astype(np.uint16) & 0x0FFF) << (high_bit - 11)).astype(pixels.dtype)
    series = make_series(SHAPE, pixels=cells, signed=signed, bits_stored=12, HighBit=high_bit)
    if form == "rle":
        for item in series:
            item.compress(RLELossless, generate_instance_uid=False)
    found = [big_endian(item) for item in series] if form == "big" else series
    assert np.array_equal(volume_of(found).array, pixels)


def test_compressed_values_that_are_not_at_the_foot_of_their_cell_are_refused(external, tmp_path):
    series = make_series((2, 16, 16), pixels=np.zeros((2, 16, 16), np.uint16), signed=False, bits_stored=12)
    found = []
    for item in series:
        packed = pydicom.dcmread(io.BytesIO(by_program(external, tmp_path, item, "dcmcjpeg", "+e1")))
        packed.HighBit = 15
        found.append(packed)
    with pytest.raises(refusals.UnsupportedPixels):
        volume_of(found)


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
        ("RescaleSlope", 1e300, "unsupported-pixels"),
        ("RescaleIntercept", 1e300, "unsupported-pixels"),
        ("PhotometricInterpretation", "PALETTE COLOR", "unsupported-pixels"),
        ("BitsAllocated", 12, "unsupported-pixels"),
        ("BitsAllocated", 1, "unsupported-pixels"),
    ],
)
def test_unusual_pixels_are_refused(member, value, code):
    series = make_series(SHAPE)
    setattr(series[1], member, value)
    with pytest.raises(Refused) as refusal:
        volume_of(series)
    assert refusal.value.code == code


def test_a_modality_look_up_table_is_refused():
    series = make_series(SHAPE)
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "US", bytes(4)
    series[1].ModalityLUTSequence = [table]
    with pytest.raises(refusals.UnsupportedPixels):
        volume_of(series)


@pytest.mark.parametrize(("name", "dtype"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_floating_point_pixels_are_refused(name, dtype):
    series = make_series(SHAPE)
    for item in series:
        del item.PixelData
        item.BitsAllocated = item.BitsStored = np.dtype(dtype).itemsize * 8
        setattr(item, name, np.zeros(SHAPE[1:], dtype).tobytes())
    with pytest.raises(refusals.UnsupportedPixels):
        volume_of(series)


def test_more_than_a_volume_may_hold_is_refused_before_memory_is_asked_for():
    series = make_series(SHAPE)
    for item in series:
        item.Rows = item.Columns = 60_000
    with pytest.raises(refusals.VolumeTooLarge):
        volume_of(series)


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
    assert grid.warnings == ("duplicates-dropped",)
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
