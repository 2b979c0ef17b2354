"""The Ray Serve deployment that runs bundles: one Attempt at a time, its Receipt signed on the Node it ran on.

Only members of one trust domain talk to it, by handle; there is no HTTP proxy. It yields where it is while it works,
and last what came of it. Its shelf decides which bundles are loaded; Serve is told, so that an Attempt rather goes to a
replica that has its bundle.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import serve

from bithive import log
from bithive.clock import SystemClock
from bithive.keys import SigningKey
from cluster.errors import LeaseLost, WorkFailed
from cluster.loading import Loader, Stock
from cluster.shelf import Shelf, room
from cluster.shelves import ShelfState
from cluster.work import Assignment, Warm, coded, perform
from inference.memory import loaded_bytes
from models.catalog import Catalog

Item = tuple[str, str, float] | tuple[str, dict[str, Any], bytes] | tuple[str, str] | tuple[str, ShelfState]

_PULSE_S = 1.0
_FOR_LACK_OF_ROOM = "out-of-memory"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replica loads, and how.

    Attributes
    ----------
    store
        The store of weights.
    trusted_keys
        Whose installed bundles are trusted.
    first, later
        SHA-256 of the bundles to load before it is ready, and of those to load when nothing else is to do.
    engine, threads, warm_max, log_level
        As in the settings.
    memory_bytes
        What it may take.
    key_path
        The Node's own key.
    """

    store: str
    trusted_keys: tuple[str, ...]
    first: tuple[str, ...]
    later: tuple[str, ...]
    engine: str
    threads: int
    warm_max: int
    memory_bytes: int
    key_path: str
    log_level: str = "info"


class Replica:
    """Runs bundles, which it loads when they are asked for, and some beforehand.

    Parameters
    ----------
    plan
        What to load.
    """

    def __init__(self, plan: Plan) -> None:
        log.configure(plan.log_level)
        store = Path(plan.store)
        self._name, self._clock = secrets.token_hex(8), SystemClock()
        self._key = SigningKey.load_or_create(Path(plan.key_path))
        self._stock = Stock(lambda: Catalog(store, trusted_keys=plan.trusted_keys), store, self._clock, verify=False)
        self._loader = Loader(store, plan.engine, plan.threads)
        self._shelf = Shelf(self._load, partial(room, plan.memory_bytes), plan.warm_max)
        self._unloadable: list[tuple[str, str]] = []
        self._thread = ThreadPoolExecutor(1, "attempt")
        for sha256 in plan.first:
            self._keep(sha256)
        self._preparing = asyncio.get_running_loop().create_task(self._prepare(plan.later))

    async def state(self) -> ShelfState:
        """What is loaded, and what could not be loaded since this was last said."""
        unloadable, self._unloadable = tuple(self._unloadable), []
        return ShelfState(self._name, self._shelf.warm(), unloadable)

    async def run(self, assignment: Assignment, payload: npt.NDArray[np.uint8]) -> AsyncIterator[Item]:
        """Do the work of an Attempt, its bundle loaded first if need be.

        Parameters
        ----------
        assignment
            Which.
        payload
            The plain Volume container, read-only, in shared memory.

        Yields
        ------
        tuple
            (`stage`, stage, fraction) while it works, at least once a second; (`shelf`, state) when what is loaded may
            have changed; last (`finished`, receipt, findings) or (`failed`, code).
        """
        loop, gone = asyncio.get_running_loop(), threading.Event()
        queue: asyncio.Queue[Item | None] = asyncio.Queue()

        def tell(stage: str, fraction: float) -> None:
            if gone.is_set():
                raise LeaseLost
            loop.call_soon_threadsafe(queue.put_nowait, ("stage", stage, fraction))

        def work() -> Item:
            try:
                tell("loading", 0.0)
                warm = self._take(assignment)
                finished = perform(warm, assignment, payload.data, self._key, self._clock, tell)
            except WorkFailed as error:
                return ("failed", error.failure)
            except LeaseLost:
                return ("failed", "runner-fault")
            return ("finished", finished.receipt.to_json(), finished.findings)

        future = loop.run_in_executor(self._thread, work)
        future.add_done_callback(lambda _: queue.put_nowait(None))
        last: Item = ("stage", "loading", 0.0)
        try:
            while True:
                try:
                    item = await asyncio.wait_for(queue.get(), _PULSE_S)
                except TimeoutError:
                    yield last  # whoever takes it says so when nobody waits any more
                    continue
                if item is None:
                    break
                last = item
                yield item
            await self._announce()
            yield ("shelf", await self.state())
            yield await future
        finally:
            gone.set()

    def _take(self, assignment: Assignment) -> Warm:
        try:
            with coded(assignment.attempt_id):
                return self._shelf.take(assignment.bundle_sha256, assignment.memory_bytes)
        except WorkFailed as error:
            self._note(assignment.bundle_sha256, error)
            raise

    def _keep(self, sha256: str) -> None:
        try:
            with coded(self._name):
                bundle, _ = self._stock.find(sha256)
                self._shelf.keep(sha256, loaded_bytes(bundle))
        except WorkFailed as error:
            self._note(sha256, error)

    def _note(self, sha256: str, error: WorkFailed) -> None:
        if error.failure != _FOR_LACK_OF_ROOM:
            self._unloadable.append((sha256, error.failure))

    def _load(self, sha256: str) -> Warm:
        return self._loader.load(*self._stock.find(sha256))

    async def _prepare(self, later: Iterable[str]) -> None:
        """Load the rest, one after the other; an Attempt that comes meanwhile waits for one of them at most."""
        await self._announce()
        loop = asyncio.get_running_loop()
        for sha256 in later:
            await loop.run_in_executor(self._thread, self._keep, sha256)
            await self._announce()

    @serve.multiplexed(max_num_models_per_replica=-1)  # type: ignore[untyped-decorator]
    async def _shown(self, sha256: str) -> str:
        """Serve's own list of what is loaded here, from which it chooses replicas; the shelf has the bundle itself."""
        return sha256

    async def _announce(self) -> None:
        warm = self._shelf.warm()
        for sha256 in warm:
            await self._shown(sha256)
        shown = getattr(self, "__serve_multiplex_wrapper", None)  # made by Serve with the first call
        if shown is not None:
            for sha256 in set(shown.models) - set(warm):
                del shown.models[sha256]
            shown._push_multiplexed_replica_info = True  # noqa: SLF001 - Serve forgets by count alone, we by memory too
