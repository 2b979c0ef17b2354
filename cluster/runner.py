"""What runs bundles for an agent: the port, and the runner in the agent's own process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from bithive.clock import Clock
from bithive.keys import SigningKey
from cluster import measure
from cluster.errors import WorkFailed
from cluster.protocol import NodeGreeting
from cluster.work import Assignment, Finished, Progress, Warm, perform


class Runner(Protocol):
    """Where a cell's Attempts run."""

    def nodes(self) -> Sequence[NodeGreeting]:
        """The Nodes of the cell, one at least."""

    def bundles(self) -> Sequence[str]:
        """SHA-256 of each bundle that it can run; may change from call to call."""

    def warm(self) -> Sequence[str]:
        """SHA-256 of each of them that is loaded."""

    def run(self, assignment: Assignment, payload: bytearray, progress: Progress) -> Finished:
        """Do the work. Raises `WorkFailed`, `RunnerDied`, and whatever `progress` raises."""

    def healthy(self) -> bool:
        """Whether it can still run anything at all."""

    def close(self) -> None:
        """End it."""


class LocalRunner:
    """Runs bundles in this process, one at a time: a cell without Ray.

    Parameters
    ----------
    bundles
        What is loaded.
    key
        The Node's own key.
    clock
        Measures the work.
    memory_bytes
        What an Attempt may take; 0 for what the machine can spare.
    """

    def __init__(self, bundles: Sequence[Warm], key: SigningKey, clock: Clock, memory_bytes: int = 0) -> None:
        self._memory_bytes = memory_bytes
        self._bundles: Mapping[str, Warm] = {warm.bundle.sha256: warm for warm in bundles}
        self._key, self._clock, self._one = key, clock, threading.Lock()

    def nodes(self) -> Sequence[NodeGreeting]:
        return [greeting(self._key, self._memory_bytes, 1)]

    def bundles(self) -> Sequence[str]:
        return list(self._bundles)

    def warm(self) -> Sequence[str]:
        return list(self._bundles)

    def run(self, assignment: Assignment, payload: bytearray, progress: Progress) -> Finished:
        warm = self._bundles.get(assignment.bundle_sha256)
        if warm is None:
            raise WorkFailed("bundle-unknown")
        with self._one:
            return perform(warm, assignment, payload, self._key, self._clock, progress)

    def healthy(self) -> bool:
        return True

    def close(self) -> None:
        pass


def greeting(key: SigningKey, memory_bytes: int, slots: int) -> NodeGreeting:
    """The machine that this process runs on, as a Node; the two as in the settings of a cell."""
    machine = measure.memory_bytes()
    slot = measure.slot_memory_bytes(memory_bytes, slots, machine)
    return NodeGreeting(key.public_hex, measure.threads(), slot, measure.gpus(), {}, machine, slots=slots)
