"""The object around the frames of a Segmentation: highdicom's, made for one slice, with what it cannot know put right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from clinic import elements
from clinic.gaps import POSITION_TOLERANCE, POSITION_TOLERANCE_MM
from clinic.writers.context import Context
from clinic.writers.source import Source, neutral_dataset
from pipelines.outputs import Code, SegmentOutput

BINARY, LABEL_MAP = "BINARY", "LABELMAP"
PER_FRAME, PIXEL_DATA = 0x52009230, 0x7FE00010
_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.4"
_UID_KINDS = {BINARY: "seg", LABEL_MAP: "seg.labelmap"}


def around(
    kind: str, outputs: Sequence[SegmentOutput], dtype: np.dtype[Any], source: Source, context: Context
) -> Dataset:
    """The object without its frames.

    Parameters
    ----------
    kind
        `BINARY` or `LABEL_MAP` (Segmentation Type, 0062,0001).
    outputs
        Its segments in the order of their numbers.
    dtype
        Of a label map's pixels.
    source, context
        What was analysed, the circumstances.
    """
    from highdicom.seg import Segmentation

    rows, columns = source.grid.stack_shape[1:]
    shape = (1, rows, columns, len(outputs)) if kind == BINARY else (1, rows, columns)
    dataset = Segmentation(
        source_images=[single_frame_image(source)],
        pixel_array=np.ones(shape, np.uint8 if kind == BINARY else dtype),
        segmentation_type=kind,
        segment_descriptions=[_description(number, output, context) for number, output in enumerate(outputs, start=1)],
        series_instance_uid=context.uids.uid("seg.series"),
        series_number=1,
        sop_instance_uid=context.uids.uid(_UID_KINDS[kind]),
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
        content_description=context.pipeline.title[:64],
        content_label="BITHIVE",
    )
    plain = Dataset()
    plain.update(dict(dataset.items()))
    for tag in (PER_FRAME, PIXEL_DATA, "SourceImageSequence", "DimensionOrganizationType"):
        if tag in plain:
            del plain[tag]
    shared = plain.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        del shared.SegmentIdentificationSequence
    organization = context.uids.uid("seg.dimensions")
    for item in (*plain.DimensionOrganizationSequence, *plain.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    if kind == LABEL_MAP:
        _set_label_map(plain, dtype, source)
    set_measures(shared.PixelMeasuresSequence[0], source)
    copy_lossy(plain, source)
    if source.remark:
        plain.DerivationDescription = source.remark
    return plain


def refer(dataset: Dataset, source: Source, planes: Sequence[int]) -> None:
    """Name every source instance that a frame refers to, once (PS3.3 C.12.4)."""
    items = []
    for row in {row.sop_uid: row for row in (source.grid.planes[k].row for k in planes)}.values():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = row.sop_class, row.sop_uid
        items.append(item)
    series = Dataset()
    series.ReferencedInstanceSequence = items
    series.SeriesInstanceUID = source.head.series_uid
    dataset.ReferencedSeriesSequence = [series]


def single_frame_image(source: Source) -> Dataset:
    """The first plane as an image of its own; of a frame highdicom would want the functional groups."""
    image = neutral_dataset(source)
    if source.grid.planes[0].frame:
        image.SOPClassUID = _SINGLE_FRAME
    return image


def _description(number: int, output: SegmentOutput, context: Context) -> Dataset:
    from highdicom.color import CIELabColor
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription

    described = SegmentDescription(
        segment_number=number,
        segment_label=output.label,
        segmented_property_category=_code(output.category),
        segmented_property_type=_code(output.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=context.pipeline.bundle,
            family=_code(context.pipeline.algorithm_family),
            version=context.algorithm_version,
            source="BitHive",
        ),
        tracking_uid=context.uids.uid(f"track.{output.mask}"),
        tracking_id=output.label,
        display_color=CIELabColor.from_rgb(*output.colour_rgb),
    )
    if output.laterality is not None:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_code(output.laterality)]
    return described


def _code(code: Code) -> Dataset:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _set_label_map(dataset: Dataset, dtype: np.dtype[Any], source: Source) -> None:
    """Pixels of that type; planes of an even stack are told to be a volume (PS3.3 C.7.6.17)."""
    bits = dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.SegmentsOverlap = "NO"
    if source.grid.straightening is None:
        dataset.DimensionOrganizationType = "3D"


def set_measures(measures: Dataset, source: Source) -> None:
    """Spacing Between Slices is that of the source's planes, and absent where they lie at uneven distances."""
    if source.grid.straightening is None:
        return
    depths = np.array([plane.position for plane in source.grid.planes]) @ source.grid.planes[0].normal
    steps = np.diff(depths)
    step = float(np.median(steps))
    if float(np.abs(steps - step).max()) <= max(POSITION_TOLERANCE * step, POSITION_TOLERANCE_MM):
        measures.SpacingBetweenSlices = round(step, 6)
    elif "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices


def copy_lossy(dataset: Dataset, source: Source) -> None:
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
