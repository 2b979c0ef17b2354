"""Runs bundles on the Ray cluster of a cell, by Ray Serve.

Ray gives every member of a cluster the right to run code on every other; so one cluster is one operator's, stands in
its own network, and has a token of its own. Serve gives replicas that stay warm, restart when they die and drain when
they are told to, and are chosen by what they have loaded and by the Nodes that may run an Attempt. The broker, not Ray,
owns order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bithive.clock import Clock
from bithive.log import get
from cluster import scaling
from cluster.attempt_ray import NotPlaced, Placing, conduct
from cluster.cluster_ray import MachineSettings
from cluster.deployments import serving
from cluster.errors import RunnerDied, WorkFailed
from cluster.keeper_ray import Asked, Keeper, KeeperSettings, View
from cluster.loading import Stock
from cluster.protocol_node import NodeGreeting, NodeState
from cluster.replica_ray import ReplicaState
from cluster.shelves import Shelves
from cluster.work import Assignment, Finished, Progress
from inference.memory import loaded_bytes

_UNTOLD_S = 60.0
_PLACED_ANEW_MAX = 5
_JOIN_S = 120.0
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class RaySettings:
    """How a cell's Ray is started.

    Attributes
    ----------
    machine
        The head's own processes, or those of a cell of one.
    replicas_min
        Replicas that stay when nothing is asked; None for one in every slot.
    tls
        Whether the machines of the cell speak TLS with each other.
    """

    machine: MachineSettings
    replicas_min: int | None = None
    tls: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    """An Attempt that is here: its deployment, when it must be done, whether Ray has it, and where it runs."""

    deployment: str
    due_s: float
    inside: bool = False
    node_key: str = ""


class RayRunner(Asked):
    """The head of a cell's Ray cluster, and whatever machines have joined it. Only one in a process.

    Parameters
    ----------
    settings
        How to start it.
    stock
        What this machine can run.
    clock
        Time.

    Raises
    ------
    RunnerDied
        If a replica does not become ready.
    RaySettingsDiffer
        If Ray does not run as it was told to.
    """

    def __init__(self, settings: RaySettings, stock: Stock, clock: Clock) -> None:
        self._stock, self._clock = stock, clock
        self._shelves, self._runs, self._drained = Shelves(), dict[str, _Run](), set[str]()
        self._asked_s = {"": clock.monotonic_s()}
        self._replicas: dict[str, ReplicaState] = {}
        self._lock = threading.Lock()
        kept = KeeperSettings(
            settings.machine, scaling.Policy(minimum=settings.replicas_min), self._gpu_needs, settings.tls
        )
        self._keeper = Keeper(kept, self, clock)

    def nodes(self) -> Sequence[NodeGreeting]:
        return [lent.greeting for lent in self._view.machines.values()]

    def states(self) -> Mapping[str, NodeState]:
        """Whether each Node takes work, by its key."""
        leaving = self._view.leaving | frozenset(self._drained)
        return {key: NodeState.DRAINING if key in leaving else NodeState.UP for key in self._view.machines}

    def bundles(self) -> Sequence[str]:
        return self._shelves.runnable(self._stock.bundles(), self._stock.changes)

    def warm(self) -> Sequence[str]:
        return self._shelves.warm()

    def warm_by_node(self) -> Mapping[str, Sequence[str]]:
        """SHA-256 of what is loaded on each Node, by its key."""
        with self._lock:
            states = list(self._replicas.values())
        found: dict[str, set[str]] = {key: set() for key in self._view.machines}
        for state in states:
            found.setdefault(state.node_key, set()).update(state.shelf.warm)
        return {key: sorted(warm) for key, warm in found.items()}

    def run(self, assignment: Assignment, payload: bytearray, progress: Progress) -> Finished:
        for _ in range(_PLACED_ANEW_MAX):
            view = self._joined(progress)
            with self._counted(view, assignment) as deployment:
                try:
                    placing = self._placing(view, deployment, assignment, progress)
                    return conduct(placing, assignment, payload, progress)
                except NotPlaced:
                    pass
                except RunnerDied:
                    self._shelves.forget()
                    raise
            threading.Event().wait(_LOOK_S)
        raise RunnerDied("the cluster does not stay together")

    def _joined(self, progress: Progress) -> View:
        """The cluster, once it is joined. Raises `RunnerDied`, and whatever `progress` raises."""
        end_s, pause = self._clock.monotonic_s() + _JOIN_S, threading.Event()
        while True:
            with self._lock:
                view = self._view
            if view.handles:
                return view
            if not self.healthy() or self._clock.monotonic_s() >= end_s:
                raise RunnerDied("the cluster is not joined")
            progress("loading", 0.0)
            pause.wait(_LOOK_S)

    def drain(self, node_key: str) -> None:
        """Give a Node nothing more; what runs there goes on."""
        self._drained.add(node_key)

    def undrain(self, node_key: str) -> None:
        """Give a Node work again."""
        self._drained.discard(node_key)

    def busy(self, node_key: str = "") -> int:
        """How many Attempts run on a Node, or on any."""
        with self._lock:
            runs = list(self._runs.values())
        return sum(1 for run in runs if not node_key or run.node_key == node_key)

    def replicas(self) -> Sequence[ReplicaState]:
        """What each replica said last."""
        with self._lock:
            return list(self._replicas.values())

    def healthy(self) -> bool:
        return self._keeper.alive

    def close(self) -> None:
        self._keeper.close()

    def demand(self) -> dict[str, scaling.Demand]:
        now_s = self._clock.monotonic_s()
        with self._lock:
            runs, asked_s = list(self._runs.values()), dict(self._asked_s)
        found = {}
        for name in self._view.deployments:
            mine = [run for run in runs if run.deployment == name]
            slack = tuple(run.due_s - now_s for run in mine if not run.node_key)
            idle_s = 0.0 if mine else now_s - asked_s.get(name, asked_s[""])
            found[name] = scaling.Demand(len(mine) - len(slack), slack, 0, 0, idle_s)
        return found

    def learn(self, state: ReplicaState) -> None:
        """Take what a replica says, and log what is new of it: Serve keeps what replicas themselves log."""
        known, news = self._stock.bundles(), self._shelves.learn(state.shelf)
        with self._lock:
            self._replicas[state.shelf.replica] = state
        for event, told in (("bundle.loaded", news.loaded), ("bundle.dropped", news.dropped)):
            for sha256 in told:
                get().info(event, bundle=known[sha256].name if sha256 in known else "")
        for sha256, code in state.shelf.unloadable:
            get().warning("bundle.unloadable", bundle=known[sha256].name if sha256 in known else "", code=code)

    def heard(self, replicas: frozenset[str]) -> None:
        with self._lock:
            gone = self._replicas.keys() - replicas
            for name in gone:
                del self._replicas[name]
            states = list(self._replicas.values())
        if gone:
            self._shelves.forget()
            for state in states:
                self._shelves.learn(replace(state.shelf, unloadable=()))

    def inside(self, *, elsewhere: bool = False) -> bool:
        own = next(iter(self._view.machines), "")
        with self._lock:
            return any(run.inside and (not elsewhere or run.node_key not in ("", own)) for run in self._runs.values())

    @property
    def _view(self) -> View:
        # A keeper asks while it is being made.
        return self._keeper.view if hasattr(self, "_keeper") else View()

    def _gpu_needs(self) -> Mapping[str, int]:
        return {sha256: loaded_bytes(bundle) for sha256, bundle in self._stock.bundles().items()}

    @contextmanager
    def _counted(self, view: View, assignment: Assignment) -> Iterator[str]:
        """Choose a deployment, the one that has least to do; it is known as waiting there while the block lasts."""
        due_s = self._clock.monotonic_s() + _slack_s(assignment, self._clock)
        with self._lock:
            name = self._chosen(view, assignment)
            self._runs[assignment.attempt_id] = _Run(name, due_s, inside=True)
        try:
            yield name
        finally:
            with self._lock:
                self._runs.pop(assignment.attempt_id, None)
                self._asked_s[name] = self._clock.monotonic_s()

    def _chosen(self, view: View, assignment: Assignment) -> str:
        needs, shapes = self._gpu_needs(), [lent.shape for lent in view.machines.values()]
        sha256 = assignment.bundle_sha256
        names = serving(view.deployments.values(), sha256, needs.get(sha256, 0), shapes)
        here = {view.machines[key].shape.name for key in self._keys(assignment) if key in view.machines}
        names = [name for name in names if view.deployments[name].kind in here]
        if not names:
            raise WorkFailed("out-of-memory" if sha256 in needs else "bundle-unknown")
        if view.deployments[names[0]].bundle:
            return names[0]
        slots = {name: sum(shape.slots for shape in shapes if shape.name == name) for name in names}
        busy = {name: sum(1 for run in self._runs.values() if run.deployment == name) for name in names}
        return min(names, key=lambda name: (busy[name] / max(1, slots[name]), not name.startswith("gpu")))

    def _keys(self, assignment: Assignment) -> tuple[str, ...]:
        leaving = self._view.leaving | frozenset(self._drained)
        return tuple(sorted(key for key in assignment.nodes if key not in leaving))

    def _placing(self, view: View, deployment: str, assignment: Assignment, progress: Progress) -> Placing:
        handle = view.handles.get(deployment)
        if handle is None:
            raise NotPlaced

        def placed(node_key: str) -> None:
            with self._lock:
                run = self._runs.get(assignment.attempt_id)
                if run is not None:
                    self._runs[assignment.attempt_id] = replace(run, node_key=node_key)
            tell_node = getattr(progress, "node", None)  # a `Heart` names the Node in its heartbeats
            if tell_node is not None:
                tell_node(node_key)

        return Placing(
            handle,
            self._keys(assignment),
            lambda: self._view.generation != view.generation,
            placed,
            self.learn,
            self._keeper.stands,
        )


def _slack_s(assignment: Assignment, clock: Clock) -> float:
    """How long until an Attempt must be done, in seconds."""
    deadline_ms = assignment.deadline_ms
    return (deadline_ms - clock.now_ms()) / 1000 if deadline_ms else _UNTOLD_S
