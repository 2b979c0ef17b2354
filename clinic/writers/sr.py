"""Structured report (PS3.16 TID 1500): a Comprehensive 3D SR that refers to the Segmentation, or to images and frames.

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
from clinic.refusals import REMARKS
from clinic.statements import of_boxes, remarks_of
from clinic.writers import sr_groups
from clinic.writers.context import MANUFACTURER, Context, Written, coded, file_of, restamp, stamp
from clinic.writers.source import Source, consulted_of, evidence_of
from inference.findings import Findings
from pipelines.outputs import ClassOutput, Code, MeasurementOutput, RegionOutput, ScoreOutput, SegmentOutput

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
_BOXES = "A box is no segmentation, its edges are no diameters, and finding none excludes nothing."
_QUALITATIVE = Code("C0034375", "UMLS", "Qualitative Evaluations")


def write(
    outputs: Sequence[MeasurementOutput | ScoreOutput | ClassOutput | RegionOutput],
    segments: Sequence[SegmentOutput],
    seg: Written | None,
    source: Source,
    findings: Findings,
    context: Context,
    *,
    absent: Sequence[SegmentOutput] = (),
) -> Written:
    """One report: a group for each measured segment, measurement of the whole, score and classified frame.

    Parameters
    ----------
    outputs
        What is reported.
    segments, seg
        The Segmentation that was written and what its segments are; nothing and None when there is none.
    source, findings, context
        What was analysed, what was found, the circumstances.
    absent
        Segments that were looked for and have no voxel; the report says so of each.
    """
    remarks = remarks_of(context.pipeline, source.age_years)
    measured = [item for item in outputs if isinstance(item, MeasurementOutput)]
    whole = [item for item in measured if not item.mask]
    groups = sr_groups.of_segments(measured, segments, seg, source, findings, context) if seg else []
    groups += sr_groups.of_images(whole, seg, source, findings, context)
    groups += sr_groups.of_scores(
        [item for item in outputs if isinstance(item, ScoreOutput)], source, findings, context, remarks
    )
    groups += sr_groups.of_classes(
        [item for item in outputs if isinstance(item, ClassOutput)], source, findings, context
    )
    boxed = [item for item in outputs if isinstance(item, RegionOutput)]
    groups += sr_groups.of_regions(boxed, source, findings, context)
    counted = [
        _text(f"{item.label}: {of_boxes(item, findings.boxed(item.region, item.least))[0].text}. {_BOXES}")
        for item in boxed
    ]
    planar = any(not isinstance(item, MeasurementOutput) for item in outputs) or (whole and not seg)
    evidence = ([_evidence(seg, source)] if seg else []) + (evidence_of(source) if planar else [])
    return _report(groups, [*counted, *_absences(absent), *_remarks(remarks)], evidence, source, context)


def write_absent(segments: Sequence[SegmentOutput], source: Source, context: Context) -> Written:
    """A report without measurements: of each structure that was looked for, that it is absent.

    Parameters
    ----------
    segments
        What was looked for.
    source, context
        What was analysed, the circumstances.
    """
    remarks = remarks_of(context.pipeline, source.age_years)
    return _report([], [*_absences(segments), *_remarks(remarks)], evidence_of(source), source, context)


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


def _report(
    groups: Sequence[Any], evaluations: Sequence[Any], evidence: Sequence[Dataset], source: Source, context: Context
) -> Written:
    """Groups in a container Imaging Measurements, the rest in one of Qualitative Evaluations (TID 1500 rows 6 and 12).

    highdicom copies and searches what it is given, so the document is made with a group that stands for all of them.
    """
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, TrackingIdentifier

    placeholder = MeasurementsAndQualitativeEvaluations(TrackingIdentifier(context.uids.uid("sr"), "none"))
    dataset = _document([placeholder], [*evidence, *consulted_of(source)], context)
    container = dataset.ContentSequence[-1]
    qualitative = copy.deepcopy(container)
    qualitative.ConceptNameCodeSequence = [coded(_QUALITATIVE)]
    container.ContentSequence = [item for group in groups for item in group]
    qualitative.ContentSequence = list(evaluations)
    kept = [item for item in (container, qualitative) if item.ContentSequence]
    dataset.ContentSequence = [*dataset.ContentSequence[:-1], *kept]
    stamp(dataset, "sr", f"{context.pipeline.title} [SR]", source, context)
    return file_of("sr", dataset)


def _document(groups: Sequence[Any], evidence: Sequence[Dataset], context: Context) -> Dataset:
    """A report with those groups."""
    from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext
    from pydicom.sr.codedict import codes

    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=device(context)),
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


def _absences(segments: Sequence[SegmentOutput]) -> list[Any]:
    """Of each structure one evaluation (row 13), and the same in words with the names that the pipeline gives (row 14)."""
    if not segments:
        return []
    names = ", ".join(segment.label for segment in segments)
    evaluations = [_evaluation(segment.type, sr_groups.ABSENT) for segment in segments]
    return [*evaluations, _text(f"Looked for, not found: {names}.")]


def _remarks(remarks: Sequence[str]) -> list[Any]:
    """Of each remark its code, and its sentence."""
    told = [(_evaluation(sr_groups.REMARK, sr_groups.REMARKS[remark]), _text(REMARKS[remark])) for remark in remarks]
    return [item for pair in told for item in pair]


def _evaluation(name: Code, value: Code) -> Any:
    from highdicom.sr import CodeContentItem, RelationshipTypeValues

    return CodeContentItem(sr_groups.code(name), sr_groups.code(value), RelationshipTypeValues.CONTAINS)


def _text(sentence: str) -> Any:
    from highdicom.sr import RelationshipTypeValues, TextContentItem
    from pydicom.sr.codedict import codes

    return TextContentItem(codes.DCM.Finding, sentence, RelationshipTypeValues.CONTAINS)


def device(context: Context) -> Any:
    """Who observed: the Node, by a UID that is the same for everything it does here."""
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
    dataset = evidence_of(source)[0]
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
