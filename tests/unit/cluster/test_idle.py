"""Signs of use: seen at once, forgotten slowly; and this very machine is read."""

import os
from pathlib import Path

import pytest

from bithive.clock import ManualClock, SystemClock
from cluster.idle import (
    Counters,
    MachineLook,
    Reading,
    Threshold,
    UseWatch,
    counters,
    others_share,
    pressure_share,
    reason,
)

QUIET = Reading(0.05, 0.0, None)


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        (QUIET, ""),
        (Reading(0.3, 0.0, None), "load"),
        (Reading(0.25, 0.0, None), ""),
        (Reading(0.0, 0.0, 3.0), "input"),
        (Reading(0.0, 0.0, 4000.0), ""),
        (Reading(0.15, 0.9, None), "pressure"),
        (Reading(0.02, 0.9, None), ""),  # all of the waiting is our own doing
    ],
)
def test_what_counts_as_use(reading: Reading, why: str) -> None:
    assert reason(reading, Threshold()) == why


def test_seen_at_once_and_forgotten_slowly() -> None:
    clock, now = ManualClock(), [QUIET]
    looks: list[int] = []

    def look() -> Reading:
        looks.append(1)
        return now[0]

    watch = UseWatch(clock, look, Threshold(quiet_s=300))
    assert watch.used() == ""
    now[0] = Reading(0.9, 0.0, None)
    clock.advance_s(5)
    assert watch.used() == "load"
    now[0] = QUIET
    clock.advance_s(299)
    assert watch.used() == "load"
    clock.advance_s(1)
    assert watch.used() == ""
    count = len(looks)
    assert [watch.used() for _ in range(100)] == [""] * 100 and len(looks) == count, "asking is cheap"


def test_what_is_ours_is_not_others() -> None:
    before = Counters(1000, 500, 100)
    assert others_share(before, Counters(1200, 700, 300)) == 0.0
    assert others_share(before, Counters(1200, 700, 200)) == 0.5
    assert others_share(before, Counters(1200, 700, 50)) == 1.0, "a child that nobody waited for takes nothing away"
    assert others_share(before, before) == 0.0
    assert others_share(before, Counters(900, 400, 100)) == 0.0


def test_this_machine_is_read() -> None:
    look = MachineLook(SystemClock())
    first = look()
    assert first.others_share == 0.0
    before = counters()
    sum(number * number for number in range(3_000_000))
    after = counters()
    assert after.total > before.total and after.ours > before.ours
    assert after.busy - before.busy <= after.total - before.total
    again = look()
    assert 0.0 <= again.others_share <= 1.0 and 0.0 <= again.pressure_share <= 1.0
    assert again.input_idle_s is None or again.input_idle_s >= 0


def test_a_kernel_without_pressure_sees_none(tmp_path: Path) -> None:
    assert pressure_share(tmp_path / "cpu") == 0.0
    for text in ("", "some\n", "some avg10=x avg60=1\n"):
        (tmp_path / "cpu").write_text(text)
        assert pressure_share(tmp_path / "cpu") == 0.0
    (tmp_path / "cpu").write_text("some avg10=12.50 avg60=0.00 avg300=0.00 total=1\n")
    assert pressure_share(tmp_path / "cpu") == 0.125


def test_processor_time_is_counted_without_guests_twice(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  10 20 30 400 50 6 7 8 900 900\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    read = counters(tmp_path)
    assert read.total == 531 and read.busy == 81
    assert read.ours >= 0 and os.getpid()
