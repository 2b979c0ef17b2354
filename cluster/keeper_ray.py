"""Keeps a cell's Ray alive, in one thread: its processes, our connection to it, its deployments, and what we know of it.

That thread starts every process, so that they end with the agent's process however that ends, and it outlives them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bithive.clock import Clock
from bithive.log import get
from cluster import scaling, scaling_ray, serve_ray
from cluster.attempt_ray import RAY_ERRORS
from cluster.cluster_ray import MachineSettings, RayMachine, Tended
from cluster.deployments import Deployment, deployments
from cluster.errors import RunnerDied
from cluster.lent import Lent
from cluster.replica_ray import ReplicaState
from cluster.selftest_ray import check_ray

_TEND_S = 0.25
_LOOK_EVERY_S = 2.0
_ASK_TIMEOUT_S = 2.0
_ELSEWHERE_S = 30.0
_LET_GO_S = 15.0
_START_S = 300.0
_END_S = 60.0


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """What is kept.

    Attributes
    ----------
    machine
        The head's own processes.
    policy
        How replicas are scaled.
    gpu_needs
        Memory of a graphics processor that a bundle takes, by SHA-256; asked whenever machines come or go.
    tls
        Whether machines speak TLS with each other.
    """

    machine: MachineSettings
    policy: scaling.Policy
    gpu_needs: Callable[[], Mapping[str, int]]
    tls: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """The cluster as it was seen last.

    Attributes
    ----------
    generation
        How often it was joined.
    handles, deployments
        By name.
    machines
        What each live machine lends, by the key of its Node; the head's own is first.
    leaving
        Keys of the Nodes whose machines are being drained.
    """

    generation: int = 0
    handles: Mapping[str, Any] = field(default_factory=dict)
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    machines: Mapping[str, Lent] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()


class Asked:
    """What a keeper asks of whoever runs Attempts."""

    def demand(self) -> dict[str, scaling.Demand]:
        """Of each deployment; `replicas` and `capacity` are filled in by the keeper."""
        raise NotImplementedError

    def learn(self, state: ReplicaState) -> None:
        """A replica has said how it is."""
        raise NotImplementedError

    def heard(self, replicas: frozenset[str]) -> None:
        """These replicas are all that there are, by the names of their shelves."""
        raise NotImplementedError

    def inside(self, *, elsewhere: bool = False) -> bool:
        """Whether an Attempt is in Ray's hands; `elsewhere`: on another machine than the head."""
        raise NotImplementedError


class Keeper:
    """Starts a cell's Ray and keeps it.

    Parameters
    ----------
    settings
        What is kept.
    asked
        Who is asked and told.
    clock
        Time.

    Raises
    ------
    RunnerDied, RaySettingsDiffer
        If it does not become ready, or not as it was told to.
    """

    def __init__(self, settings: KeeperSettings, asked: Asked, clock: Clock) -> None:
        self._settings, self._asked, self._clock = settings, asked, clock
        own = settings.machine.lent
        self.view = View(machines={own.greeting.node_key: own})
        self._machine: RayMachine | None = None
        self._targets: dict[str, int] = {}
        self._ready, self._ending = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._keep, name="ray", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RunnerDied("Ray does not become ready")
        if self._error is not None:
            raise self._error

    @property
    def alive(self) -> bool:
        """Whether it is still kept."""
        return self._thread.is_alive() and self._error is None

    def stands(self) -> bool:
        """Whether this machine's raylet runs at this moment."""
        return self._machine is not None and self._machine.stands()

    def close(self) -> None:
        """End it all."""
        self._ending.set()
        self._thread.join(_END_S)

    def _keep(self) -> None:
        try:
            self._begin()
            self._ready.set()
            looked_s = self._clock.monotonic_s()
            while not self._ending.wait(_TEND_S):
                self._tend()
                if self._clock.monotonic_s() - looked_s >= _LOOK_EVERY_S:
                    self._look()
                    looked_s = self._clock.monotonic_s()
        except BaseException as error:  # noqa: BLE001 - handed over to whoever asks whether it is alive
            self._error = error
            if self._ready.is_set():
                get().error("ray.lost", exc_info=error)
        finally:
            self._end()
            self._ready.set()

    def _begin(self) -> None:
        machine = self._machine = RayMachine(self._settings.machine, self._clock)
        serve_ray.connect(machine)
        check_ray(machine.processes(), self._settings.machine.storage, tls=self._settings.tls)
        self._see()
        self._deploy(wait=True)
        self._ask()

    def _end(self) -> None:
        if self._machine is None:
            return
        try:
            if serve_ray.connected():
                serve_ray.disconnect()
        finally:
            self._machine.close()

    def _tend(self) -> None:
        assert self._machine is not None
        if self._machine.tend() is not Tended.RAYLET_ANEW:
            return
        # Nothing more is begun; what other machines run may end, what ran here has ended already.
        handles, self.view = self.view.handles, replace(self.view, handles={})
        self._wait(lambda: not self._asked.inside(elsewhere=True), _ELSEWHERE_S)
        self.view = replace(self.view, generation=self.view.generation + 1)
        # A thread that is in Ray's hands while they are withdrawn would take the process with it.
        self._wait(lambda: not self._asked.inside(), _LET_GO_S)
        serve_ray.disconnect(handles.values())
        serve_ray.connect(self._machine)
        self._targets = {}
        self._see()
        self._deploy(wait=True)
        get().info("ray.joined_anew", count=len(self.view.machines))

    def _wait(self, until: Callable[[], bool], timeout_s: float) -> None:
        end_s = self._clock.monotonic_s() + timeout_s
        while not until() and self._clock.monotonic_s() < end_s and not self._ending.wait(_TEND_S):
            pass

    def _look(self) -> None:
        try:
            self._see()
            self._deploy(wait=False)
            self._scale()
            self._ask()
        except RAY_ERRORS as error:
            get().warning("ray.not_answering", exc_info=error)

    def _see(self) -> None:
        """Which machines there are, and which of them are leaving."""
        found, leaving = serve_ray.machines(), serve_ray.draining()
        own = self._settings.machine.lent
        keys = {own.greeting.node_key: own} if self._settings.machine.serves else {}
        keys |= {lent.greeting.node_key: lent for lent in found.values()}
        gone = frozenset(lent.greeting.node_key for name, lent in found.items() if name in leaving)
        alive = frozenset(lent.greeting.node_key for name, lent in found.items() if name not in leaving)
        self.view = replace(self.view, machines=keys, leaving=gone - alive)

    def _deploy(self, *, wait: bool) -> None:
        """Make what the cell's machines need and has not been made."""
        shapes = [lent.shape for lent in self.view.machines.values()]
        needed = {item.name: item for item in deployments(shapes, self._settings.gpu_needs())}
        lacking = [item for name, item in needed.items() if name not in self.view.handles]
        if not lacking and needed == self.view.deployments:
            return
        slots, handles = self._slots(), dict(self.view.handles)
        for item in lacking:
            replicas = 0 if item.bundle else self._at_first(slots.get(item.kind, 0))
            handles[item.name] = serve_ray.deploy(item, replicas, wait=wait)
            self._targets[item.name] = replicas
        # What is not needed any more keeps its handle: scaled to nothing it costs nothing.
        self.view = replace(self.view, handles=handles, deployments={**self.view.deployments, **needed})

    def _at_first(self, slots: int) -> int:
        minimum = self._settings.policy.minimum
        return slots if minimum is None else min(slots, max(1, minimum))

    def _slots(self) -> dict[str, int]:
        slots: dict[str, int] = {}
        for key, lent in self.view.machines.items():
            if key not in self.view.leaving:
                slots[lent.shape.name] = slots.get(lent.shape.name, 0) + lent.shape.slots
        return slots

    def _scale(self) -> None:
        """Tell Serve how many replicas there should be of each deployment."""
        demand, slots, takers = self._asked.demand(), self._slots(), []
        for name, item in self.view.deployments.items():
            capacity = slots.get(item.kind, 0) // item.slots
            asked = demand.get(name, scaling.Demand(0, (), 0, 0))
            asked = replace(asked, capacity=capacity, replicas=self._targets.get(name, 0))
            policy = replace(self._settings.policy, minimum=0) if item.bundle else self._settings.policy
            takers.append(scaling.Taker(name, scaling.wanted(asked, policy), item.slots, bool(item.bundle)))
        kinds = {name: item.kind for name, item in self.view.deployments.items()}
        targets = scaling.share_out(takers, slots, kinds)
        if targets != self._targets:
            scaling_ray.tell(targets)
            self._targets = targets

    def _ask(self) -> None:
        """What the replicas have loaded; one that does not answer in time is asked again."""
        heard: set[str] = set()
        for state in self._states():
            heard.add(state.shelf.replica)
            self._asked.learn(state)
        if heard:
            self._asked.heard(frozenset(heard))

    def _states(self) -> Sequence[ReplicaState]:
        states: list[ReplicaState] = []
        for handle in self.view.handles.values():
            try:
                states += handle.broadcast("state").results(timeout_s=_ASK_TIMEOUT_S)
            except (TimeoutError, *RAY_ERRORS):
                return []
        return states
