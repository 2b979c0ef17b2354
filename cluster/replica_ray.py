"""The Ray Serve deployment that runs bundles: one Attempt at a time, its Receipt signed on the Node it ran on.

Only members of one trust domain talk to it, by handle; there is no HTTP proxy. It yields where it is while it works,
and last what came of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bithive import log
from bithive.clock import SystemClock
from bithive.keys import SigningKey
from cluster.errors import LeaseLost, WorkFailed
from cluster.loading import load
from cluster.work import Assignment, perform

Item = tuple[str, str, float] | tuple[str, dict[str, Any], bytes] | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replica loads.

    Attributes
    ----------
    store, names
        The store of weights, and which bundles.
    engine, threads
        As in the settings.
    key_path
        The Node's own key.
    log_level
        As in the settings.
    """

    store: str
    names: tuple[str, ...]
    engine: str
    threads: int
    key_path: str
    log_level: str = "info"


class Replica:
    """Runs bundles that it loaded when it was made.

    Parameters
    ----------
    plan
        What to load.
    """

    def __init__(self, plan: Plan) -> None:
        log.configure(plan.log_level)
        self._key = SigningKey.load_or_create(Path(plan.key_path))
        warm = load(Path(plan.store), plan.names, plan.engine, plan.threads)
        self._bundles = {item.bundle.sha256: item for item in warm}
        self._clock = SystemClock()
        self._thread = ThreadPoolExecutor(1, "attempt")

    async def bundles(self) -> AsyncIterator[list[str]]:
        """SHA-256 of what is loaded."""
        yield list(self._bundles)

    async def run(self, assignment: Assignment, payload: npt.NDArray[np.uint8]) -> AsyncIterator[Item]:
        """Do the work of an Attempt.

        Parameters
        ----------
        assignment
            Which.
        payload
            The plain Volume container, read-only, in shared memory.

        Yields
        ------
        tuple
            (`stage`, stage, fraction) while it works; last (`finished`, receipt, findings) or (`failed`, code).
        """
        loop, gone = asyncio.get_running_loop(), threading.Event()
        queue: asyncio.Queue[Item | None] = asyncio.Queue()

        def tell(stage: str, fraction: float) -> None:
            if gone.is_set():
                raise LeaseLost
            loop.call_soon_threadsafe(queue.put_nowait, ("stage", stage, fraction))

        def work() -> Item:
            try:
                view = payload.data
                finished = perform(self._bundles, assignment, view, self._key, self._clock, tell)
            except WorkFailed as error:
                return ("failed", error.failure)
            except LeaseLost:
                return ("failed", "runner-fault")
            return ("finished", finished.receipt.to_json(), finished.findings)

        future = loop.run_in_executor(self._thread, work)
        future.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (item := await queue.get()) is not None:
                yield item
            yield await future
        finally:
            gone.set()
