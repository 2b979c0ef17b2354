"""What the network side adds to a trace: from its own changes and its own clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bithive import tracing
from cluster.errors import ReceiptRefused
from cluster.moves import Durations
from cluster.network_traces import NetworkTraces
from tests.common.network import scene

PARENT = "00-" + "5e" * 16 + "-" + "cd" * 8 + "-01"


@dataclass
class Kept:
    """A span that was recorded."""

    name: str
    parent: str
    start_ms: int | None
    attributes: dict[str, object]
    traceparent: str
    end_ms: int | None = None
    code: str = ""

    def note(self, **attributes):
        self.attributes |= attributes

    def end(self, end_ms, code):
        self.end_ms, self.code = end_ms, code


@dataclass
class Listed:
    """A recorder that keeps a list."""

    spans: list[Kept] = field(default_factory=list)

    def start(self, name, parent, start_ms, attributes):
        kept = Kept(name, parent, start_ms, dict(attributes), f"00-{'5e' * 16}-{len(self.spans) + 1:016x}-01")
        self.spans.append(kept)
        return kept

    def close(self):
        pass

    def named(self, name):
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def listed():
    kept = Listed()
    tracing.begin(kept)
    yield kept
    tracing.end()


@pytest.fixture
def seen(tmp_path, listed):
    return scene(tmp_path, durations=Durations(retry_pause_s=0.0))


@pytest.fixture
def traces(seen):
    watcher = NetworkTraces(seen.clock)
    seen.broker.watchers.append(watcher)
    return watcher


def run(seen, made, traces, **lies):
    seen.clock.advance_s(2)
    grant = seen.cell.lease()
    assert grant.offer.traceparent == "", "a cell is told of no trace"
    seen.clock.advance_s(3)
    traces.heard(grant.attempt_id, "downloading=500, segmenting=1500, sealing=100")
    seen.cell.finish(grant, made.payload, **lies)
    return grant


def test_an_accepted_attempt_from_the_payload_to_the_check(seen, traces, listed):
    made = seen.offer(traceparent=PARENT)
    grant = run(seen, made, traces)
    names = [span.name for span in listed.spans]
    stages = ["stage"] * 3
    assert names == ["payload.received", "offer.waited", "attempt", *stages, "findings.received", "findings.checked"]
    waited, attempt = listed.named("offer.waited")[0], listed.named("attempt")[0]
    assert waited.parent == attempt.parent == PARENT
    assert (waited.end_ms - waited.start_ms, attempt.end_ms - attempt.start_ms) == (2000, 3000)
    assert attempt.attributes["attempt"] == grant.attempt_id
    assert attempt.attributes["node"] == seen.cell.node
    assert attempt.attributes["state"] == "ACCEPTED"
    laid = [(span.attributes["stage"], span.start_ms - attempt.start_ms) for span in listed.named("stage")]
    assert laid == [("downloading", 0), ("segmenting", 500), ("sealing", 2000)]
    assert all(span.parent == attempt.traceparent for span in listed.spans[3:])
    received = listed.named("findings.received")[0]
    assert (received.start_ms - attempt.start_ms, received.end_ms - attempt.start_ms) == (2100, 3000)


def test_a_cell_that_lies_about_its_stages_stays_within_its_interval(seen, traces, listed):
    made = seen.offer(traceparent=PARENT)
    seen.clock.advance_s(1)
    grant = seen.cell.lease()
    seen.clock.advance_s(1)
    traces.heard(grant.attempt_id, "downloading=99999999, segmenting=99999999")
    seen.cell.finish(grant, made.payload)
    attempt = listed.named("attempt")[0]
    assert all(attempt.start_ms <= span.start_ms <= span.end_ms <= attempt.end_ms for span in listed.named("stage"))


def test_a_refused_attempt_says_why(seen, traces, listed):
    made = seen.offer(traceparent=PARENT)
    with pytest.raises(ReceiptRefused):
        run(seen, made, traces, work_units=10**6)
    attempt = listed.named("attempt")[0]
    assert attempt.attributes["state"] == "REFUSED"
    assert attempt.code == "work-units-differ"
    assert listed.named("findings.checked") == []


def test_an_expired_attempt_and_the_next_one_are_in_the_same_trace(seen, traces, listed):
    made = seen.offer(traceparent=PARENT)
    seen.cell.lease()
    seen.clock.advance_s(60)
    seen.broker.expire()
    run(seen, made, traces)
    assert [span.code for span in listed.named("attempt")] == ["lease-expired", ""]
    assert [span.attributes["tries"] for span in listed.named("offer.waited")] == [1, 2]


def test_an_offer_without_a_trace_is_not_followed(seen, traces, listed):
    run(seen, seen.offer(), traces)
    assert listed.spans == []


def test_nothing_of_a_trace_is_in_an_event_or_a_notice(seen, traces, listed):
    run(seen, seen.offer(traceparent=PARENT), traces)
    told = [event.body for event in seen.broker.store.outbox.waiting()]
    told += [notice.to_json() for notice in seen.broker.notices(seen.institution, 0)]
    assert len(told) >= 4
    assert "5e" * 16 not in repr(told)


def test_a_watcher_that_fails_hinders_nobody(seen, listed):
    def broken(_change):
        raise ZeroDivisionError

    seen.broker.watchers.append(broken)
    grant = seen.cell.lease() if seen.offer() else None
    assert seen.broker.store.attempt(grant.attempt_id).live
