"""Groups of a report: of a segment (PS3.16 TID 1411), and of images and frames as a whole (TID 1501)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clinic.geometry import SourcePlane
from clinic.refusals import FindingsRefused
from clinic.statements import OUTSIDE_POPULATION, flag
from clinic.writers.context import MANUFACTURER, Context, Written
from clinic.writers.source import Source
from inference.findings import Classification, Findings, Region
from pipelines.anatomy import LOCAL_SCHEME
from pipelines.outputs import (
    CERTAINTY,
    MILLIMETRE,
    PERCENT,
    ClassOutput,
    Code,
    MeasurementOutput,
    RegionOutput,
    ScoreOutput,
    SegmentOutput,
)

PRESENT, ABSENT = Code("52101004", "SCT", "Present"), Code("272519000", "SCT", "Absent")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")
REMARK = Code("remark", LOCAL_SCHEME, "Remark on the findings")
REMARKS: dict[str, Code] = {
    OUTSIDE_POPULATION: Code("outside-pop", LOCAL_SCHEME, "Outside the intended population"),
}
"""Code of each of `clinic.refusals.REMARKS`; DICOM has none for them."""

_FLAGS: dict[bool | None, Code] = {True: PRESENT, False: ABSENT, None: UNDETERMINED}
_Image = tuple[str, str, list[int] | None]


def of_segments(
    outputs: Sequence[MeasurementOutput],
    segments: Sequence[SegmentOutput],
    seg: Written,
    source: Source,
    findings: Findings,
    context: Context,
) -> list[Any]:
    """One group for each measured segment, in their order; two where measurements name different findings or sites.

    Parameters
    ----------
    outputs
        Measurements; those of other segments are passed over.
    segments, seg
        The Segmentation they were taken from, and what its segments are.
    source, findings, context
        What was analysed, what was found, the circumstances.
    """
    of_mask: dict[str, dict[object, list[MeasurementOutput]]] = {}
    for output in outputs:
        what = (output.finding, output.finding_site, output.laterality)
        of_mask.setdefault(output.mask, {}).setdefault(what, []).append(output)
    made = algorithm(context)
    return [
        _of_segment(number, segment, chosen, made, seg, source, findings, context)
        for number, segment in enumerate(segments, start=1)
        for chosen in of_mask.get(segment.mask, {}).values()
    ]


def of_images(
    outputs: Sequence[MeasurementOutput],
    seg: Written | None,
    source: Source,
    findings: Findings,
    context: Context,
) -> list[Any]:
    """One group for each measurement of the image as a whole, or of several segments: it refers to what it was taken of."""
    made = algorithm(context)
    images = [(seg.sop_class, seg.sop_uid, None)] if seg else images_of(source)
    return [
        _of_images(output.measurement, output, images, made, context, [_measurement(output, findings)])
        for output in outputs
    ]


def of_scores(
    outputs: Sequence[ScoreOutput], source: Source, findings: Findings, context: Context, remarks: Sequence[str]
) -> list[Any]:
    """One group for each score: the number, and whether the finding is present, where a threshold says so.

    Outside the validated population it is undetermined, and the remark stands beside it.
    """
    from highdicom.sr import Measurement, QualitativeEvaluation

    made, images, groups = algorithm(context), images_of(source), []
    for output in outputs:
        score = findings.score(output.score)
        assert score is not None, "findings are checked before they are written"
        value = score.value * (100.0 if output.unit == PERCENT else 1.0)
        evaluations = [QualitativeEvaluation(code(REMARK), code(REMARKS[remark])) for remark in remarks]
        if output.positive_from is not None:
            flagged = _FLAGS[flag(output, score.value, remarks)]
            evaluations.insert(0, QualitativeEvaluation(code(output.finding), code(flagged)))
        measurements = [Measurement(code(output.name), rounded(value), code(output.unit))]
        groups.append(_of_images(output.score, output, images, made, context, measurements, evaluations))
    return groups


def of_classes(outputs: Sequence[ClassOutput], source: Source, findings: Findings, context: Context) -> list[Any]:
    """One group for each classified frame: its class, how certain, and the reference to it."""
    made = algorithm(context)
    return [
        _of_frame(output, found, source.grid.planes[found.frame], made, context)
        for output in outputs
        for found in findings.classified(output.classification)
    ]


def of_regions(outputs: Sequence[RegionOutput], source: Source, findings: Findings, context: Context) -> list[Any]:
    """One group for each box (TID 1411): its lower and upper face as Volume Surface, longest edge, certainty.

    Raises
    ------
    FindingsRefused
        If there are boxes, and the images state no frame of reference in which a box could lie.
    """
    made = algorithm(context)
    told = [(output, item) for output in outputs for item in findings.boxed(output.region, output.least)]
    if told and not source.frame_of_reference_uid:
        raise FindingsRefused("there are boxes, and the images state no frame of reference")
    return [_of_region(output, item, made, source, context) for output, item in told]


def images_of(source: Source) -> list[_Image]:
    """Every instance of the source once; of a multi-frame one the frames that were analysed, unless they are all."""
    frames: dict[str, list[SourcePlane]] = {}
    for plane in source.grid.planes:
        frames.setdefault(plane.row.sop_uid, []).append(plane)
    return [
        (
            planes[0].row.sop_class,
            uid,
            None if len(planes) == _frame_count(planes[0]) else [plane.frame for plane in planes],
        )
        for uid, planes in frames.items()
    ]


def algorithm(context: Context) -> Any:
    """What computed it: the bundle with its version and digest (TID 4019)."""
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name=context.pipeline.bundle,
        version=context.algorithm_version,
        family=code(context.pipeline.algorithm_family),
        manufacturer=MANUFACTURER,
    )


def code(plain: Code) -> Any:
    """A code as highdicom has it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(plain.value, plain.scheme, plain.meaning)


def rounded(value: float) -> float:
    """To six significant digits; more would be made up."""
    return float(f"{value:.6g}")


def _of_segment(
    number: int,
    segment: SegmentOutput,
    outputs: Sequence[MeasurementOutput],
    made: Any,
    seg: Written,
    source: Source,
    findings: Findings,
    context: Context,
) -> Any:
    from highdicom.sr import (
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(context.uids.uid(f"track.{segment.mask}"), segment.label),
        referenced_segment=ReferencedSegment(
            seg.sop_class,
            seg.sop_uid,
            number,
            source_series=SourceSeriesForSegmentation(source.head.series_uid),
        ),
        finding_type=code(outputs[0].finding),
        finding_sites=[_site(outputs[0])],
        algorithm_id=made,
        measurements=[_measurement(output, findings) for output in outputs],
    )


def _of_images(
    key: str,
    output: MeasurementOutput | ScoreOutput,
    images: Sequence[_Image],
    made: Any,
    context: Context,
    measurements: Sequence[Any],
    evaluations: Sequence[Any] = (),
) -> Any:
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(context.uids.uid(f"track.{key}"), output.label),
        finding_type=code(output.finding),
        finding_sites=[_site(output)],
        algorithm_id=made,
        measurements=measurements,
        qualitative_evaluations=evaluations or None,
        source_images=[SourceImageForMeasurementGroup(*image) for image in images],
    )


def _of_frame(output: ClassOutput, found: Classification, plane: SourcePlane, made: Any, context: Context) -> Any:
    from highdicom.sr import (
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    option = output.option(found.value)
    assert option is not None, "findings are checked before they are written"
    uid = context.uids.uid(f"track.{output.classification}.{found.frame}")
    frames = [plane.frame] if plane.frame else None
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid, f"{output.label}, frame {found.frame + 1}"),
        algorithm_id=made,
        measurements=[Measurement(code(CERTAINTY), rounded(100.0 * found.certainty), code(PERCENT))],
        qualitative_evaluations=[QualitativeEvaluation(code(output.name), code(option.code))],
        source_images=[SourceImageForMeasurementGroup(plane.row.sop_class, plane.row.sop_uid, frames)],
    )


def _of_region(output: RegionOutput, found: Region, made: Any, source: Source, context: Context) -> Any:
    import numpy as np
    from highdicom.sr import (
        FindingSite,
        Measurement,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumeSurface,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    (x0, y0, z0), (x1, y1, z1) = found.corners_mm
    around = ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))
    surface = VolumeSurface(
        "POLYGON",
        [np.array([(x, y, z) for x, y in around]) for z in (z0, z1)],
        source.frame_of_reference_uid,
        source_series=SourceSeriesForSegmentation(source.head.series_uid),
    )
    uid = context.uids.uid(f"track.{output.region}.{found.number}")
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid, f"{output.label}, box {found.number}"),
        referenced_volume_surface=surface,
        finding_type=code(output.finding),
        finding_sites=[FindingSite(code(output.finding_site))],
        algorithm_id=made,
        measurements=[
            Measurement(code(output.edge), rounded(found.longest_mm), code(MILLIMETRE)),
            Measurement(code(CERTAINTY), rounded(100.0 * found.certainty), code(PERCENT)),
        ],
    )


def _measurement(output: MeasurementOutput, findings: Findings) -> Any:
    """TID 300, with how one value came of many where that is declared."""
    from highdicom.sr import Measurement

    found = findings.measurement(output.measurement)
    assert found is not None, "findings are checked before they are written"
    derivation = code(output.statistic) if output.statistic else None
    return Measurement(code(output.name), rounded(found.value), code(output.unit), derivation=derivation)


def _site(output: MeasurementOutput | ScoreOutput) -> Any:
    from highdicom.sr import FindingSite

    side = output.laterality if isinstance(output, MeasurementOutput) else None
    return FindingSite(code(output.finding_site), laterality=None if side is None else code(side))


def _frame_count(plane: SourcePlane) -> int:
    """How many images the instance of a plane has."""
    from clinic import elements

    return elements.integer(plane.row.header, "00280008") or 1 if plane.frame else 1
