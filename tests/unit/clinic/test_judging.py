import copy
from dataclasses import replace

import pytest

from bithive.outbox import Event
from clinic.judging import judge, receive, schedule
from clinic.workitem import State
from clinic.workitem_store import Change, Kind
from pipelines.catalog import Repertoire, pipelines
from tests.common.clinic_side import T1, ClinicSide
from tests.common.dicom_factory import INSTITUTION, content_of, head_series, make_series, rows_of

HEAD = [content_of(item) for item in head_series()]


@pytest.fixture
def side(tmp_path) -> ClinicSide:
    return ClinicSide(tmp_path)


def changed(batch="bat_1", one_request=True) -> Event:
    body = {
        "institution": INSTITUTION,
        "study_uid": "1.2.3.100",
        "series_uid": "1.2.3.100.1",
        "batch": batch,
        "instances": 4,
        "one_request": one_request,
        "at_ms": 1,
    }
    return Event("series.changed", f"{batch}/1.2.3.100.1", body)


def never(_institution, _study_uid) -> bool:
    return False


def test_an_event_is_taken_once(side):
    means = side.flow._means
    for _ in range(3):
        receive(means, changed(), 0.5)
    assert side.kinds() == ["received"]
    receive(means, changed("bat_2"), 0.5)
    assert side.kinds() == ["received", "received"]
    (watch,) = side.store.watched()
    assert watch.due_ms == side.clock.now_ms() + 500


def test_a_series_whose_study_is_gone_is_let_go(side):
    means = side.flow._means
    receive(means, changed(), 0.5)
    assert judge(means, side.store.watched()[0], never) == pytest.approx(0.5)
    side.clock.advance_s(1)
    assert judge(means, side.store.watched()[0], never) == 0
    assert side.store.watched() == []
    assert side.kinds() == ["received"]


def test_a_judgement_is_remembered(side):
    side.receive(HEAD)
    side.settle()
    (watch,) = side.store.watched(INSTITUTION, "1.2.3.100")
    assert (watch.pending, len(watch.input_digest), watch.unmatched, watch.geometry) == (False, 64, {}, "")
    receive(side.flow._means, changed("bat_again"), 0.5)
    assert judge(side.flow._means, side.store.watched()[0], never) == 0
    assert side.kinds().count("matched") == 1


def test_what_was_put_right_stands_in_the_record_of_the_study(side):
    leaning = head_series(positions=[(0, 0.66 * z, 2 * z) for z in range(64)])
    side.receive([content_of(item) for item in (*leaning, again(leaning[5]))])
    side.settle()
    (matched,) = (event for event in side.events() if event.kind is Kind.MATCHED)
    assert matched.detail["corrected"] == "duplicates-dropped, tilt-corrected"
    assert side.workitems()[0].active


def again(item):
    twin = copy.deepcopy(item)
    twin.SOPInstanceUID = "1.2.3.100.77"
    return twin


def test_someone_elses_change_in_between_is_no_harm(side):
    side.receive(HEAD[:62])
    side.settle()
    side.receive(HEAD[62:])
    side.settle()
    (item,) = side.workitems()
    known = side.store.find

    def find(which):
        found = known(which)
        side.store.find = known
        side.store.commit(Change((found[0].changed(5, waiting="meanwhile"),)))
        return found

    side.store.find = find
    side.clock.advance_s(1)
    assert judge(side.flow._means, side.store.watched()[0], never) > 0
    assert judge(side.flow._means, side.store.watched()[0], never) == 0
    assert side.store.workitem(INSTITUTION, item.workitem_id).state is State.CANCELED


def test_a_new_workitem_has_a_key_and_an_offer_id_of_its_own(side):
    rows, _ = rows_of(HEAD[:2])
    pipeline = pipelines()["intracranial_volume_t1"]
    one, other = (schedule(side.flow._means, pipeline, rows[0], "d") for _ in range(2))
    assert len(one.key) == 32
    assert one.key != other.key
    assert one.offer_id != other.offer_id
    assert (one.state, one.urgency, one.version) == (State.SCHEDULED, pipeline.urgency, 1)


def test_reasons_hold_no_words_of_the_header(side):
    side.receive(make_series(description="Secret words", modality="CT"))
    side.settle()
    (event,) = [item for item in side.events() if item.kind is Kind.UNMATCHED]
    assert "Secret" not in str(event.detail)


def test_pipelines_are_asked_for_anew_each_time(side):
    here = [Repertoire({}, {})]
    side.start(repertoire=lambda: here[0])
    side.receive(HEAD)
    side.settle()
    assert side.workitems() == []
    here[0] = Repertoire({}, {T1: pipelines()[T1]})
    side.receive([content_of(item) for item in head_series(study_uid="1.2.9", series_uid="1.2.9.1")])
    side.flow.tick()
    assert [item.study_uid for item in side.workitems()] == ["1.2.9"]


def test_what_is_withheld_gets_no_workitem_but_its_code(side):
    withheld = {
        name: replace(item, withheld="licence-not-accepted") for name, item in pipelines().items() if name == T1
    }
    side.start(repertoire=lambda: Repertoire({}, withheld))
    side.receive(HEAD)
    side.settle()
    assert side.workitems() == []
    (watch,) = side.store.watched(INSTITUTION, "1.2.3.100")
    assert watch.unmatched == {"intracranial_volume_t1": "licence-not-accepted"}
