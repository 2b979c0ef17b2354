import pytest

from bithive.clock import ManualClock, SystemClock, as_iso, as_utc, process_cpu_s


def test_the_systems_clock_runs():
    clock = SystemClock()
    before = clock.monotonic_s()
    assert clock.monotonic_s() >= before
    assert clock.now_ms() > 1_700_000_000_000
    assert process_cpu_s() > 0


async def test_the_systems_clock_sleeps():
    clock = SystemClock()
    before = clock.monotonic_s()
    await clock.sleep(0.01)
    assert clock.monotonic_s() - before >= 0.009


async def test_a_manual_clock_moves_when_told():
    clock = ManualClock(1_000)
    assert (clock.now_ms(), clock.monotonic_s()) == (1_000, 0.0)
    clock.advance_s(1.5)
    assert (clock.now_ms(), clock.monotonic_s()) == (2_500, 1.5)
    await clock.sleep(2)
    assert clock.now_ms() == 4_500
    with pytest.raises(AssertionError):
        clock.advance_s(-1)


def test_iso_has_milliseconds_and_utc():
    assert as_iso(1_800_000_000_001) == "2027-01-15T08:00:00.001Z"
    assert as_utc(0).year == 1970
