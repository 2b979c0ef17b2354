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
from clinic.writers.context import MANUFACTURER, Context, Written, file_of, restamp, stamp
from clinic.writers.source import Source, neutral_dataset
from inference.findings import Findings
from pipelines.outputs import Code, MeasurementOutput, SegmentOutput

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


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
    from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext
    from pydicom.sr.codedict import codes

    numbers = {segment.mask: number for number, segment in enumerate(segments, start=1)}
    labels = {segment.mask: segment.label for segment in segments}
    measured = [(mask, [item for item in outputs if item.mask == mask]) for mask in numbers]
    groups = [
        _group(mask, labels[mask], numbers[mask], chosen, seg, source, findings, context)
        for mask, chosen in measured
        if chosen
    ]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_device(context)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    dataset = Comprehensive3DSR(
        evidence=[_evidence(seg, source)],
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
    stamp(plain, "sr", f"{context.pipeline.title} [SR]", source, context)
    return file_of("sr", plain)


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
    dataset.PredecessorDocumentsSequence = [_document(before)]
    if not (observer + organization).isascii():
        dataset.SpecificCharacterSet = "ISO_IR 192"
    return file_of("sr-verified", dataset)


def _group(
    mask: str,
    label: str,
    number: int,
    outputs: Sequence[MeasurementOutput],
    seg: Written,
    source: Source,
    findings: Findings,
    context: Context,
) -> Any:
    """TID 1411 of one segment."""
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        Measurement,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentification(
        name=context.pipeline.bundle,
        version=context.algorithm_version,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MANUFACTURER,
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
        finding_sites=[FindingSite(_code(outputs[0].finding_site))],
        algorithm_id=algorithm,
        measurements=measurements,
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


def _document(before: Dataset) -> Dataset:
    """A reference to a document of the same study, as the macro of PS3.3 Table C.17-3 wants it."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = before.SOPClassUID, before.SOPInstanceUID
    series.ReferencedSOPSequence, series.SeriesInstanceUID = [instance], before.SeriesInstanceUID
    study.ReferencedSeriesSequence, study.StudyInstanceUID = [series], before.StudyInstanceUID
    return study


def _code(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _rounded(value: float) -> float:
    """To what a decimal string of 16 characters holds; more would be made up."""
    return float(f"{value:.6g}")
