import itertools

import pytest

from bithive.errors import IllegalTransition
from clinic.workitem import DIMSE_STATUS, FINAL, TRANSITIONS, Duty, Event, Reference, State, Workitem, transition


def workitem(**members) -> Workitem:
    known = {
        "workitem_id": "wit_1",
        "institution": "ins_1",
        "study_uid": "1.2",
        "series_uid": "1.2.3",
        "pipeline": "p",
        "input_digest": "d",
        "offer_id": "off_1",
        "key": b"k" * 32,
        "created_ms": 1,
        "changed_ms": 1,
    }
    return Workitem(**(known | members))


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_is_legal_or_refused_as_the_standard_says(state, event):
    legal = {
        (State.SCHEDULED, Event.CLAIM): State.IN_PROGRESS,
        (State.IN_PROGRESS, Event.REPORT): State.IN_PROGRESS,
        (State.IN_PROGRESS, Event.COMPLETE): State.COMPLETED,
        (State.IN_PROGRESS, Event.CANCEL): State.CANCELED,
    }
    if (state, event) in legal:
        assert transition(state, event) is legal[state, event]
    else:
        with pytest.raises(IllegalTransition) as refusal:
            transition(state, event)
        assert refusal.value.context["dimse_status"] in {0xC300, 0xC302, 0xC310, 0xB304, 0xB306}


def test_the_two_tables_cover_everything_once():
    pairs = set(itertools.product(State, Event))
    assert set(TRANSITIONS) | set(DIMSE_STATUS) == pairs
    assert not set(TRANSITIONS) & set(DIMSE_STATUS)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_nothing_leaves_a_final_state(state):
    assert not [pair for pair in TRANSITIONS if pair[0] is state]


def test_ending_destroys_the_key():
    begun = workitem().after(Event.CLAIM, 2)
    assert begun.key is not None
    assert begun.after(Event.COMPLETE, 3).key is None
    assert begun.canceled("some-code", 3).key is None


def test_canceling_a_scheduled_one_passes_through_in_progress():
    ended = workitem().canceled("gantry-tilt", 5, duty=None)
    assert (ended.state, ended.reason, ended.changed_ms, ended.version, ended.duty) == (
        State.CANCELED, "gantry-tilt", 5, 2, None,
    )  # fmt: skip


def test_a_completed_one_is_not_canceled():
    with pytest.raises(IllegalTransition):
        workitem(state=State.COMPLETED).canceled("x", 2)


def test_postponing_counts_and_names_the_reason():
    later = workitem().postponed("network-silent", 1000, 0.5)
    assert (later.tries, later.waiting, later.due_ms, later.duty, later.version) == (
        1, "network-silent", 1500, Duty.OFFER, 2,
    )  # fmt: skip


def test_a_workitem_never_shows_its_key():
    assert "kkkk" not in repr(workitem())
    assert "kkkk" not in str(workitem())


def test_references_by_kind():
    item = workitem(references=(Reference("seg", "1", "2", "3"),))
    assert item.reference("seg") == Reference("seg", "1", "2", "3")
    assert item.reference("sr") is None
