import io

import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR

from clinic.writers import seg, sr
from tests.common.dicom_factory import make_series
from tests.common.loop_network import NODE
from tests.common.written import MEASUREMENT, SEGMENT, as_frames, context, findings_of, many, source_of


@pytest.fixture(scope="module")
def made():
    source = source_of(make_series((6, 8, 7)))
    findings = findings_of(source)
    segmentation = seg.write([SEGMENT], source, findings, context())
    report = sr.write([MEASUREMENT], [SEGMENT], segmentation, source, findings, context())
    return source, findings, segmentation, report


def test_highdicom_reads_the_measurement_and_its_segment(made):
    source, findings, segmentation, report = made
    document = Comprehensive3DSR.from_dataset(pydicom.dcmread(io.BytesIO(report.content)))
    (group,) = document.content.get_volumetric_roi_measurement_groups()
    (measurement,) = group.get_measurements()
    assert measurement.value == pytest.approx(findings.measurements[0].value, rel=1e-5)
    assert (measurement.name.value, measurement.name.scheme_designator) == ("118565006", "SCT")
    assert (measurement.unit.value, measurement.unit.scheme_designator) == ("mL", "UCUM")
    assert group.finding_type.value == "1101003"
    assert [site.value.value for site in group.finding_sites] == ["1101003"]
    assert group.tracking_identifier == "Intracranial volume"
    reference = group.referenced_segment
    assert reference.referenced_sop_instance_uid == segmentation.sop_uid
    assert reference.referenced_segment_numbers in (1, [1])
    assert source.head.series_uid in str(document)


def test_the_flags_say_complete_and_unverified(made):
    dataset = pydicom.dcmread(io.BytesIO(made[3].content))
    assert dataset.SOPClassUID == sr.COMPREHENSIVE_3D_SR
    assert (dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag) == (
        "COMPLETE", "UNVERIFIED", "PRELIMINARY",
    )  # fmt: skip
    assert "VerifyingObserverSequence" not in dataset


def test_the_observer_is_the_node_and_the_algorithm_is_named(made):
    text = str(pydicom.dcmread(io.BytesIO(made[3].content)))
    assert NODE in text
    assert context().uids.device(NODE) in text
    assert "intracranial_t1" in text
    assert context().algorithm_version in text
    assert "Artificial Intelligence" in text


def test_the_evidence_is_the_segmentation(made):
    dataset = pydicom.dcmread(io.BytesIO(made[3].content))
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == made[2].series_uid
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == [made[2].sop_uid]


def test_tracking_is_the_same_in_segment_and_report(made):
    segmentation = pydicom.dcmread(io.BytesIO(made[2].content))
    assert segmentation.SegmentSequence[0].TrackingUID in str(pydicom.dcmread(io.BytesIO(made[3].content)))


def test_writing_again_gives_the_same_bytes(made):
    source, findings, segmentation, report = made
    assert sr.write([MEASUREMENT], [SEGMENT], segmentation, source, findings, context()).content == report.content


def test_a_verified_version_is_another_object_with_the_same_content(made):
    report = made[3]
    final = pydicom.dcmread(
        io.BytesIO(sr.verified(report.content, "1.2.3.4", "Berg^", "Hospital", 1_900_000_000_000).content)
    )
    draft = pydicom.dcmread(io.BytesIO(report.content))
    assert (final.SOPInstanceUID, final.InstanceNumber) == ("1.2.3.4", draft.InstanceNumber + 1)
    assert final.ContentSequence == draft.ContentSequence
    assert final.InstanceCreationDate > draft.InstanceCreationDate
    assert final.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"


def test_many_structures_have_a_group_each_in_order():
    source = source_of(make_series((12, 30, 28)))
    body = many(source, 25)
    segmentation = seg.write(body.segments, source, body.findings, body.context)
    made = sr.write(body.measured, body.segments, segmentation, source, body.findings, body.context)
    document = Comprehensive3DSR.from_dataset(pydicom.dcmread(io.BytesIO(made.content)))
    groups = document.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [segment.label for segment in body.segments]
    for number, (group, value) in enumerate(zip(groups, body.findings.measurements, strict=True), start=1):
        assert group.referenced_segment.referenced_segment_numbers in (number, [number])
        assert group.referenced_segment.referenced_sop_class_uid == seg.LABEL_MAP_STORAGE
        assert group.get_measurements()[0].value == pytest.approx(value.value, rel=1e-5)
    again = sr.write(body.measured, body.segments, segmentation, source, body.findings, body.context)
    assert again.content == made.content


@pytest.mark.parametrize("frames", [False, True])
def test_what_is_absent_is_said_to_be_absent(frames):
    series = make_series((6, 8, 7))
    source = source_of([as_frames(series)] if frames else series)
    body = many(source, 3)
    made = sr.write_absent(body.segments, source, body.context)
    dataset = pydicom.dcmread(io.BytesIO(made.content))
    container = dataset.ContentSequence[-1]
    assert container.ConceptNameCodeSequence[0].CodeMeaning == "Qualitative Evaluations"
    *told, sentence = container.ContentSequence
    assert [item.ConceptCodeSequence[0].CodeValue for item in told] == ["272519000"] * 3
    assert sentence.TextValue == "Looked for, not found: structure 1, structure 2, structure 3."
    assert "MeasuredValueSequence" not in str(dataset)
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    named = [item.ReferencedSOPInstanceUID for item in study.ReferencedSeriesSequence[0].ReferencedSOPSequence]
    assert sorted(named) == sorted({row.sop_uid for row in source.grid.rows})
    assert sr.write_absent(body.segments, source, body.context).content == made.content
    final = sr.verified(made.content, "1.2.3.4", "Berg^", "Hospital", 1_900_000_000_000)
    assert pydicom.dcmread(io.BytesIO(final.content)).VerificationFlag == "VERIFIED"
