"""Every word in every state, every state of wish, window and use; and a contributor's week on a clock that we turn."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bithive.clock import ManualClock
from bithive.errors import IllegalTransition
from cluster.availability import LEAD_MS_MAX, LEAD_MS_MIN, STATES, WISHES, Availability, Window, Wish
from cluster.protocol_node import NodeState
from cluster.timetable import Timetable

MONDAY_MS = 1_795_392_000_000  # 2026-11-23T00:00Z
HOUR_MS = 3_600_000
WORDS = ("pause", "resume", "drain", "leave")


def test_the_whole_product_is_decided() -> None:
    assert set(STATES) == set(product(Wish, Window, (False, True)))
    forbidden = {(Wish.DRAIN, "pause"), *((Wish.LEAVE, word) for word in WORDS if word != "leave")}
    assert set(product(Wish, WORDS)) - set(WISHES) == forbidden


def test_only_one_combination_takes_work() -> None:
    up = [key for key, (state, _) in STATES.items() if state is NodeState.UP]
    assert up == [(Wish.RUN, Window.OPEN, False)]
    assert all(why for state, why in STATES.values() if state is not NodeState.UP), "whoever is held up is told why"


@pytest.mark.parametrize(("wish", "word"), sorted(set(product(Wish, WORDS)) - set(WISHES)))
def test_what_makes_no_sense_is_refused(wish: Wish, word: str) -> None:
    kept: list[Wish] = []
    availability = Availability(ManualClock(), wish=wish, keep=kept.append)
    with pytest.raises(IllegalTransition):
        availability.ask(word)
    assert availability.wish is wish and kept == []


def test_a_word_is_kept_before_it_counts() -> None:
    def full(_wish: Wish) -> None:
        raise OSError("no space left")

    availability = Availability(ManualClock(), keep=full)
    with pytest.raises(OSError, match="no space"):
        availability.ask("pause")
    assert availability.state().state is NodeState.UP


def test_a_drained_machine_is_away_when_nothing_runs_and_comes_back() -> None:
    availability = Availability(ManualClock())
    availability.began()
    assert availability.ask("drain").state is NodeState.DRAINING
    availability.ended(3.0)
    assert availability.state().state is NodeState.AWAY
    assert availability.ask("resume").state is NodeState.UP


def test_a_night_at_a_workstation() -> None:
    clock = ManualClock(MONDAY_MS + 12 * HOUR_MS)
    availability = Availability(clock, Timetable.parse("mon-fri 18:00-08:00"))
    away = availability.state()
    assert (away.state, away.why, away.until_ms) == (NodeState.AWAY, "timetable", MONDAY_MS + 18 * HOUR_MS)
    clock.advance_s(6 * 3600)
    assert availability.state().state is NodeState.UP
    availability.began()
    clock.advance_s(600)
    availability.ended(600)
    assert availability.lead_ms == 750_000
    end_ms = MONDAY_MS + 32 * HOUR_MS
    assert availability.state(end_ms - 750_001).state is NodeState.UP
    availability.began()
    draining = availability.state(end_ms - 750_000)
    assert (draining.state, draining.why) == (NodeState.DRAINING, "timetable")
    assert availability.state(end_ms).state is NodeState.AWAY, "the machine is its owner's again, whatever runs"


def test_what_was_long_once_is_forgotten_and_never_unbounded() -> None:
    availability = Availability(ManualClock())
    assert availability.lead_ms == LEAD_MS_MIN
    availability.began()
    availability.ended(10 * 3600)
    assert availability.lead_ms == LEAD_MS_MAX
    for _ in range(200):
        availability.began()
        availability.ended(1)
    assert availability.lead_ms == LEAD_MS_MIN


def test_use_pauses_and_is_asked_only_when_it_matters() -> None:
    asked: list[int] = []

    def used() -> str:
        asked.append(1)
        return "load"

    clock = ManualClock(MONDAY_MS)
    availability = Availability(clock, used=used)
    standing = availability.state()
    assert (standing.state, standing.why) == (NodeState.PAUSED, "in-use")
    availability.ask("pause")
    count = len(asked)
    assert availability.state().why == "asked" and len(asked) == count
    availability.change(Timetable(), str)
    assert availability.ask("resume").state is NodeState.UP


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "begin", "end", "hour", "used", "free"]), max_size=40))
def test_a_year_of_words_never_takes_work_against_a_wish(steps: list[str]) -> None:
    clock, use = ManualClock(MONDAY_MS), [""]
    kept: list[Wish] = [Wish.RUN]
    table = Timetable.parse("18:00-08:00")
    availability = Availability(clock, table, lambda: use[0], keep=kept.append)
    for step in steps:
        if step in WORDS:
            try:
                availability.ask(step)
            except IllegalTransition:
                continue
        elif step == "begin":
            availability.began()
        elif step == "end" and availability.busy:
            availability.ended(60)
        elif step == "hour":
            clock.advance_s(3600)
        elif step in ("used", "free"):
            use[0] = "load" if step == "used" else ""
        standing = availability.state()
        assert kept[-1] is availability.wish
        if standing.state is NodeState.UP:
            assert availability.wish is Wish.RUN and table.open_at(clock.now_ms()) and not use[0]
        if standing.state is NodeState.AWAY:
            assert availability.busy == 0 or not table.open_at(clock.now_ms())
