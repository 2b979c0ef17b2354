"""Parametric map (PS3.3 A.75): a number for each pixel of the source, as 32-bit floats.

Real World Value Mapping says what the numbers are and in which unit; they are stored as they are. Frames are those
planes of the source between the first and the last that are not zero everywhere; each names the image it was made of.

A parametric map has a Frame of Reference, positions and an orientation; a planar image has none. Its map gets a Frame
of Reference of its own in which the frames lie one behind the other, and says so: what it is a map of is told by the
references alone (ADR 0092).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from bithive.limits import HEADER_ELEMENTS_MAX, INSTANCE_BYTES_MAX
from clinic.refusals import MapTooLarge
from clinic.writers import encode
from clinic.writers.context import Context, Piece, Written, coded, file_of, stamp
from clinic.writers.seg_frames import Frame, check_places, check_shared, derivation, group
from clinic.writers.seg_object import PER_FRAME, copy_lossy, refer, set_measures, single_frame_image
from clinic.writers.source import Source, nameless
from inference.findings import Findings
from pipelines.outputs import Code, MapOutput, MeasurementOutput, ScoreOutput
from pipelines.spec import Pipeline

PARAMETRIC_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.30"
FLOAT_PIXEL_DATA = 0x7FE00008
SYNTHETIC = (
    "The source states no position in a patient: this map lies in a frame of reference made for it alone. "
    "Distances are those that the source states of its pixels, or 1 where it states none; they are no measure of the body."
)
_ELEMENTS_MAX = 24
_REST_BYTES = 1 << 20
_CALCULATED = encode.code(0x00089215, "112187", "DCM", "Unspecified method of calculation")
_WHOLE_BODY = Code("38266002", "SCT", "Entire body")


def write(output: MapOutput, number: int, source: Source, findings: Findings, context: Context) -> Written:
    """One map as one object.

    Parameters
    ----------
    output, number
        Which map, and its Instance Number in the series of maps, from 1.
    source, findings, context
        What was analysed, what was found, the circumstances. The map has the Volume's shape.

    Raises
    ------
    MapTooLarge
        If it goes over what an archive takes as one instance.
    MisplacedFrame
        If a frame would not lie where its source does; our defect.
    """
    found = findings.map(output.map)
    assert found is not None, "findings are checked before they are written"
    array = found.array
    assert array.shape == source.grid.shape, "findings are checked before they are written"
    frames = _frames(array, source)
    _, rows, columns = source.grid.stack_shape
    size_bytes = len(frames) * rows * columns * 4
    if size_bytes + _REST_BYTES > INSTANCE_BYTES_MAX or len(frames) * _ELEMENTS_MAX > HEADER_ELEMENTS_MAX:
        raise MapTooLarge(frames=len(frames), size_bytes=size_bytes)
    dataset = _around(output, number, array, source, context)
    refer(dataset, source, [frame.k for frame in frames])
    dataset.NumberOfFrames = len(frames)
    groups = [
        _planar_group(frame, source) if source.volume.planar else group(frame, source, _CALCULATED) for frame in frames
    ]
    content = encode.items(groups)
    if not source.volume.planar:
        check_shared(dataset.SharedFunctionalGroupsSequence[0], source)
        check_places(content, groups, frames, source)
    stamp(dataset, "map", f"{output.label} [MAP]", source, context)
    return file_of("map", dataset, _last(frames, content, size_bytes, array, source))


def _frames(array: npt.NDArray[np.float32], source: Source) -> list[Frame]:
    """One for each plane of the source from the first to the last that is not zero; one in the middle when all are."""
    count = len(source.grid.planes)
    filled = [k for k in range(count) if source.plane(array, k).any()] or [count // 2]
    return [Frame(0, k, place) for place, k in enumerate(range(filled[0], filled[-1] + 1), start=1)]


def _around(
    output: MapOutput, number: int, array: npt.NDArray[np.float32], source: Source, context: Context
) -> Dataset:
    """The object without its frames: highdicom's, made of one empty frame, with what it cannot know put right."""
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from highdicom.sr import CodedConcept

    low, high = float(array.min()), float(array.max())
    quantity, unit = (CodedConcept(item.value, item.scheme, item.meaning) for item in (output.quantity, output.unit))
    dataset = ParametricMap(
        source_images=[_planar_image(source, context) if source.volume.planar else single_frame_image(source)],
        pixel_array=np.zeros((1, *source.grid.stack_shape[1:]), np.float32),
        series_instance_uid=context.uids.uid("map.series"),
        series_number=1,
        sop_instance_uid=context.uids.uid(f"map.{output.map}"),
        instance_number=number,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
        contains_recognizable_visual_features=False,
        image_flavor="STATIC" if source.volume.planar else "VOLUME",
        real_world_value_mappings=[
            RealWorldValueMapping("MAP", output.label, unit, (low, high), 1.0, 0.0, quantity_definition=quantity)
        ],
        voi_lut_transformations=[
            VOILUTTransformation((low + high) / 2, high - low or 1.0, voi_lut_function="LINEAR_EXACT")
        ],
        content_description=output.label,
        content_label="BITHIVE",
    )
    plain = Dataset()
    plain.update(dict(dataset.items()))
    for tag in (PER_FRAME, FLOAT_PIXEL_DATA, "SourceImageSequence", "DimensionOrganizationType"):
        if tag in plain:
            del plain[tag]
    organization = context.uids.uid("map.dimensions")
    for item in (*plain.DimensionOrganizationSequence, *plain.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    shared = plain.SharedFunctionalGroupsSequence[0]
    shared.FrameAnatomySequence = [_anatomy(context.pipeline)]
    if source.volume.planar:
        _set_stack(plain)
    else:
        set_measures(shared.PixelMeasuresSequence[0], source)
    copy_lossy(plain, source)
    said = [source.remark, SYNTHETIC if source.volume.planar else ""]
    if any(said):
        plain.DerivationDescription = " ".join(filter(None, said))
    return plain


def _planar_image(source: Source, context: Context) -> Dataset:
    """The first image of a planar source as one that lies at the origin of a frame of reference made for the map."""
    plane = source.grid.planes[0]
    image = nameless(plane)
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    image.Rows, image.Columns = source.grid.stack_shape[1:]
    image.FrameOfReferenceUID = context.uids.uid("map.frame")
    image.SamplesPerPixel, image.BitsAllocated = 1, 16
    image.ImagePositionPatient, image.ImageOrientationPatient = [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    image.PixelSpacing, image.SliceThickness = list(plane.spacing_mm), 1.0
    return image


def _set_stack(dataset: Dataset) -> None:
    """Frames of a planar source are indexed by their place in the stack, not by a position (PS3.3 C.7.6.17)."""
    (index,) = dataset.DimensionIndexSequence
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    index.DimensionDescriptionLabel = "In-Stack Position Number"
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices


def _anatomy(pipeline: Pipeline) -> Dataset:
    """The Frame Anatomy of all frames: the site that the pipeline's first score or measurement is of."""
    sites = [item.finding_site for item in pipeline.outputs if isinstance(item, ScoreOutput | MeasurementOutput)]
    item = Dataset()
    item.FrameLaterality = "U"
    item.AnatomicRegionSequence = [coded(sites[0] if sites else _WHOLE_BODY)]
    return item


def _planar_group(frame: Frame, source: Source) -> bytes:
    """Functional groups of a frame of a planar source: its place in the stack, and a position that only tells it apart."""
    content = (
        encode.words(0x00209056, "SH", "1") + encode.unsigned(0x00209057, frame.k + 1),
        encode.unsigned(0x00209157, frame.place),
    )
    return b"".join(
        (
            derivation(source.grid.planes[frame.k], _CALCULATED),
            encode.sequence(0x00209111, b"".join(content)),
            encode.sequence(0x00209113, encode.decimals(0x00200032, (0.0, 0.0, float(frame.k)))),
        )
    )


def _last(
    frames: Sequence[Frame], content: bytes, size_bytes: int, array: npt.NDArray[np.float32], source: Source
) -> Iterator[Piece]:
    """The elements that follow everything else: per-frame groups and pixels, little-endian, plane by plane."""
    yield encode.element(PER_FRAME, "SQ", content)
    yield encode.head(FLOAT_PIXEL_DATA, "OF", size_bytes)
    for frame in frames:
        yield np.ascontiguousarray(source.plane(array, frame.k), "<f4").data.cast("B")
