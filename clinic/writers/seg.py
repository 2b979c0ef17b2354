"""Segmentation (PS3.3 A.51): masks as a DICOM SEG in the geometry of the source, BINARY, one frame a slice and segment.

highdicom writes the object around the frames; the frames themselves, hundreds of equal little groups, are encoded
here. Empty frames are left out. Before it is handed on, the place of every frame is read back out of what was encoded
and compared with the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from clinic import elements
from clinic.geometry import POSITION_TOLERANCE, POSITION_TOLERANCE_MM
from clinic.refusals import MisplacedFrame
from clinic.writers import encode
from clinic.writers.context import Context, Written, file_of, stamp
from clinic.writers.source import Source, neutral_dataset
from inference.findings import Findings, bounding_box
from pipelines.outputs import Code, SegmentOutput

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
TOLERANCE_MM = 1e-3
_PER_FRAME, _PIXEL_DATA = 0x52009230, 0x7FE00010


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: segment number (from 1), slice of the source, place among the slices that have frames (from 1)."""

    segment: int
    z: int
    place: int


def write(outputs: Sequence[SegmentOutput], source: Source, findings: Findings, context: Context) -> Written:
    """Masks as one Segmentation.

    Parameters
    ----------
    outputs
        Which masks, and what they are called; segment numbers follow their order.
    source, findings, context
        What was analysed, what was found, the circumstances. Masks have the shape of the source.

    Raises
    ------
    MisplacedFrame
        If a frame would not lie where its source slice does; our defect.
    """
    masks = [_mask(findings, output.mask, source) for output in outputs]
    frames = _frames(masks)
    dataset = _around(outputs, source, context)
    _refer(dataset, source, sorted({frame.z for frame in frames}))
    dataset.NumberOfFrames = len(frames)
    dataset.SegmentsOverlap = "YES" if _overlap(masks) else "NO"
    groups = [_group(frame, source) for frame in frames]
    content = encode.items(groups)
    _check_places(content, groups, frames, source)
    stamp(dataset, "seg", f"{context.pipeline.title} [SEG]", source, context)
    last = encode.element(_PER_FRAME, "SQ", content) + encode.element(_PIXEL_DATA, "OB", _packed(masks, frames))
    return file_of("seg", dataset, last)


def _mask(findings: Findings, key: str, source: Source) -> npt.NDArray[np.bool_]:
    mask = findings.mask(key)
    assert mask is not None, "findings are checked before they are written"
    assert mask.array.shape == source.grid.shape, "findings are checked before they are written"
    return mask.array


def _frames(masks: Sequence[npt.NDArray[np.bool_]]) -> list[Frame]:
    filled = [_filled_slices(mask) for mask in masks]
    places = {z: place for place, z in enumerate(sorted({z for found in filled for z in found}), start=1)}
    return [Frame(number, z, places[z]) for number, found in enumerate(filled, start=1) for z in found]


def _filled_slices(mask: npt.NDArray[np.bool_]) -> list[int]:
    (low, high), _, _ = bounding_box(mask)
    return [low + int(offset) for offset in np.flatnonzero(mask[low:high].any(axis=(1, 2)))]


def _overlap(masks: Sequence[npt.NDArray[np.bool_]]) -> bool:
    if len(masks) < 2:
        return False
    count = np.zeros(masks[0].shape, np.uint8)
    for mask in masks:
        count += mask
    return bool((count > 1).any())


def _packed(masks: Sequence[npt.NDArray[np.bool_]], frames: Sequence[Frame]) -> bytes:
    """Frames as bits, first pixel in the least significant bit, without gaps between frames (PS3.5 section 8.1.1)."""
    chosen = [masks[frame.segment - 1][frame.z].reshape(-1) for frame in frames]
    if chosen[0].size % 8 == 0:
        packed = b"".join(np.packbits(plane, bitorder="little").tobytes() for plane in chosen)
    else:
        packed = np.packbits(np.concatenate(chosen), bitorder="little").tobytes()
    return packed + b"\x00" * (len(packed) % 2)


def _around(outputs: Sequence[SegmentOutput], source: Source, context: Context) -> Dataset:
    """The object without its frames: highdicom's, made for one slice."""
    from highdicom.seg import Segmentation

    rows, columns = source.grid.shape[1:]
    dataset = Segmentation(
        source_images=[neutral_dataset(source)],
        pixel_array=np.ones((1, rows, columns, len(outputs)), np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[_description(number, output, context) for number, output in enumerate(outputs, start=1)],
        series_instance_uid=context.uids.uid("seg.series"),
        series_number=1,
        sop_instance_uid=context.uids.uid("seg"),
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
        content_description=context.pipeline.title,
        content_label="BITHIVE",
    )
    plain = Dataset()
    plain.update(dict(dataset.items()))
    del plain[_PER_FRAME], plain[_PIXEL_DATA]
    if "SourceImageSequence" in plain:
        del plain.SourceImageSequence
    shared = plain.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        del shared.SegmentIdentificationSequence
    organization = context.uids.uid("seg.dimensions")
    for item in (*plain.DimensionOrganizationSequence, *plain.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    _copy_lossy(plain, source)
    return plain


def _description(number: int, output: SegmentOutput, context: Context) -> Dataset:
    from highdicom.color import CIELabColor
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=number,
        segment_label=output.label,
        segmented_property_category=_code(output.category),
        segmented_property_type=_code(output.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=context.pipeline.bundle,
            family=codes.DCM.ArtificialIntelligence,
            version=context.algorithm_version,
            source="BitHive",
        ),
        tracking_uid=context.uids.uid(f"track.{output.mask}"),
        tracking_id=output.label,
        display_color=CIELabColor.from_rgb(*output.colour_rgb),
    )


def _code(code: Code) -> Dataset:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _copy_lossy(dataset: Dataset, source: Source) -> None:
    """Lossy compression of the source is said of what is derived from it (PS3.3 C.7.6.1.1.5)."""
    header = source.head.header
    if elements.text(header, "00282110") != "01":
        return
    dataset.LossyImageCompression = "01"
    ratios, methods = elements.values(header, "00282112"), elements.values(header, "00282114")
    if ratios:
        dataset.LossyImageCompressionRatio = ratios
    if methods:
        dataset.LossyImageCompressionMethod = methods


def _refer(dataset: Dataset, source: Source, slices: Sequence[int]) -> None:
    """Name every source instance that a frame refers to (PS3.3 C.12.4)."""
    rows = [source.grid.rows[z] for z in slices]
    items = []
    for row in rows:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = row.sop_class, row.sop_uid
        items.append(item)
    series = Dataset()
    series.ReferencedInstanceSequence = items
    series.SeriesInstanceUID = source.head.series_uid
    dataset.ReferencedSeriesSequence = [series]


def _group(frame: Frame, source: Source) -> bytes:
    """The functional groups of one frame (PS3.3 A.51.5)."""
    row = source.grid.rows[frame.z]
    image = b"".join(
        (
            encode.words(0x00081150, "UI", row.sop_class),
            encode.words(0x00081155, "UI", row.sop_uid),
            encode.words(0x0028135A, "CS", "YES"),
            _PURPOSE,
        )
    )
    position = elements.numbers(row.header, "00200032")
    return b"".join(
        (
            encode.sequence(0x00089124, encode.sequence(0x00082112, image) + _DERIVATION),
            encode.sequence(0x00209111, encode.unsigned(0x00209157, frame.segment, frame.place)),
            encode.sequence(0x00209113, encode.decimals(0x00200032, position)),
            encode.sequence(0x0062000A, encode.short(0x0062000B, frame.segment)),
        )
    )


_PURPOSE = encode.code(0x0040A170, "121322", "DCM", "Source image for image processing operation")
_DERIVATION = encode.code(0x00089215, "113076", "DCM", "Segmentation")
_POSITION_HEAD = encode.element(0x00200032, "DS", b"")[:6]


def _check_places(content: bytes, groups: Sequence[bytes], frames: Sequence[Frame], source: Source) -> None:
    """Read each frame's position back and compare its outermost voxel centres with the source.

    Raises
    ------
    MisplacedFrame
        If one is off its source slice by more than 1e-3 mm, or off the Volume's affine by more than `clinic.geometry`
        lets a slice be.
    """
    assert len(content) == sum(len(group) + 8 for group in groups), "every frame has its item"
    written = np.array([_position(group) for group in groups])
    rows = [source.grid.rows[frame.z] for frame in frames]
    stored = np.array([elements.numbers(row.header, "00200032") for row in rows])
    affine, depth = source.volume.affine, np.array([frame.z for frame in frames])
    expected = affine[:3, 3] + depth[:, None] * affine[:3, 2]
    slack = max(POSITION_TOLERANCE * source.volume.spacing_mm[2], POSITION_TOLERANCE_MM)
    copied = float(np.linalg.norm(written - stored, axis=1).max())
    placed = float(np.linalg.norm(stored - expected, axis=1).max())
    in_plane = float(np.abs(_in_plane(source) - affine[:3, :2]).max() * max(source.grid.shape[1:]))
    if copied > TOLERANCE_MM or placed > slack or in_plane > TOLERANCE_MM:
        raise MisplacedFrame


def _position(group: bytes) -> list[float]:
    start = group.index(_POSITION_HEAD)
    size = int.from_bytes(group[start + 6 : start + 8], "little")
    return [float(item) for item in group[start + 8 : start + 8 + size].decode("ascii").split("\\")]


def _in_plane(source: Source) -> npt.NDArray[np.float64]:
    """(3, 2): one step along x and one along y, from the header of the first slice."""
    header = source.head.header
    cosines = np.array(elements.numbers(header, "00200037")).reshape(2, 3)
    between_rows, between_columns = elements.numbers(header, "00280030")
    return np.stack((cosines[0] * between_columns, cosines[1] * between_rows), axis=1)
