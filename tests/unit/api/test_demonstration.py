from __future__ import annotations

import pytest

from api.demonstration import Seen, Step, _ended, _messages
from api.errors import StepFailed


def _study(*items, pending=False, unmatched=None, geometry=""):
    series = {"pending": pending, "unmatched": unmatched or {}, "geometry": geometry}
    return {"workitems": list(items), "series_list": [series]}


def _item(state, **members):
    return {"state": state, "superseded_by": None, "title": "TIV", "reason": None, **members}


def test_when_a_study_has_ended():
    done = _item("COMPLETED")
    assert _ended(_study(done)) is done
    assert _ended(_study(done, pending=True)) is None
    assert _ended(_study(done, _item("IN PROGRESS"))) is None
    assert _ended(_study()) is None
    assert _ended(_study(_item("CANCELED", superseded_by="wit_2"), done)) is done


def test_why_a_study_did_not_come_through():
    with pytest.raises(StepFailed, match="offer-exhausted"):
        _ended(_study(_item("CANCELED", reason="offer-exhausted")))
    with pytest.raises(StepFailed, match="not-mr"):
        _ended(_study(unmatched={"tiv": "not-mr"}))
    with pytest.raises(StepFailed, match="gantry-tilt"):
        _ended(_study(geometry="gantry-tilt"))


def test_the_first_time_a_step_is_seen_counts():
    seen = Seen()
    seen.take({"kind": "running", "node": "nod_1", "stage": "loading"}, 1.0)
    seen.take({"kind": "running", "node": "nod_1", "stage": "sealing"}, 2.0)
    seen.take({"kind": "offered"}, 3.0)
    assert seen.at_s == {Step.RUNNING: 1.0}
    assert seen.said == {Step.RUNNING: "on node nod_1 (sealing)"}


def test_an_event_stream_is_read():
    lines = ["retry: 2000", "", ": still here", "", "id: 7", "event: study.changed", 'data: {"a": 1}', ""]
    found = list(_messages(iter(lines)))
    assert found == [{"retry": "2000"}, {}, {"id": "7", "event": "study.changed", "data": '{"a": 1}'}]
