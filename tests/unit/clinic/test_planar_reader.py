"""What is shown of planar images: compared with the arrays they were made of, and with pydicom's own pipeline."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_modality_lut, apply_windowing

from bithive.errors import DigestMismatch, Refused
from clinic import planar_reader
from clinic.reader import read
from tests.common import planar
from tests.common.dicom_factory import content_of, rows_of

CHEST, SECTOR = planar.chest(90, 70), planar.sector(64, 80)
COLOURS = np.stack([SECTOR, 255 - SECTOR, np.roll(SECTOR, 7)], axis=-1)
LUMA = COLOURS @ (0.299, 0.587, 0.114)
DEEP = CHEST.astype(np.uint16) * 16
IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"


def shown(*datasets, **arguments):
    grid, volume = read(*rows_of(datasets), **arguments)
    assert volume.planar
    assert grid.shape == grid.stack_shape == volume.array.shape
    return grid, volume


def code_of(dataset):
    with pytest.raises(Refused) as caught:
        shown(dataset)
    return caught.value.code


@pytest.mark.parametrize("syntax", [planar.RLE, planar.JPEG_2000, IMPLICIT, BIG, DEFLATED])
def test_grey_of_any_syntax_is_what_was_stored(syntax):
    if syntax == BIG:
        dataset = planar.radiograph(CHEST)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset["PixelData"].VR = "OB"
    else:
        dataset = planar.radiograph(CHEST, syntax=syntax)
    grid, volume = shown(dataset)
    assert volume.array.dtype == np.uint8
    assert np.array_equal(volume.array[0], CHEST)
    assert volume.spacing_mm == (0.2, 0.2, 1.0)
    assert np.isnan(grid.planes[0].position).all()
    assert (grid.planes[0].frame, grid.planes[0].view) == (0, "PA")


@pytest.mark.parametrize("syntax", [planar.RLE, planar.JPEG_2000, IMPLICIT, DEFLATED])
@pytest.mark.parametrize("frames", [0, 3])
def test_colour_becomes_luma(syntax, frames):
    array = np.stack([COLOURS] * frames) if frames else COLOURS
    _, volume = shown(planar.ultrasound(array, syntax=syntax))
    assert len(volume.array) == max(frames, 1)
    assert np.abs(volume.array - LUMA).max() <= 0.51


@pytest.mark.parametrize(
    ("photometric", "by_plane"), [("YBR_FULL", 0), ("YBR_FULL", 1), ("YBR_FULL_422", 0), ("RGB", 1)]
)
@pytest.mark.parametrize("frames", [0, 2])
def test_uncompressed_colour_in_every_form(photometric, by_plane, frames):
    array = np.stack([COLOURS] * frames) if frames else COLOURS
    _, volume = shown(planar.ultrasound(array, photometric=photometric, PlanarConfiguration=by_plane))
    assert np.abs(volume.array - LUMA).max() <= 0.51


@pytest.mark.parametrize("columns", [80, 79])
def test_lossy_colour_is_near(columns):
    _, volume = shown(planar.ultrasound(COLOURS[:, :columns], syntax=planar.JPEG))
    assert np.abs(volume.array - LUMA[:, :columns]).mean() < 4


def test_a_jpeg_that_names_its_colours_is_believed():
    dataset = planar.ultrasound(COLOURS, syntax=planar.JPEG)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
    dataset.PixelData = encapsulate([frame[:2] + adobe + frame[2:]])
    plain = shown(planar.ultrasound(COLOURS, syntax=planar.JPEG))[1].array.astype(int)
    assert np.abs(shown(dataset)[1].array - plain).mean() < 1


def test_colour_of_sixteen_bits():
    _, volume = shown(planar.ultrasound(COLOURS.astype(np.uint16) * 257))
    assert volume.array.dtype == np.uint16
    assert np.abs(volume.array - LUMA * 257).max() <= 1


@pytest.mark.parametrize("deep", [1, 257])
def test_palettes(deep):
    colours = np.random.default_rng(3).integers(0, 256, (256, 3)).astype(np.uint8 if deep == 1 else np.uint16) * deep
    _, volume = shown(planar.with_palette(SECTOR, colours))
    assert volume.array.dtype == np.uint8
    assert np.abs(volume.array[0] - (colours / deep @ (0.299, 0.587, 0.114))[SECTOR]).max() <= 0.51


@pytest.mark.parametrize(
    "members",
    [
        {"photometric": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"photometric": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"photometric": "MONOCHROME1", "PresentationLUTShape": None},
    ],
)
def test_white_and_black_are_turned_once(members):
    assert np.array_equal(shown(planar.radiograph(CHEST, **members))[1].array[0], 255 - CHEST)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.5, -300)])
def test_windows_are_those_of_pydicom(function, slope, intercept):
    members = {"WindowCenter": [900, 1], "WindowWidth": [1000, 7], "VOILUTFunction": function}
    dataset = planar.radiograph(DEEP, bits_stored=12, RescaleSlope=slope, RescaleIntercept=intercept, **members)
    _, volume = shown(dataset)
    theirs = apply_windowing(apply_modality_lut(DEEP, dataset), dataset)
    low, high = intercept, 4095 * slope + intercept
    assert volume.array.dtype == np.uint16
    assert np.abs(volume.array[0] / 65535 - (theirs - low) / (high - low)).max() < 1e-4


def test_without_a_window_the_full_range_is_shown():
    _, volume = shown(planar.radiograph(DEEP, bits_stored=12))
    assert np.array_equal(volume.array[0], np.rint(DEEP / 4095 * 65535))


def test_signed_values_and_values_high_in_their_cells():
    signed = (DEEP.astype(np.int32) - 2000).astype(np.int16)
    high = (signed.astype(np.int32) << 4).astype(np.int16)
    members = {"WindowCenter": 0, "WindowWidth": 2001}
    _, first = shown(planar.radiograph(signed, bits_stored=12, **members))
    _, second = shown(planar.radiograph(high, bits_stored=12, HighBit=15, **members))
    _, third = shown(planar.radiograph(DEEP, bits_stored=12, RescaleIntercept=-2000, RescaleSlope=1, **members))
    assert np.array_equal(first.array, third.array)
    assert np.array_equal(second.array, third.array)
    assert 0 < np.median(first.array) < 65535


def test_what_lies_above_the_stored_bits_is_not_seen():
    marked = DEEP | 0xF000
    assert np.array_equal(
        shown(planar.radiograph(marked, bits_stored=12))[1].array,
        shown(planar.radiograph(DEEP, bits_stored=12))[1].array,
    )


def test_tables_go_before_windows():
    table = (np.arange(4096)[::-1] * 16).astype(np.uint16)
    dataset = planar.radiograph(
        DEEP, bits_stored=12, WindowCenter=1, WindowWidth=10, VOILUTSequence=planar.table_item(table, bits=16)
    )
    assert np.array_equal(shown(dataset)[1].array[0], table[DEEP])
    modality = planar.table_item(np.arange(4096) // 2)
    dataset = planar.radiograph(DEEP, bits_stored=12, ModalityLUTSequence=modality, WindowCenter=1024, WindowWidth=2048)
    assert np.abs(shown(dataset)[1].array[0] / 65535 - (DEEP // 2) / 2047).max() < 1e-4


def test_images_of_several_sizes_and_depths_are_one_stack_in_order():
    first = planar.radiograph(CHEST, number=2)
    second = planar.radiograph(DEEP[:40, :60], number=1, bits_stored=12, view="LL", PixelSpacing=[0.1, 0.1])
    grid, volume = shown(first, second)
    assert (volume.array.shape, volume.array.dtype) == ((2, 90, 70), np.uint16)
    assert np.array_equal(volume.array[1], CHEST.astype(np.uint16) * 257)
    assert not volume.array[0, 40:].any()
    assert not volume.array[0, :, 60:].any()
    assert [plane.size for plane in grid.planes] == [(40, 60), (90, 70)]
    assert [plane.view for plane in grid.planes] == ["LL", "PA"]
    assert volume.spacing_mm == (1.0, 1.0, 1.0)
    assert (grid.duplicates, grid.straightening, grid.warnings) == (0, None, ())


def test_only_the_views_that_are_wanted():
    images = [planar.radiograph(CHEST + k, view=view, number=k + 1) for k, view in enumerate(("LL", "PA", "", "AP"))]
    grid, volume = shown(*images, views=frozenset({"PA", "AP"}))
    assert [plane.view for plane in grid.planes] == ["PA", "AP"]
    assert np.array_equal(volume.array[:, 0, 0], CHEST[0, 0] + np.array([1, 3], np.uint8))
    assert len(shown(*images, views=frozenset({"", "PA"}))[1].array) == 2
    with pytest.raises(Refused, match="other-view"):
        shown(*images, views=frozenset({"RL"}))


def test_a_clip_beside_stills_keeps_instance_and_frame():
    clip = planar.ultrasound(np.stack([SECTOR, SECTOR // 2]), number=1)
    still = planar.ultrasound(SECTOR // 4, number=2)
    grid, volume = shown(still, clip)
    assert [(plane.row.sop_uid[-1], plane.frame) for plane in grid.planes] == [("1", 1), ("1", 2), ("2", 0)]
    assert np.array_equal(volume.array, np.stack([SECTOR, SECTOR // 2, SECTOR // 4]))


def test_pixels_that_are_not_square_and_the_size_on_the_detector():
    members = {"PixelSpacing": None, "ImagerPixelSpacing": [0.15, 0.14]}
    assert shown(planar.radiograph(CHEST, **members))[1].spacing_mm == (0.14, 0.15, 1.0)
    members = {"PixelSpacing": None, "PixelAspectRatio": [2, 1]}
    assert shown(planar.radiograph(CHEST, **members))[1].spacing_mm == (1.0, 2.0, 1.0)
    assert shown(planar.radiograph(CHEST, PixelSpacing=[0, 0]))[1].spacing_mm == (1.0, 1.0, 1.0)


def cut(dataset, keep):
    """The same with fewer bytes of pixels."""
    dataset.PixelData = dataset.PixelData[:keep]
    return dataset


def claiming(rows, columns):
    """A JPEG whose frame header claims another size than the data set."""
    dataset = planar.radiograph(CHEST, syntax=planar.JPEG)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    at = frame.index(b"\xff\xc0") + 5
    forged = frame[:at] + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + frame[at + 4 :]
    dataset.PixelData = encapsulate([forged])
    return dataset


def cut_stream(keep):
    """A JPEG whose codestream ends early."""
    dataset = planar.radiograph(planar.chest(400, 300), syntax=planar.JPEG)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: int(len(frame) * keep)]])
    return dataset


def fewer_frames(syntax):
    dataset = planar.ultrasound(np.stack([SECTOR] * 3), syntax=syntax)
    dataset.NumberOfFrames = 5
    return dataset


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: planar.radiograph(DEEP, sop_class=planar.DX_FOR_PROCESSING, modality="DX"), "for-processing"),
        (lambda: planar.radiograph(DEEP, PresentationIntentType="FOR PROCESSING"), "for-processing"),
        (lambda: cut(planar.radiograph(CHEST), 100), "truncated-pixels"),
        (lambda: cut(planar.ultrasound(np.stack([COLOURS] * 2)), COLOURS.size + 2), "truncated-pixels"),
        (lambda: fewer_frames(planar.JPEG), "truncated-pixels"),
        (lambda: fewer_frames(planar.RLE), "truncated-pixels"),
        (lambda: fewer_frames(IMPLICIT), "truncated-pixels"),
        (lambda: fewer_frames(DEFLATED), "truncated-pixels"),
        (lambda: claiming(65535, 65535), "undecodable-pixels"),
        (lambda: claiming(90, 71), "undecodable-pixels"),
        (lambda: cut_stream(0.5), "undecodable-pixels"),
        (lambda: cut_stream(0.01), "undecodable-pixels"),
        (lambda: planar.radiograph(CHEST, SamplesPerPixel=3), "unsupported-pixels"),
        (lambda: planar.radiograph(CHEST, photometric="CMYK"), "unsupported-pixels"),
        (lambda: planar.ultrasound(COLOURS, PhotometricInterpretation="YBR_PARTIAL_422"), "unsupported-pixels"),
        (lambda: planar.radiograph(CHEST, BitsAllocated=32, BitsStored=32, HighBit=31), "unsupported-pixels"),
        (lambda: planar.radiograph(CHEST, BitsAllocated=1, BitsStored=1, HighBit=0), "unsupported-pixels"),
        (lambda: planar.radiograph(CHEST, RescaleSlope=0), "unsupported-pixels"),
        (lambda: planar.radiograph(CHEST, WindowCenter=1, WindowWidth=0), "unsupported-pixels"),
        (
            lambda: planar.radiograph(CHEST, WindowCenter=1, WindowWidth=5, VOILUTFunction="CURVED"),
            "unsupported-pixels",
        ),
        (lambda: planar.radiograph(CHEST, PresentationLUTShape="LIN OD"), "unsupported-pixels"),
        (lambda: planar.radiograph(DEEP, NumberOfFrames=99_999), "too-many-frames"),
        (lambda: planar.radiograph(DEEP, NumberOfFrames=-3), "unsupported-pixels"),
        (lambda: planar.radiograph(DEEP, Rows=0), "unsupported-pixels"),
        (lambda: planar.radiograph(DEEP, Rows=20_000), "volume-too-large"),
        (lambda: planar.radiograph(DEEP, Rows=16_000, Columns=16_000, NumberOfFrames=4_000), "volume-too-large"),
        (lambda: planar.ultrasound(COLOURS, photometric="YBR_FULL_422", Columns=81), "unsupported-pixels"),
    ],
)
def test_what_cannot_be_shown_has_a_code(make, code):
    assert code_of(make()) == code


@pytest.mark.parametrize("syntax", [IMPLICIT, planar.RLE])
def test_a_stored_file_that_changed_is_noticed(syntax):
    content = bytearray(content_of(planar.radiograph(CHEST, syntax=syntax)))
    (row,), blobs = rows_of([bytes(content)])
    content[-20] ^= 1
    blobs._blobs[row.blob] = bytes(content)
    with pytest.raises(DigestMismatch):
        read([row], blobs)


def test_header_alone_tells_most_of_it():
    (row,), _ = rows_of([planar.radiograph(CHEST, photometric="CMYK")])
    with pytest.raises(Refused, match="unsupported-pixels"):
        planar_reader.check(planar_reader.planar.arrange([row]).planes[0])
    assert planar_reader.planar.arrange([replace(row, transfer_syntax=planar.RLE)]).planar


def test_a_real_radiograph(shared):
    content = (shared / "data" / "chest-xray" / "pa-1024-jpeg.dcm").read_bytes()
    grid, volume = shown(content)
    theirs = pydicom.dcmread(io.BytesIO(content)).pixel_array
    assert np.abs(volume.array[0].astype(int) - theirs).max() <= 1
    assert (volume.array.dtype, volume.spacing_mm) == (np.uint8, (0.168, 0.168, 1.0))
    assert grid.planes[0].view == "PA"
