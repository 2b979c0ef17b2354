"""A bound on bits per second that holds whatever the pieces are."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from bithive.clock import ManualClock
from cluster.bandwidth import BURST_S, Throttle


def test_without_a_bound_nobody_waits() -> None:
    assert Throttle(0, ManualClock()).owed_s(10**12) == 0.0


@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=200), st.integers(1_000_000, 100_000_000))
def test_the_mean_keeps_the_bound(pieces: list[int], bits_per_s: int) -> None:
    clock = ManualClock()
    throttle = Throttle(bits_per_s, clock, clock.advance_s)
    start_s = clock.monotonic_s()
    for piece in pieces:
        throttle.pace(piece)
    took_s = clock.monotonic_s() - start_s
    due_s = sum(pieces) * 8 / bits_per_s
    assert due_s - 0.001 * len(pieces) - 0.001 <= took_s <= due_s + 0.001 * len(pieces) + 0.001


def test_a_burst_after_silence_is_small() -> None:
    clock = ManualClock()
    throttle = Throttle(8_000_000, clock, clock.advance_s)
    clock.advance_s(3600)
    assert throttle.owed_s(round(1_000_000 * BURST_S)) == 0.0
    assert round(throttle.owed_s(1_000_000), 6) == 1.0


def test_a_huge_piece_waits_a_little_and_the_next_the_rest() -> None:
    clock = ManualClock()
    throttle = Throttle(8_000, clock, clock.advance_s)
    throttle.pace(20_000)
    assert clock.monotonic_s() == 5.0
    assert throttle.owed_s(0) == 5.0
    throttle.change(0)
    assert throttle.owed_s(10**9) == 0.0


def test_several_threads_share_one_bound() -> None:
    clock, waited = ManualClock(), []
    throttle = Throttle(8_000_000, clock, waited.append)
    threads = [threading.Thread(target=throttle.pace, args=(100_000,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert round(max(waited), 3) == 1.0
