"""Threads wake event loops; no ring is missed."""

import asyncio
import threading
import time

from cluster.bell import Bell


async def test_a_ring_between_look_and_wait_is_not_missed() -> None:
    bell = Bell()
    seen = bell.count("work")
    bell.ring("work")
    assert await bell.wait("work", seen, 5)
    assert not await bell.wait("work", bell.count("work"), 0.01)


async def test_a_thread_wakes_every_waiter_of_that_name() -> None:
    bell = Bell()
    waiting = [asyncio.create_task(bell.wait("work", 0, 5)) for _ in range(50)]
    other = asyncio.create_task(bell.wait("other", 0, 0.2))
    await asyncio.sleep(0.05)
    begun_s = time.perf_counter()
    threading.Thread(target=bell.ring, args=("work",)).start()
    assert all(await asyncio.gather(*waiting))
    assert time.perf_counter() - begun_s < 1
    assert not await other


async def test_who_stops_waiting_is_forgotten() -> None:
    bell = Bell()
    for _ in range(100):
        task = asyncio.create_task(bell.wait("work", 0, 5))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not bell._waiting["work"]


async def test_closing_wakes_everyone_for_good() -> None:
    bell = Bell()
    task = asyncio.create_task(bell.wait("work", 0, 5))
    await asyncio.sleep(0.01)
    bell.close()
    assert await task
    assert await bell.wait("work", bell.count("work"), 5)
    assert bell.closed


def test_ringing_for_a_loop_that_has_ended_is_harmless() -> None:
    bell = Bell()

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        bell._waiting["work"].add((loop, asyncio.Event()))

    asyncio.run(leave())
    bell.ring("work")


async def test_many_threads_and_many_waiters() -> None:
    bell, count = Bell(), 0

    async def follow() -> None:
        nonlocal count
        seen = 0
        while seen < 400:
            await bell.wait("work", seen, 5)
            seen = bell.count("work")
        count += 1

    followers = [asyncio.create_task(follow()) for _ in range(5)]
    threads = [threading.Thread(target=lambda: [bell.ring("work") for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(asyncio.gather(*followers), 10)
    assert count == 5
