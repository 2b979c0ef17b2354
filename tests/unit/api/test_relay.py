from __future__ import annotations

import threading

from api.relay import Loop


def test_it_runs_until_stopped_and_can_be_woken():
    ran = threading.Semaphore(0)

    def tick() -> float:
        ran.release()
        return 3600.0

    loop = Loop("loop", tick)
    loop.start()
    assert ran.acquire(timeout=5)
    assert loop.is_well
    for _ in range(3):
        loop.wake()
        assert ran.acquire(timeout=5)
    loop.stop()
    assert not loop.is_well


def test_a_wake_during_a_tick_is_not_lost():
    ran = threading.Semaphore(0)
    loops: list[Loop] = []

    def tick() -> float:
        if not ran._value:
            loops[0].wake()
        ran.release()
        return 3600.0

    loops.append(Loop("loop", tick))
    loops[0].start()
    assert ran.acquire(timeout=5)
    assert ran.acquire(timeout=5)
    loops[0].stop()


def test_a_tick_that_raises_is_tried_again():
    ran: list[int] = []
    done = threading.Event()

    def tick() -> float:
        ran.append(1)
        if len(ran) < 3:
            raise OSError("DOE^JANE")
        done.set()
        return 3600.0

    loop = Loop("loop", tick)
    loop.start()
    assert done.wait(10)
    loop.stop()
    assert len(ran) == 3
