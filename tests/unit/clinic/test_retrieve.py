"""Out of the archive: the same bytes, the same pixels, or a refusal."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ImplicitVRLittleEndian

from bithive.errors import DigestMismatch
from clinic import retrieve
from clinic.errors import BulkAbsent, FrameAbsent, InstanceAbsent, SeriesAbsent, StudyAbsent
from clinic.instance import first
from clinic.syntaxes import EXPLICIT_LITTLE_ENDIAN, NATIVE
from tests.common.dicom_factory import content_of, files_of, make_series
from tests.common.dicomweb import OURS, THEIRS, clinic_side

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"


@pytest.fixture
def side(tmp_path):
    with clinic_side(tmp_path) as side:
        yield side


def stored(side, *contents):
    outcomes = side.intake.receive(OURS, ([content] for content in contents))
    assert all(outcome.stored for outcome in outcomes), outcomes
    return [side.archive.instance(OURS, outcome.sop_uid) for outcome in outcomes]


def sample(name):
    return (SAMPLES / name).read_bytes()


def test_paths_name_what_the_institution_has(side):
    rows = stored(side, *(content_of(dataset) for dataset in make_series((3, 4, 4))))
    study, series, sop = rows[0].study_uid, rows[0].series_uid, rows[0].sop_uid
    assert len(retrieve.find(side.archive, OURS, study)) == 3
    assert len(retrieve.find(side.archive, OURS, study, series)) == 3
    assert retrieve.find(side.archive, OURS, study, series, sop) == rows[:1]
    for error, institution, path in [
        (StudyAbsent, THEIRS, (study,)),
        (SeriesAbsent, THEIRS, (study, series)),
        (InstanceAbsent, THEIRS, (study, series, sop)),
        (StudyAbsent, OURS, ("1.9",)),
        (SeriesAbsent, OURS, ("1.9", series)),
        (SeriesAbsent, OURS, (study, "1.9")),
        (InstanceAbsent, OURS, ("1.9", series, sop)),
        (InstanceAbsent, OURS, (study, "1.9", sop)),
        (InstanceAbsent, OURS, (study, series, "1.9")),
    ]:
        with pytest.raises(error):
            retrieve.find(side.archive, institution, *path)


@pytest.mark.parametrize("size", [4, 800])
def test_a_file_comes_out_as_it_went_in_and_changed_bytes_never_whole(side, tmp_path, size):
    content = content_of(make_series((1, size, size))[0])
    (row,) = stored(side, content)
    assert b"".join(retrieve.file_chunks(side.blobs, row)) == content
    path = tmp_path / "blobs" / row.blob[:2] / row.blob
    path.write_bytes(content[:-1] + b"\xff")
    seen = []
    with pytest.raises(DigestMismatch):
        for chunk in retrieve.file_chunks(side.blobs, row):
            seen.append(chunk)  # noqa: PERF402 - the loop is what fails
    assert sum(map(len, seen)) < len(content)


@pytest.mark.parametrize("give", [retrieve.corrected, retrieve.converted])
def test_blank_uids_leave_filled_in_and_the_stored_file_stays(side, shared, give):
    content = files_of(shared / "data" / "ct-body-j2k")[0]
    (row,) = stored(side, content)
    assert not retrieve.is_as_stored(row)
    assert b"".join(retrieve.file_chunks(side.blobs, row)) == content
    given = pydicom.dcmread(io.BytesIO(give(side.blobs, row)))
    assert (given.SOPInstanceUID, given.SOPClassUID) == (row.sop_uid, row.sop_class)
    assert (given.StudyInstanceUID, given.SeriesInstanceUID) == (row.study_uid, row.series_uid)
    (changed,) = given.OriginalAttributesSequence
    assert (changed.ModifyingSystem, changed.ReasonForTheAttributeModification) == ("BitHive", "CORRECT")
    blank = {element.keyword: element.value for element in changed.ModifiedAttributesSequence[0]}
    assert set(blank) == {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"}
    assert not any(blank.values())
    np.testing.assert_array_equal(given.pixel_array, pydicom.dcmread(io.BytesIO(content)).pixel_array)


NATIVE_FILES = ["MR_small_implicit.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm", "rtdose.dcm", "liver_expb_1frame.dcm"]
PACKED_FILES = ["JPEG2000.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NATIVE_FILES + PACKED_FILES)
def test_a_converted_file_has_the_same_pixels(side, name):
    (row,) = stored(side, sample(name))
    assert retrieve.is_convertible(row, EXPLICIT_LITTLE_ENDIAN)
    converted = pydicom.dcmread(io.BytesIO(retrieve.converted(side.blobs, row)))
    assert converted.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE_ENDIAN
    assert converted.SOPInstanceUID == row.sop_uid
    np.testing.assert_array_equal(converted.pixel_array, pixel_array(pydicom.dcmread(SAMPLES / name)))


def test_what_can_be_given_in_which_syntax(side):
    (row,) = stored(side, content_of(make_series((1, 4, 4), syntax=ImplicitVRLittleEndian)[0]))
    assert all(retrieve.is_convertible(row, syntax) for syntax in ("*", row.transfer_syntax, EXPLICIT_LITTLE_ENDIAN))
    assert not retrieve.is_convertible(row, "1.2.840.10008.1.2.4.90")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*NATIVE_FILES, *PACKED_FILES, "liver_1frame.dcm", "SC_rgb_rle_2frame.dcm"])
def test_each_native_frame_is_the_decoded_one(side, name):
    (row,) = stored(side, sample(name))
    dataset = pydicom.dcmread(SAMPLES / name)
    expected = dataset.pixel_array
    count = retrieve.frame_count(row)
    frames = expected if count > 1 else expected[None]
    bits = first(row.header, "00280100") == "1"
    for number in range(1, count + 1):
        content = retrieve.native_frame(side.blobs, row, number)
        if bits:
            array = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[: frames[0].size]
        else:
            array = np.frombuffer(content, frames.dtype.newbyteorder("<"))
        if row.transfer_syntax in NATIVE and dataset.get("PlanarConfiguration"):
            array = np.moveaxis(array.reshape(3, *frames[0].shape[:2]), 0, -1)
        np.testing.assert_array_equal(array.reshape(frames[0].shape), frames[number - 1])


@pytest.mark.filterwarnings("ignore")
def test_stored_frames_are_the_compressed_bytes(side):
    (row,) = stored(side, sample("JPEG2000.dcm"))
    assert retrieve.stored_frame(side.blobs, row, 1)[:4] == b"\xff\x4f\xff\x51"
    (row,) = stored(side, sample("SC_rgb_rle_2frame.dcm"))
    assert retrieve.stored_frame(side.blobs, row, 1) != retrieve.stored_frame(side.blobs, row, 2)


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (4, 4), (7, 9)])
def test_frames_of_bits_begin_at_a_byte_of_their_own(side, rows, columns):
    frames = np.random.default_rng(1).integers(0, 2, (5, rows, columns)).astype(np.uint8)
    (dataset,) = make_series((1, 2, 2))
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, 5
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    dataset.PixelData += b"\x00" * (len(dataset.PixelData) % 2)
    dataset["PixelData"].VR = "OB"
    (row,) = stored(side, content_of(dataset))
    for number in range(1, 6):
        content = retrieve.stored_frame(side.blobs, row, number)
        assert len(content) == -(-rows * columns // 8)
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[: rows * columns]
        np.testing.assert_array_equal(bits.reshape(rows, columns), frames[number - 1])


@pytest.mark.filterwarnings("ignore")
def test_frames_that_are_not_there(side):
    image, report = stored(side, content_of(make_series((1, 4, 4))[0]), sample("reportsi.dcm"))
    for row, number in ((image, 0), (image, 2), (report, 1)):
        with pytest.raises(FrameAbsent):
            retrieve.stored_frame(side.blobs, row, number)


def test_bulk_values_are_named_and_given(side):
    (dataset,) = make_series((1, 4, 4))
    dataset.add_new(0x00420011, "OB", b"ab" * 5000)
    inner = pydicom.Dataset()
    inner.add_new(0x00420011, "OB", b"cd" * 5000)
    dataset.ReferencedImageSequence = [inner]
    (row,) = stored(side, content_of(dataset))
    header = retrieve.metadata(row, "http://hub/i")
    assert header["00420011"]["BulkDataURI"] == "http://hub/i/bulkdata/00420011"
    assert header["7FE00010"] == {"vr": "OW", "BulkDataURI": "http://hub/i/bulkdata/7FE00010"}
    nested = header["00081140"]["Value"][0]["00420011"]["BulkDataURI"]
    assert nested == "http://hub/i/bulkdata/00081140/0/00420011"
    assert row.header["00420011"]["BulkDataURI"] == "bulkdata/00420011"
    assert retrieve.bulk(side.blobs, row, "00420011") == [b"ab" * 5000]
    assert retrieve.bulk(side.blobs, row, "00081140/0/00420011") == [b"cd" * 5000]
    assert retrieve.bulk(side.blobs, row, "7FE00010") == [dataset.PixelData]
    with pytest.raises(BulkAbsent):
        retrieve.bulk(side.blobs, row, "00100010")


@pytest.mark.filterwarnings("ignore")
def test_one_frame_can_be_decoded_by_anyone(side):
    for name in ("SC_rgb_rle_2frame.dcm", "liver_1frame.dcm"):
        (row,) = stored(side, sample(name))
        expected = pydicom.dcmread(SAMPLES / name).pixel_array
        last = retrieve.frame_count(row)
        dataset = retrieve.one_frame(side.blobs, row, last)
        frame = expected[last - 1] if last > 1 else expected
        np.testing.assert_array_equal(dataset.pixel_array, frame)
        assert UID(dataset.file_meta.TransferSyntaxUID) in {row.transfer_syntax, *NATIVE}
