"""Structured report (PS3.16 TID 1500): measurements as a Comprehensive 3D SR that refers to the Segmentation.

It is complete and unverified. A clinician who accepts it makes a further version of it (`verified`), with its
predecessor named (PS3.3 C.17.2).
"""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from bithive import __version__
from clinic.writers.context import MANUFACTURER, Context, Written, coded, file_of, restamp, stamp
from clinic.writers.source import Source, neutral_dataset
from inference.findings import Findings
from pipelines.outputs import Code, MeasurementOutput, SegmentOutput

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
_QUALITATIVE = Code("C0034375", "UMLS", "Qualitative Evaluations")
_ABSENT = Code("272519000", "SCT", "Absent")


def write(
    outputs: Sequence[MeasurementOutput],
    segments: Sequence[SegmentOutput],
    seg: Written,
    source: Source,
    findings: Findings,
    context: Context,
) -> Written:
    """Measurements as one report, one TID 1411 group for each measured segment.

    Parameters
    ----------
    outputs
        Which measurements.
    segments, seg
        The Segmentation they were taken from, and what its segments are.
    source, findings, context
        What was analysed, what was found, the circumstances.
    """
    numbers = {segment.mask: number for number, segment in enumerate(segments, start=1)}
    labels = {segment.mask: segment.label for segment in segments}
    measured = [(mask, [item for item in outputs if item.mask == mask]) for mask in numbers]
    algorithm = _algorithm(context)
    groups = [
        _group(mask, labels[mask], numbers[mask], chosen, algorithm, seg, source, findings, context)
        for mask, chosen in measured
        if chosen
    ]
    dataset = _document(groups[:1], [_evidence(seg, source)], context)
    container = dataset.ContentSequence[-1]
    container.ContentSequence.extend(item for group in groups[1:] for item in group)
    stamp(dataset, "sr", f"{context.pipeline.title} [SR]", source, context)
    return file_of("sr", dataset)


def write_absent(segments: Sequence[SegmentOutput], source: Source, context: Context) -> Written:
    """A report without measurements: of each structure that was looked for, that it is absent.

    Parameters
    ----------
    segments
        What was looked for.
    source, context
        What was analysed, the circumstances.
    """
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, TrackingIdentifier

    first = {row.sop_uid: k for k, row in reversed(list(enumerate(source.grid.rows)))}
    evidence = [neutral_dataset(source, k) for k in sorted(first.values())]
    placeholder = MeasurementsAndQualitativeEvaluations(TrackingIdentifier(context.uids.uid("sr"), "none"))
    dataset = _document([placeholder], evidence, context)
    container = dataset.ContentSequence[-1]
    container.ConceptNameCodeSequence = [coded(_QUALITATIVE)]
    container.ContentSequence = [*(_absent(segment) for segment in segments), _sentence(segments)]
    stamp(dataset, "sr", f"{context.pipeline.title} [SR]", source, context)
    return file_of("sr", dataset)


def verified(content: bytes, sop_uid: str, observer: str, organization: str, at_ms: int) -> Written:
    """The next version of a report: verified by a person, its predecessor named.

    Parameters
    ----------
    content
        The unverified report, a Part 10 file.
    sop_uid
        UID of the new version.
    observer, organization
        Verifying Observer Name (0040,A075) and Verifying Organization (0040,A027).
    at_ms
        When it was verified.
    """
    before = pydicom.dcmread(io.BytesIO(content))
    dataset = copy.deepcopy(before)
    dataset.SOPInstanceUID = sop_uid
    dataset.InstanceNumber = int(before.InstanceNumber) + 1
    dataset.VerificationFlag, dataset.PreliminaryFlag = "VERIFIED", "FINAL"
    restamp(dataset, at_ms)
    person = Dataset()
    person.VerifyingOrganization = organization[:64]
    person.VerificationDateTime = f"{dataset.ContentDate}{dataset.ContentTime}"
    person.VerifyingObserverName = observer
    person.VerifyingObserverIdentificationCodeSequence = []
    dataset.VerifyingObserverSequence = [person]
    dataset.PredecessorDocumentsSequence = [_predecessor(before)]
    if not (observer + organization).isascii():
        dataset.SpecificCharacterSet = "ISO_IR 192"
    return file_of("sr-verified", dataset)


def _document(groups: Sequence[Any], evidence: Sequence[Dataset], context: Context) -> Dataset:
    """A report with those groups; highdicom copies and searches them, so the many follow afterwards."""
    from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext
    from pydicom.sr.codedict import codes

    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_device(context)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    dataset = Comprehensive3DSR(
        evidence=evidence,
        content=report,
        series_instance_uid=context.uids.uid("sr.series"),
        series_number=1,
        sop_instance_uid=context.uids.uid("sr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    plain = Dataset()
    plain.update(dict(dataset.items()))
    return plain


def _absent(segment: SegmentOutput) -> Any:
    """One qualitative evaluation (PS3.16 TID 1500 row 13)."""
    from highdicom.sr import CodeContentItem, RelationshipTypeValues

    return CodeContentItem(_code(segment.type), _code(_ABSENT), RelationshipTypeValues.CONTAINS)


def _sentence(segments: Sequence[SegmentOutput]) -> Any:
    """The same in words, with the names that the pipeline gives (row 14)."""
    from highdicom.sr import RelationshipTypeValues, TextContentItem
    from pydicom.sr.codedict import codes

    names = ", ".join(segment.label for segment in segments)
    return TextContentItem(codes.DCM.Finding, f"Looked for, not found: {names}.", RelationshipTypeValues.CONTAINS)


def _group(
    mask: str,
    label: str,
    number: int,
    outputs: Sequence[MeasurementOutput],
    algorithm: Any,
    seg: Written,
    source: Source,
    findings: Findings,
    context: Context,
) -> Any:
    """TID 1411 of one segment."""
    from highdicom.sr import (
        FindingSite,
        Measurement,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    measurements = []
    for output in outputs:
        found = findings.measurement(output.measurement)
        assert found is not None, "findings are checked before they are written"
        measurements.append(Measurement(_code(output.name), _rounded(found.value), _code(output.unit)))
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(context.uids.uid(f"track.{mask}"), label),
        referenced_segment=ReferencedSegment(
            seg.sop_class,
            seg.sop_uid,
            number,
            source_series=SourceSeriesForSegmentation(source.head.series_uid),
        ),
        finding_type=_code(outputs[0].finding),
        finding_sites=[FindingSite(_code(outputs[0].finding_site), laterality=_side(outputs[0].laterality))],
        algorithm_id=algorithm,
        measurements=measurements,
    )


def _algorithm(context: Context) -> Any:
    from highdicom.sr import AlgorithmIdentification
    from pydicom.sr.codedict import codes

    return AlgorithmIdentification(
        name=context.pipeline.bundle,
        version=context.algorithm_version,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MANUFACTURER,
    )


def _device(context: Context) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
    from pydicom.sr.codedict import codes

    return ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            uid=context.uids.device(context.node),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=f"BitHive {__version__}",
            serial_number=context.node,
        ),
    )


def _evidence(seg: Written, source: Source) -> Dataset:
    """What the report refers to, with a nameless patient; identity is copied afterwards."""
    dataset = neutral_dataset(source)
    dataset.SOPClassUID, dataset.SOPInstanceUID = seg.sop_class, seg.sop_uid
    dataset.SeriesInstanceUID, dataset.Modality = seg.series_uid, "SEG"
    return dataset


def _predecessor(before: Dataset) -> Dataset:
    """A reference to a document of the same study, as the macro of PS3.3 Table C.17-3 wants it."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = before.SOPClassUID, before.SOPInstanceUID
    series.ReferencedSOPSequence, series.SeriesInstanceUID = [instance], before.SeriesInstanceUID
    study.ReferencedSeriesSequence, study.StudyInstanceUID = [series], before.StudyInstanceUID
    return study


def _side(laterality: Code | None) -> Any:
    return None if laterality is None else _code(laterality)


def _code(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _rounded(value: float) -> float:
    """To what a decimal string of 16 characters holds; more would be made up."""
    return float(f"{value:.6g}")
