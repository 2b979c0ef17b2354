"""The Ray Serve deployment that runs bundles: one Attempt at a time, its Receipt signed on the Node it ran on.

Only members of one trust domain talk to it, by handle; there is no HTTP proxy. The bundle itself runs in a process
without network and without keys (`cluster.bundle_process`); the replica owns that process, and the Node's key. It yields
where it is while it works, and last what came of it. Serve is told which bundles are loaded, so that an Attempt rather
goes to a replica that has its bundle.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray import serve

from bithive import log
from bithive.keys import SigningKey
from cluster.bundle_process import BundleProcess
from cluster.errors import LeaseLost, RunnerDied, WorkFailed
from cluster.lent import Lent
from cluster.plan import Plan
from cluster.shelves import ShelfState
from cluster.work import Assignment, receipt_of

_PULSE_S = 1.0
_STARTS_MAX = 3


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What a replica says of itself.

    Attributes
    ----------
    node_key
        Of the Node that it runs on.
    pid, bundle_pid
        Its process, and its bundle process.
    gpu
        The graphics processors that it was given.
    shelf
        What is loaded.
    """

    node_key: str
    pid: int
    bundle_pid: int
    gpu: str
    shelf: ShelfState


Item = tuple[str, str, float] | tuple[str, dict[str, Any], bytes] | tuple[str, str] | tuple[str, ReplicaState]


class Replica:
    """Runs bundles, which it loads when they are asked for, and some beforehand.

    Parameters
    ----------
    bundle
        SHA-256 of the only one that it runs; empty for any.
    """

    def __init__(self, bundle: str = "") -> None:
        lent = Lent.here()
        if lent.plan is None:
            raise RunnerDied("this machine runs no replicas")
        plan = _plan_here(lent.plan, bundle)
        log.configure(plan.log_level)
        self._key = SigningKey.load_or_create(Path(plan.key_path))
        self._deaths = 0
        self._unloadable: list[tuple[str, str]] = []
        self._gpu = plan.gpu
        self._process = BundleProcess(plan)
        self._process.start()
        self._thread = ThreadPoolExecutor(1, "attempt")
        self._preparing = asyncio.get_running_loop().create_task(self._prepare(plan.later))

    def record_replica_metadata(self) -> dict[str, str]:
        """What the router knows of this replica."""
        return {"node_key": self._key.public_hex}

    async def check_health(self) -> None:
        """Serve starts another replica when this raises."""
        if self._deaths >= _STARTS_MAX:
            raise RunnerDied("the bundle process does not stay alive")

    async def state(self) -> ReplicaState:
        """What is loaded, and what could not be loaded since this was last said."""
        shelf = self._shelf()
        unloadable, self._unloadable = tuple(self._unloadable), []
        shelf = replace(shelf, unloadable=unloadable)
        return ReplicaState(self._key.public_hex, os.getpid(), self._process.pid, self._gpu, shelf)

    async def run(
        self, _nodes: tuple[str, ...], assignment: Assignment, payload: npt.NDArray[np.uint8]
    ) -> AsyncIterator[Item]:
        """Do the work of an Attempt, its bundle loaded first if need be.

        Parameters
        ----------
        _nodes
            Keys of the Nodes that may run it; the router has seen to that.
        assignment
            Which.
        payload
            The plain Volume container, read-only, in shared memory.

        Yields
        ------
        tuple
            (`stage`, stage, fraction) while it works, at least once a second; (`state`, state) when what is loaded may
            have changed; last (`finished`, receipt, findings) or (`failed`, code).
        """
        loop, gone = asyncio.get_running_loop(), threading.Event()
        queue: asyncio.Queue[Item | None] = asyncio.Queue()

        def tell(stage: str, fraction: float) -> None:
            if gone.is_set():
                raise LeaseLost
            loop.call_soon_threadsafe(queue.put_nowait, ("stage", stage, fraction))

        future = loop.run_in_executor(self._thread, self._work, assignment, payload, tell)
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
            yield ("state", await self.state())
            yield await future
        finally:
            gone.set()

    def _work(self, assignment: Assignment, payload: npt.NDArray[np.uint8], tell: Any) -> Item:
        try:
            tell("loading", 0.0)
            self._revive()
            produced = self._process.run(assignment, payload.data, tell)
            receipt = receipt_of(assignment, produced, self._key)
        except WorkFailed as error:
            return ("failed", error.failure)
        except LeaseLost:
            return ("failed", "runner-fault")
        except RunnerDied as error:
            log.get().warning("bundle_process.died", attempt=assignment.attempt_id, exc_info=error)
            return ("failed", RunnerDied.code)
        self._deaths = 0
        return ("finished", receipt.to_json(), produced.findings)

    def _revive(self) -> None:
        """Another bundle process, where the last one has died. Raises `RunnerDied`."""
        if self._process.alive:
            return
        self._deaths += 1
        self._process.start()

    async def _prepare(self, later: Iterable[str]) -> None:
        """Load the rest, one after the other; an Attempt that comes meanwhile waits for one of them at most."""
        await self._announce()
        loop = asyncio.get_running_loop()
        for sha256 in later:
            await loop.run_in_executor(self._thread, self._keep, sha256)
            await self._announce()

    def _keep(self, sha256: str) -> None:
        try:
            self._revive()
            self._process.keep(sha256)
        except RunnerDied as error:
            log.get().warning("bundle_process.died", exc_info=error)

    @serve.multiplexed(max_num_models_per_replica=-1)  # type: ignore[untyped-decorator]
    async def _shown(self, sha256: str) -> str:
        """Serve's own list of what is loaded here, from which it chooses replicas; the shelf has the bundle itself."""
        return sha256

    def _shelf(self) -> ShelfState:
        """As the bundle process says it is, which says only once what could not be loaded."""
        shelf = self._process.state()
        self._unloadable += shelf.unloadable
        return shelf

    async def _announce(self) -> None:
        warm = self._shelf().warm
        for sha256 in warm:
            await self._shown(sha256)
        shown = getattr(self, "__serve_multiplex_wrapper", None)  # made by Serve with the first call
        if shown is not None:
            for sha256 in set(shown.models) - set(warm):
                del shown.models[sha256]
            shown._push_multiplexed_replica_info = True  # noqa: SLF001 - Serve forgets by count alone, we by memory too


def _plan_here(plan: Plan, bundle: str) -> Plan:
    """The machine's plan for this one replica: its graphics processors, and only its bundle where it has one."""
    gpus = ",".join(str(index) for index in ray.get_gpu_ids())
    if bundle:
        plan = replace(plan, first=(bundle,), later=(), warm_max=1)
    return replace(plan, gpu=gpus)
