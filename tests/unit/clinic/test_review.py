import io
import threading

import pydicom
import pytest
from highdicom.sr import srread

from clinic.errors import InstanceAbsent
from clinic.refusals import AlreadyReviewed, NotReviewable, ResultsNotStored, ReviewerUnnamed, WorkitemAbsent
from clinic.workitem import Review, State
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of, head_series

HEAD = [
    content_of(item)
    for item in head_series(patient={"PatientName": "Müller^Änne", "SpecificCharacterSet": "ISO_IR 192"})
]


@pytest.fixture
def side(tmp_path) -> ClinicSide:
    made = ClinicSide(tmp_path)
    made.receive(HEAD)
    made.settle()
    made.network.run(made.network.open[0])
    made.settle()
    return made


def dataset_of(side, reference) -> pydicom.Dataset:
    row = side.archive.instance(INSTITUTION, reference.sop_uid)
    return pydicom.dcmread(io.BytesIO(side.blobs.open(row.blob).read()))


def test_accepting_makes_a_verified_version_that_names_its_predecessor(side):
    (before,) = side.workitems()
    side.clock.advance_s(90)
    after = side.reviews.accept(INSTITUTION, before.workitem_id, "Dr. Anna Berg")
    assert (after.review, after.reviewed_by, after.state) == (Review.ACCEPTED, "Dr. Anna Berg", State.COMPLETED)
    assert after.reviewed_ms == side.clock.now_ms()
    draft, final = (dataset_of(side, after.reference(kind)) for kind in ("sr", "sr-verified"))
    assert (draft.VerificationFlag, draft.CompletionFlag, draft.PreliminaryFlag) == (
        "UNVERIFIED", "COMPLETE", "PRELIMINARY",
    )  # fmt: skip
    assert (final.VerificationFlag, final.CompletionFlag, final.PreliminaryFlag) == ("VERIFIED", "COMPLETE", "FINAL")
    (observer,) = final.VerifyingObserverSequence
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == ("Dr. Anna Berg^", "Test Hospital")
    (study,) = final.PredecessorDocumentsSequence
    series = study.ReferencedSeriesSequence[0]
    assert study.StudyInstanceUID == draft.StudyInstanceUID
    assert series.SeriesInstanceUID == draft.SeriesInstanceUID == final.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == draft.SOPInstanceUID != final.SOPInstanceUID
    assert final.ContentSequence == draft.ContentSequence
    assert str(final.PatientName) == "Müller^Änne"
    assert side.kinds()[-1] == "accepted"


def test_accepting_twice_is_accepting_once(side):
    (item,) = side.workitems()
    first = side.reviews.accept(INSTITUTION, item.workitem_id, "Dr. Berg")
    side.clock.advance_s(60)
    assert side.reviews.accept(INSTITUTION, item.workitem_id, "Dr. Other") == first
    assert side.kinds().count("accepted") == 1


def test_rejecting_takes_everything_back(side):
    (item,) = side.workitems()
    accepted = side.reviews.accept(INSTITUTION, item.workitem_id, "Dr. Berg")
    after = side.reviews.reject(INSTITUTION, item.workitem_id, "Dr. Berg")
    assert after.review is Review.REJECTED
    note = dataset_of(side, after.reference("rejection"))
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
    referenced = {
        one.ReferencedSOPInstanceUID
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert referenced == {one.sop_uid for one in accepted.references}
    assert len(referenced) == 4
    assert (note.Modality, str(note.PatientName), note.PatientID) == ("KO", "Müller^Änne", "T-1")
    assert side.reviews.reject(INSTITUTION, item.workitem_id, "Dr. Berg") == after
    assert side.kinds()[-2:] == ["accepted", "rejected"]


def test_a_reason_stays_in_the_log(side):
    (item,) = side.workitems()
    side.reviews.reject(INSTITUTION, item.workitem_id, "Dr. Berg", "x" * 9000)
    event = side.events()[-1]
    assert event.detail["by"] == "Dr. Berg"
    assert 100 < len(event.detail["reason"]) < 2000


def test_what_was_rejected_is_not_accepted(side):
    (item,) = side.workitems()
    side.reviews.reject(INSTITUTION, item.workitem_id, "Dr. Berg")
    with pytest.raises(AlreadyReviewed):
        side.reviews.accept(INSTITUTION, item.workitem_id, "Dr. Berg")


def test_only_completed_findings_of_ones_own_are_judged(tmp_path):
    side = ClinicSide(tmp_path)
    side.receive(HEAD)
    side.settle()
    (item,) = side.workitems()
    for judge in (side.reviews.accept, side.reviews.reject):
        with pytest.raises(NotReviewable):
            judge(INSTITUTION, item.workitem_id, "Dr. Berg")
        with pytest.raises(WorkitemAbsent):
            judge("ins_00000000000000000000000002", item.workitem_id, "Dr. Berg")


@pytest.mark.parametrize("name", ["", "  ", "^^\\", "\r\n"])
def test_a_reviewer_has_a_name(side, name):
    with pytest.raises(ReviewerUnnamed):
        side.reviews.accept(INSTITUTION, side.workitems()[0].workitem_id, name)


def test_a_name_cannot_break_out_of_its_element(side):
    (item,) = side.workitems()
    after = side.reviews.accept(INSTITUTION, item.workitem_id, "Eve^Mallory\\Dr=x")
    final = dataset_of(side, after.reference("sr-verified"))
    assert final.VerifyingObserverSequence[0].VerifyingObserverName == "Eve Mallory Dr x^"


def test_what_cannot_be_stored_is_not_recorded(side, monkeypatch):
    (item,) = side.workitems()
    monkeypatch.setattr("clinic.intake.Intake.commit", lambda *_: [type("Outcome", (), {"stored": False})()])
    with pytest.raises(ResultsNotStored):
        side.reviews.accept(INSTITUTION, item.workitem_id, "Dr. Berg")
    assert side.workitems() == [item]


def test_objects_that_are_gone_cannot_be_judged(side):
    (item,) = side.workitems()
    side.archive.delete_study(INSTITUTION, item.study_uid, lambda _blobs: None)
    with pytest.raises(InstanceAbsent):
        side.reviews.accept(INSTITUTION, item.workitem_id, "Dr. Berg")


def test_many_clicks_at_once_are_one(side):
    (item,) = side.workitems()
    threads = [
        threading.Thread(target=side.reviews.accept, args=(INSTITUTION, item.workitem_id, f"Dr. {number}"))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (after,) = side.workitems()
    assert side.kinds().count("accepted") == 1
    assert [one.kind for one in after.references].count("sr-verified") == 1


def test_highdicom_reads_the_verified_report(side, tmp_path):
    (item,) = side.workitems()
    after = side.reviews.accept(INSTITUTION, item.workitem_id, "Dr. Berg")
    row = side.archive.instance(INSTITUTION, after.reference("sr-verified").sop_uid)
    path = tmp_path / "sr.dcm"
    path.write_bytes(side.blobs.open(row.blob).read())
    (group,) = srread(path).content.get_volumetric_roi_measurement_groups()
    (measurement,) = group.get_measurements()
    assert measurement.value == pytest.approx(item.measured[0].value, rel=1e-5)
