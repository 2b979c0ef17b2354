"""How long stages took, told and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.clock import ManualClock
from cluster.attempt import STAGES
from cluster.stage_times import TEXT_LENGTH_MAX, StageTimes, parse


def test_what_is_told_is_read():
    clock = ManualClock()
    times = StageTimes(clock)
    for stage, spent_s in (("downloading", 0.012), ("segmenting", 1.5), ("downloading", 0.1), ("sealing", 0.0)):
        times.enter(stage)
        clock.advance_s(spent_s)
    assert times.text() == "downloading=112, segmenting=1500, sealing=0"
    assert parse(times.text()) == (("downloading", 112), ("segmenting", 1500), ("sealing", 0))


def test_a_word_of_nobody_counts_for_nothing():
    clock = ManualClock()
    times = StageTimes(clock)
    times.enter("DOE^JANE")
    clock.advance_s(5)
    assert times.text() == ""
    times.enter("loading")
    clock.advance_s(1)
    assert times.text() == "loading=1000"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loading",
        "loading=",
        "loading=-1",
        "loading=1.5",
        "loading=1e9",
        "loading=1, loading=2",
        "patient=1",
        "loading=1;DOE^JANE",
        "loading=1234567890",
        "loading=\u0661",
        "loading=1," * TEXT_LENGTH_MAX,
        "loading=1, ",
    ],
)
def test_nonsense_is_as_if_nothing_was_said(text):
    assert parse(text) == ()


@given(st.text(max_size=600))
def test_reading_never_fails_and_gives_only_known_words(text):
    assert all(stage in STAGES and 0 <= spent_ms <= 10**8 for stage, spent_ms in parse(text))
