"""The agent of a cell: it pulls Attempts, has them run, and hands in what comes of them.

It may be killed at any time: the Lease then runs out and another cell has its turn. When the network side is away it
goes on with what it has, and asks again with growing pauses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bithive.clock import Clock
from bithive.envelope import PAYLOAD, BadEnvelope, Opener, seal
from bithive.errors import BitHiveError
from bithive.limits import CELL_BUNDLES_MAX
from bithive.log import get
from bithive.offer import DataClass, MemoryTooSmall
from cluster.errors import (
    AttemptAbsent,
    CellUnknown,
    LeaseLost,
    NetworkRefused,
    NetworkUnreachable,
    RunnerDied,
    WorkFailed,
)
from cluster.filters import within
from cluster.heart import Heart
from cluster.network_http import NetworkSide
from cluster.protocol import Grant, Hello, Welcome
from cluster.runner import Runner
from cluster.work import Assignment, Finished

T = TypeVar("T")

_BACKOFF_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_WATCH_S = 2.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the cell says it is.

    Attributes
    ----------
    cell_key
        Its Ed25519 public key, hexadecimal.
    operator
        Who is paid.
    data_class_max
        The most sensitive class it takes.
    """

    cell_key: str
    operator: str
    data_class_max: DataClass


class Agent:
    """Pulls Attempts for one cell.

    Parameters
    ----------
    network
        The network side.
    runner
        What runs bundles.
    identity
        Who the cell is.
    clock
        Time.
    slots
        Attempts at once.
    poll_s
        How long one request for work waits.
    watch_s
        How often it looks whether what the runner can run has changed.
    """

    def __init__(
        self,
        network: NetworkSide,
        runner: Runner,
        identity: Identity,
        clock: Clock,
        slots: int = 1,
        poll_s: float = 20.0,
        watch_s: float = _WATCH_S,
    ) -> None:
        self._network, self._runner, self._identity, self._clock = network, runner, identity, clock
        self._poll_s, self._watch_s = poll_s, watch_s
        self._welcome: Welcome | None = None
        self._told: frozenset[str] = frozenset()
        self._greeting = threading.Lock()
        self._draining = threading.Event()
        self._threads = [threading.Thread(target=self._loop, name=f"slot-{slot}", daemon=True) for slot in range(slots)]
        self._threads.append(threading.Thread(target=self._watch, name="watch", daemon=True))
        self._busy = 0
        self._idle = threading.Condition()

    def start(self) -> None:
        """Begin to pull, in threads of its own."""
        for thread in self._threads:
            thread.start()

    def drain(self, timeout_s: float) -> bool:
        """Take nothing more and wait for what runs; whether all of it ended in time."""
        self._draining.set()
        with self._idle:
            return self._idle.wait_for(lambda: self._busy == 0, timeout_s)

    def greet(self) -> Welcome:
        """Introduce the cell, unless that was done and it can still run what it said."""
        with self._greeting:
            bundles = tuple(self._runner.bundles())[:CELL_BUNDLES_MAX]
            if self._welcome is None or self._told != frozenset(bundles):
                hello = Hello(
                    self._identity.cell_key,
                    self._identity.operator,
                    self._identity.data_class_max,
                    tuple(self._runner.nodes()),
                    bundles,
                )
                known = self._welcome is not None
                self._welcome, self._told = self._network.hello(hello), frozenset(bundles)
                get().info("cell.greeted" if known else "cell.connected", cell=self._welcome.cell, count=len(bundles))
            return self._welcome

    def tick(self) -> bool:
        """Ask for one Attempt and see it through; whether there was one.

        Raises
        ------
        NetworkUnreachable, NetworkRefused
            Before there was any.
        """
        welcome = self.greet()
        try:
            grant = self._network.lease(welcome.cell, self._runner.warm(), self._poll_s)
        except CellUnknown:
            self._forget()
            return False
        if grant is None:
            return False
        with self._idle:
            self._busy += 1
        try:
            self._attempt(welcome, grant)
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()
        return True

    def _loop(self) -> None:
        failures = 0
        while not self._draining.is_set():
            try:
                self.tick()
                failures = 0
            except (NetworkUnreachable, NetworkRefused) as error:
                self._forget()
                if failures == 0:
                    get().warning("network.lost", code=getattr(error, "answer", error.code))
                self._draining.wait(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
            except Exception as error:  # noqa: BLE001 - a slot must outlive whatever one Attempt does
                get().error("slot.failed", exc_info=error)
                self._draining.wait(_BACKOFF_S[-1])

    def _watch(self) -> None:
        """Say hello again while every slot is busy or waits for work."""
        while not self._draining.wait(self._watch_s):
            try:
                if self._welcome is not None:
                    self.greet()
            except BitHiveError:
                continue  # the slots ask too, and say so when nobody answers
            except Exception as error:  # noqa: BLE001 - as for a slot
                get().error("slot.failed", exc_info=error)

    def _forget(self) -> None:
        with self._greeting:
            self._welcome = None

    def _attempt(self, welcome: Welcome, grant: Grant) -> None:
        node = next(iter(welcome.nodes.values()))
        get().info("attempt.taken", attempt=grant.attempt_id, offer=grant.offer.offer_id, bundle=grant.offer.bundle)
        with Heart(self._network, grant, node, welcome.heartbeat_s) as heart:
            try:
                self._see_through(welcome, grant, heart)
            except WorkFailed as error:
                self._give_up(grant, heart, error.failure)
            except RunnerDied:
                self._give_up(grant, heart, "runner-died")
            except (LeaseLost, AttemptAbsent):
                get().info("attempt.lost", attempt=grant.attempt_id)
            except BitHiveError as error:
                get().warning("attempt.refused", attempt=grant.attempt_id, code=getattr(error, "answer", error.code))

    def _see_through(self, welcome: Welcome, grant: Grant, heart: Heart) -> None:
        if not within(grant.offer.data_class, self._identity.data_class_max):
            raise WorkFailed("data-class-refused")
        if grant.offer.bundle_sha256 not in self._runner.bundles():
            raise WorkFailed("bundle-unknown")
        if grant.offer.memory_bytes > max(node.memory_bytes for node in self._runner.nodes()):
            raise WorkFailed(MemoryTooSmall.code)
        heart.tell("downloading", 0.0)
        assignment = _assignment(welcome, grant)
        finished = self._runner.run(assignment, self._fetch(grant, heart), heart.tell)
        heart.tell("sealing", 1.0)
        sealed = b"".join(seal(grant.keys.payload_key, grant.fencing_token, finished.findings))
        self._insist(grant, heart, partial(self._network.findings, grant, finished.receipt, sealed))
        _report(grant, finished)

    def _fetch(self, grant: Grant, heart: Heart) -> bytearray:
        def fetch() -> bytearray:
            opener = Opener(grant.keys.payload_key, PAYLOAD, grant.offer.payload_size_bytes)
            self._network.payload(grant, opener.feed)
            return opener.finish()

        try:
            return self._insist(grant, heart, fetch)
        except BadEnvelope:
            raise WorkFailed("payload-unreadable") from None
        except MemoryError:
            raise WorkFailed("out-of-memory") from None

    def _give_up(self, grant: Grant, heart: Heart, code: str) -> None:
        get().warning("attempt.failed", attempt=grant.attempt_id, code=code)
        try:
            self._insist(grant, heart, partial(self._network.failure, grant, code))
        except BitHiveError:
            get().info("attempt.lost", attempt=grant.attempt_id)

    def _insist(self, grant: Grant, heart: Heart, request: Callable[[], T]) -> T:
        """Ask until somebody answers, or the Lease is lost for certain."""
        failures = 0
        end_ms = grant.offer.deadline_ms + 60_000
        while True:
            try:
                return request()
            except NetworkUnreachable:
                if heart.lost or self._clock.now_ms() > end_ms:
                    raise LeaseLost from None
                heart.pause(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1


def _assignment(welcome: Welcome, grant: Grant) -> Assignment:
    offer = grant.offer
    return Assignment(
        grant.attempt_id,
        offer.offer_id,
        grant.fencing_token,
        welcome.cell,
        welcome.nodes,
        offer.bundle_sha256,
        offer.payload_digest,
        offer.voxels,
        offer.work_units,
        offer.memory_bytes,
        grant.keys.digest_key,
    )


def _report(grant: Grant, finished: Finished) -> None:
    receipt = finished.receipt
    get().info(
        "attempt.finished",
        attempt=grant.attempt_id,
        duration_ms=receipt.wall_ms,
        peak_memory_bytes=receipt.peak_memory_bytes,
        engine=receipt.engine,
    )
