"""Where the clinical side's spans find their parents."""

from __future__ import annotations

import pytest

from bithive import tracing
from clinic import traced
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import INSTITUTION, head_series

UID = "1.2.3.100"


class Listed:
    """A recorder that keeps names, parents and what it gave."""

    def __init__(self):
        self.spans = []

    def start(self, name, parent, _start_ms, attributes):
        self.spans.append((name, parent, dict(attributes)))
        return Ended(f"00-{'5e' * 16}-{len(self.spans):016x}-01")

    def close(self):
        pass

    def names(self):
        return [name for name, _, _ in self.spans]


class Ended:
    def __init__(self, traceparent):
        self.traceparent = traceparent

    def note(self, **_attributes):
        pass

    def end(self, _end_ms, _code):
        pass


@pytest.fixture
def listed():
    kept = Listed()
    tracing.begin(kept)
    yield kept
    tracing.end()


@pytest.fixture
def side(tmp_path):
    made = ClinicSide(tmp_path)
    yield made
    made.intake.close()


def instances():
    return head_series(study_uid=UID, series_uid=f"{UID}.1")


def test_requests_that_bring_one_series_are_one_trace(listed, side):
    images = instances()
    side.receive(images[:40])
    side.receive(images[40:])
    first, second = (parent for name, parent, _ in listed.spans if name == "study.received")
    assert first == ""
    assert second.endswith("-0000000000000001-01")


def test_another_series_is_another_trace(listed, side):
    side.receive(instances())
    side.receive(head_series(study_uid="1.2.3.200", series_uid="1.2.3.200.1"))
    assert [parent for name, parent, _ in listed.spans if name == "study.received"] == ["", ""]


def test_an_offer_that_is_made_again_keeps_its_trace(listed, side):
    side.receive(instances())
    side.network.reachable = False
    side.settle()
    (item,) = side.workitems()
    carried = traced.traceparent(item)
    assert carried
    side.network.reachable = True
    side.clock.advance_s(60)
    side.settle()
    (item,) = side.workitems()
    assert traced.traceparent(item) == carried
    assert side.network.offers[item.offer_id][0].traceparent == carried


def test_after_a_restart_a_trace_begins_with_the_offer(listed, side):
    side.receive(instances())
    tracing.end()
    tracing.begin(listed)
    del listed.spans[:]
    side.settle()
    made = [parent for name, parent, _ in listed.spans if name == "offer.made"]
    assert made == [""]
    assert "series.judged" not in listed.names()


def test_findings_of_an_untraced_offer_begin_none(side):
    side.receive(instances())
    side.settle()
    kept = Listed()
    tracing.begin(kept)
    try:
        side.network.run(side.network.open[-1])
        side.settle()
    finally:
        tracing.end()
    assert side.workitems()[0].references
    assert kept.spans == []


def test_a_failed_write_is_a_failed_span_and_nothing_else(listed, side):
    with pytest.raises(ZeroDivisionError), traced.receiving(INSTITUTION, ["1.2.3"], 5):
        raise ZeroDivisionError
    assert listed.names() == ["study.received"]
