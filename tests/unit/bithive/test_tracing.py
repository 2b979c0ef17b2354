"""Spans: nothing unless switched on, nothing but what is allowed, one trace for what belongs together."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive import tracing
from bithive.errors import BadInput
from bithive.tracing_otel import OtelRecorder
from tests.common.collector import collector


@pytest.fixture
def sent():
    """A collector, and a recorder that posts to it; what was posted is there after `tracing.end`."""
    with collector() as kept:
        tracing.begin(OtelRecorder(kept.url, "bithive-test"))
        yield kept
        tracing.end()


def test_it_does_nothing_and_loads_nothing_until_it_is_switched_on():
    program = (
        "import sys\n"
        "from bithive import tracing\n"
        "with tracing.span('study.received', instances=3) as span:\n"
        "    span.note(refused=1)\n"
        "    assert span.traceparent == tracing.current() == ''\n"
        "assert tracing.record('attempt', '', 1, 2) == ''\n"
        "tracing.remember(('series', 'x'), 'y')\n"
        "assert tracing.recall(('series', 'x')) == '' and not tracing.is_on()\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_spans_of_one_study_are_one_trace(sent):
    with tracing.span("study.received", instances=384) as root:
        with tracing.child("objects.stored", objects=2):
            assert tracing.current() != root.traceparent
    made = tracing.record("offer.waited", root.traceparent, 1_800_000_000_000, 1_800_000_000_250, urgency="HIGH")
    tracing.end()
    assert tracing.recall(("x",)) == ""
    received, stored, waited = (sent.named(name)[0] for name in ("study.received", "objects.stored", "offer.waited"))
    assert received.trace == stored.trace == waited.trace == root.traceparent.split("-")[1]
    assert received.parent == ""
    assert stored.parent == waited.parent == received.span
    assert waited.span == made.split("-")[2]
    assert (waited.start_ms, waited.end_ms) == (1_800_000_000_000, 1_800_000_000_250)
    assert waited.attributes == {"bithive.urgency": "HIGH"}
    assert received.attributes == {"bithive.instances": 384}
    assert {span.service for span in sent.spans} == {"bithive-test"}


def test_a_child_alone_begins_no_trace(sent):
    with tracing.child("objects.stored") as span:
        assert span.traceparent == ""
    with tracing.untraced() as span:
        assert span.traceparent == ""
    tracing.end()
    assert sent.spans == []


def test_an_error_leaves_its_code_and_nothing_that_it_says(sent):
    for error in (BadInput("DOE^JANE was born 1980-01-02"), ZeroDivisionError("DOE^JANE")):
        with pytest.raises(type(error)), tracing.span("findings.taken"):
            raise error
    tracing.record("attempt", "", 1, 2, "lease-expired")
    tracing.end()
    assert [span.attributes["bithive.code"] for span in sent.spans] == ["bad-input", "fault", "lease-expired"]
    assert all(span.failed for span in sent.spans)
    assert b"JANE" not in sent.everything()


HOSTILE = {
    "patient": "DOE^JANE",
    "node": "DOE^JANE",
    "offer": "1.2.840.113619.2.55.3",
    "bundle": "Jane Doe",
    "code": "19800102T",
    "state": "Jane",
    "size_bytes": -1,
    "instances": "DOE",
    "tries": True,
    "pipeline": "x" * 65,
}


def test_what_is_not_allowed_is_dropped(sent):
    with tracing.span("offer.made", **HOSTILE) as span:
        span.note(**HOSTILE)
    tracing.record("attempt", "", 1, 2, **HOSTILE)
    tracing.end()
    assert [span.attributes for span in sent.spans] == [{}, {}]


@given(st.text(max_size=80) | st.integers() | st.booleans())
def test_no_value_gets_past_its_form(value):
    uid = "1.2.826.0.1.3680043.8.498.1"
    for name, fits in tracing.ALLOWED.items():
        assert not fits(uid)
        assert not fits("DOE^JANE")
        if fits(value):
            assert name in tracing.allowed({name: value})
            assert isinstance(value, int) or value.isascii()


def test_a_span_without_a_name_of_ours_is_a_bug(sent):
    with pytest.raises(AssertionError):
        tracing.record("DOE^JANE", "", 1, 2)


def test_trace_ids_are_random_and_made_from_nothing_else(sent):
    made = {tracing.record("attempt", "", 1, 2, attempt="att_" + "0" * 26) for _ in range(50)}
    assert len({text.split("-")[1] for text in made}) == 50


def test_what_is_not_sampled_is_not_told_to_others():
    with collector() as kept:
        tracing.begin(OtelRecorder(kept.url, "x", share=0.0))
        with tracing.span("study.received") as span:
            assert span.traceparent.endswith("-00")
            assert tracing.sampled(span.traceparent) == ""
            tracing.record("series.judged", span.traceparent, 1, 2)
        tracing.end()
        assert kept.spans == []


def test_many_are_remembered_and_the_oldest_forgotten(sent, monkeypatch):
    monkeypatch.setattr(tracing, "_KEPT_MAX", 3)
    for number in range(5):
        tracing.remember((str(number),), f"t{number}")
    assert [tracing.recall((str(number),)) for number in range(5)] == ["", "", "t2", "t3", "t4"]


def test_threads_do_not_share_a_span(sent):
    seen = []
    with tracing.span("offer.made"):
        thread = threading.Thread(target=lambda: seen.append(tracing.current()))
        thread.start()
        thread.join()
    assert seen == [""]


@pytest.mark.parametrize("token", ["t0ken", None])
def test_the_collectors_token_is_shown_and_the_environment_names_nobody(monkeypatch, token):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=ward-7")
    with collector() as kept:
        tracing.begin(OtelRecorder(kept.url, "x", token=token))
        tracing.record("attempt", "", 1, 2)
        tracing.end()
        assert kept.headers[0].get("authorization") == (token and f"Bearer {token}")
        assert b"ward-7" not in kept.everything()
