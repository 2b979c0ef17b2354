import io

import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage, LegacyConvertedEnhancedMRImage
from openjpeg.utils import encode_array
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from bithive.blobs import FileBlobs
from bithive.errors import BitHiveError, DigestMismatch, Refused
from clinic import multiframe, refusals
from clinic.geometry import arrange
from clinic.headers import series_header
from clinic.reader import read
from pipelines.catalog import pipelines
from pipelines.match import why_not
from tests.common.dicom_factory import OBLIQUE, SAGITTAL, content_of, files_of, head_series, make_series, rows_of
from tests.common.enhanced import item, make_enhanced

SHAPE = (5, 4, 6)


def pair(modality="MR", shape=SHAPE, **arguments):
    """A series, and the enhanced object of its frames in another order."""
    series = make_series(shape, (0.5, 0.75, 2.0), OBLIQUE, modality=modality, **arguments)
    return series, make_enhanced([series[k] for k in (2, 0, 4, 1, 3)])


def volume_of(*items):
    rows, blobs = rows_of(items)
    return read(rows, blobs)


def code_of(*items):
    with pytest.raises(Refused) as refusal:
        volume_of(*items)
    return refusal.value.code


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_frames_become_the_volume_that_single_images_are(modality):
    series, enhanced = pair(modality)
    (_, one), (grid, other) = volume_of(*series), volume_of(enhanced)
    assert np.array_equal(one.array, other.array)
    assert one.array.dtype == other.array.dtype
    assert np.array_equal(one.affine, other.affine)
    assert one.unit == other.unit
    assert [plane.frame for plane in grid.planes] == [2, 4, 1, 5, 3]
    assert {row.sop_uid for row in grid.rows} == {enhanced.SOPInstanceUID}
    assert len(grid.rows) == 5


def packed_as_j2k(enhanced):
    frames = np.frombuffer(enhanced.PixelData, "<u2").reshape(-1, 64, 80)
    enhanced.PixelData = encapsulate([encode_array(frame, bits_stored=12, codec_format=0) for frame in frames])
    enhanced["PixelData"].VR, enhanced["PixelData"].is_undefined_length = "OB", True
    enhanced.file_meta.TransferSyntaxUID = JPEG2000Lossless


@pytest.mark.parametrize(
    "pack", [lambda item: item.compress(RLELossless, generate_instance_uid=False), packed_as_j2k], ids=["rle", "j2k"]
)
def test_compressed_frames_are_decoded_one_by_one(pack):
    series, enhanced = pair(shape=(5, 64, 80), signed=False, bits_stored=12)
    pack(enhanced)
    assert np.array_equal(volume_of(*series)[1].array, volume_of(enhanced)[1].array)


def test_each_frame_has_its_own_rescale():
    series, _ = pair()
    for number, image in enumerate(series, start=1):
        image.RescaleSlope, image.RescaleIntercept = 0.5 * number, -number
    found = volume_of(make_enhanced(series))[1].array
    assert found.dtype == np.float32
    assert np.array_equal(found, volume_of(*series)[1].array)


def test_frames_of_several_instances_are_one_block():
    series, _ = pair()
    halves = [make_enhanced(series[:2]), make_enhanced(series[2:], SOPInstanceUID="1.2.99")]
    grid, volume = volume_of(*halves)
    assert np.array_equal(volume.array, volume_of(*series)[1].array)
    assert [plane.frame for plane in grid.planes] == [1, 2, 1, 2, 3]


def test_a_frame_has_its_own_attributes_before_the_shared_ones():
    series, enhanced = pair()
    enhanced.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence = [item(PixelSpacing=[3, 3], SliceThickness=9)]
    (row,), _ = rows_of([enhanced])
    found = [attributes["00180050"]["Value"] for _, attributes in multiframe.images(row)]
    assert found == [[2.0], [9.0], [2.0], [2.0], [2.0]]
    assert code_of(enhanced) == "mixed-spacing"
    assert [frame for frame, _ in multiframe.images(rows_of(series[:1])[0][0])] == [0]


def test_a_tilted_and_uneven_object_is_straightened_like_single_images():
    positions = [(0, 0.33 * z, z) for z in (0, 4, 8, 12, 16, 20, 24)]
    series = make_series((7, 4, 6), positions=positions)
    (one, first), (other, second) = volume_of(*series), volume_of(make_enhanced(series))
    assert one.warnings == other.warnings == ("tilt-corrected",)
    assert np.array_equal(first.array, second.array)


def echo(value):
    return item(MREchoSequence=[item(EffectiveEchoTime=value)])


def phase(number):
    return item(FrameContentSequence=[item(StackID="1", TemporalPositionIndex=number)])


@pytest.mark.parametrize(
    ("groups", "by"),
    [
        ([echo(value) for value in (4.9, 9.8) for _ in range(5)], "Effective Echo Time"),
        ([phase(value) for value in (1, 2) for _ in range(5)], "Temporal Position Index"),
        (
            [item(MRDiffusionSequence=[item(DiffusionBValue=value)]) for value in (0, 800) for _ in range(5)],
            "Diffusion b-value",
        ),
        (
            [
                item(MRImageFrameTypeSequence=[item(FrameType=["O", "P", "V", value])])
                for value in ("WATER", "FAT")
                for _ in range(5)
            ],
            "Frame Type",
        ),
    ],
)
def test_several_volumes_in_one_object_are_refused_by_name(groups, by):
    series, _ = pair()
    twice = make_enhanced([*series, *series], per_frame=groups)
    with pytest.raises(refusals.SeveralVolumes) as refusal:
        volume_of(twice)
    assert refusal.value.context["by"].startswith(by)


def test_stacks_in_two_directions_are_refused():
    series, _ = pair()
    turned = make_series(SHAPE, (0.5, 0.75, 2.0), SAGITTAL)
    groups = [
        item(PlaneOrientationSequence=[item(ImageOrientationPatient=image.ImageOrientationPatient)])
        for image in (*series, *turned)
    ]
    assert code_of(make_enhanced([*series, *turned], per_frame=groups)) == "mixed-orientations"


def test_a_frame_too_few_is_missing():
    series, _ = pair()
    assert code_of(make_enhanced([series[k] for k in (0, 1, 3, 4)])) == "missing-slices"


def without(enhanced, *path):
    target = enhanced
    for step in path[:-1]:
        target = target[step] if isinstance(step, int) else getattr(target, step)
    delattr(target, path[-1])
    return enhanced


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (("PerFrameFunctionalGroupsSequence",), "multi-frame"),
        (("PerFrameFunctionalGroupsSequence", 2, "PlanePositionSequence"), "no-geometry"),
        (("SharedFunctionalGroupsSequence", 0, "PlaneOrientationSequence"), "no-geometry"),
        (("SharedFunctionalGroupsSequence", 0, "PixelMeasuresSequence"), "no-geometry"),
        (("SharedFunctionalGroupsSequence",), "no-geometry"),
        (("NumberOfFrames",), "multi-frame"),
        (("PixelData",), "truncated-instance"),
    ],
)
def test_what_is_not_said_is_refused(path, code):
    _, enhanced = pair()
    assert code_of(without(enhanced, *path)) == code


def test_other_counts_and_pixels_that_end_early_are_refused():
    _, enhanced = pair()
    enhanced.NumberOfFrames = 4
    assert code_of(enhanced) == "multi-frame"
    _, enhanced = pair()
    enhanced.PixelData = enhanced.PixelData[:-50]
    assert code_of(enhanced) == "truncated-pixels"
    _, enhanced = pair()
    enhanced.NumberOfFrames = 10**9
    assert code_of(enhanced) == "multi-frame"


def test_many_frames_without_groups_are_refused():
    series = make_series((1, 4, 6), NumberOfFrames=3)
    series[0].PixelData = bytes(3 * 48)
    assert code_of(series[0], series[0]) == "multi-frame"


def test_a_changed_file_is_noticed(tmp_path):
    _, enhanced = pair()
    rows, blobs = rows_of([enhanced], FileBlobs(tmp_path))
    path = blobs.path(rows[0].blob)
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(DigestMismatch):
        read(rows, blobs)


def test_a_pipeline_takes_an_enhanced_head_as_it_takes_single_images():
    series = head_series(description="t1 mprage", InversionTime=900)
    single, enhanced = (series_header(rows_of(items)[0]) for items in (series, [make_enhanced(series)]))
    pipeline = pipelines()["intracranial_volume_t1"]
    assert why_not(single, pipeline) is None
    assert why_not(enhanced, pipeline) is None
    assert (enhanced.instances, enhanced.rows, enhanced.columns) == (64, 66, 62)
    assert enhanced.spacing_mm == pytest.approx(single.spacing_mm)
    assert (enhanced.echo_time_ms, enhanced.repetition_time_ms) == (3.0, 2000.0)
    assert (enhanced.scanning_sequence, enhanced.body_part) == (("GR", "IR"), "BRAIN")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("folder", "pattern", "kind"),
    [
        ("mr-head-sagittal", "*.dcm", LegacyConvertedEnhancedMRImage),
        ("ct-head-tilted", "*.dcm", LegacyConvertedEnhancedCTImage),
    ],
)
def test_real_series_converted_by_highdicom_stay_the_volumes_they_are(shared, folder, pattern, kind):
    images = [pydicom.dcmread(io.BytesIO(content)) for content in files_of(shared / "data" / folder, pattern)]
    for image in images:
        image.remove_private_tags()
    (one, first) = volume_of(*images)
    legacy = kind(
        images, series_instance_uid="1.2.3.4", series_number=9, sop_instance_uid="1.2.3.4.5", instance_number=1
    )
    (other, second) = volume_of(legacy)
    assert np.array_equal(first.array, second.array)
    assert np.array_equal(first.affine, second.affine)
    assert (one.warnings, first.unit) == (other.warnings, second.unit)
    heads = [series_header(rows_of(items)[0]) for items in (images, [legacy])]
    for name in ("spacing_mm", "instances", "echo_time_ms", "repetition_time_ms", "scanning_sequence", "body_part"):
        assert getattr(heads[0], name) == getattr(heads[1], name), name


def test_many_frames_are_read_in_one_pass():
    pixels = np.arange(300 * 64, dtype=np.int16).reshape(300, 8, 8)
    rows, blobs = rows_of([content_of(make_enhanced(make_series((300, 8, 8), pixels=pixels)))])
    assert arrange(rows).shape == (300, 8, 8)
    assert np.array_equal(read(rows, blobs)[1].array, pixels)


def test_garbled_groups_are_refused_with_a_code():
    _, enhanced = pair()
    (row,), blobs = rows_of([enhanced])
    for junk in (
        {"vr": "SQ"},
        {"vr": "SQ", "Value": "x"},
        {"vr": "SQ", "Value": [1, 2]},
        {"vr": "UN", "InlineBinary": "AA=="},
        {},
    ):
        for tag in ("52009229", "52009230"):
            kept = row.header[tag]
            row.header[tag] = junk
            with pytest.raises(BitHiveError):
                read([row], blobs)
            row.header[tag] = kept
