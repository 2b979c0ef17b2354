"""A further machine of a cell: a raylet that joins the head, kept alive, and drained before it leaves.

It has no agent and no token of the network side. Its replicas sign with its own Node's key, and whatever they run was
granted to that Node by name.
"""

from __future__ import annotations

import threading
from typing import Protocol

from bithive.clock import Clock, SystemClock
from bithive.log import get
from bithive.settings import Settings
from cluster.cell_runner import stock_of
from cluster.cluster_ray import MachineSettings, RayMachine, Tended
from cluster.errors import RunnerDied
from cluster.lending_ray import machine_of
from cluster.profile import Profile
from cluster.protocol_node import NodeState

EXIT_DRAINED = 0
EXIT_DIED = 70

_TEND_S = 0.25
_JOIN_PAUSE_S = 2.0
_JOIN_PAUSE_MAX_S = 30.0
_DRAIN_S = 600.0


class Standing(Protocol):
    """What the contributor wants of this machine now (`cluster.station.Station`)."""

    def state(self) -> NodeState:
        """Whether it takes work."""

    def attend(self) -> None:
        """Answer whoever asks."""

    def finished(self) -> bool:
        """Whether it is to end."""


def run_member(settings: Settings, profile: Profile, station: Standing, ended: threading.Event) -> int:
    """Lend this machine to its cell until it is told to end; the exit code.

    Parameters
    ----------
    settings, profile
        Of the machine; it stands behind its wall already.
    station
        What its contributor wants.
    ended
        Set when the process is told to end.
    """
    station.attend()
    member = Member(machine_of(settings, profile, stock_of(settings)), SystemClock())
    return member.serve(station, ended)


class Member:
    """A machine that lends itself to a head, as its contributor wants.

    Parameters
    ----------
    machine
        How its Ray processes are started.
    clock
        Time.
    drain_s
        How long it waits at most for what runs, before it ends.
    """

    def __init__(self, machine: MachineSettings, clock: Clock, drain_s: float = _DRAIN_S) -> None:
        self._settings, self._clock, self._drain_s = machine, clock, drain_s
        self._machine: RayMachine | None = None

    def serve(self, station: Standing, ended: threading.Event) -> int:
        """Until it is told to end; the exit code. For the thread that lives longest: Ray ends with it."""
        pause_s = _JOIN_PAUSE_S
        try:
            while not ended.wait(_TEND_S) and not station.finished():
                if station.state() is not NodeState.UP:
                    self._leave(ended)
                    continue
                try:
                    self._tend()
                    pause_s = _JOIN_PAUSE_S
                except RunnerDied as error:
                    # The head may be away for as long as it likes.
                    get().warning("member.not_joined", code=error.code, exc_info=error.__cause__ or error)
                    self._stop()
                    ended.wait(pause_s)
                    pause_s = min(2 * pause_s, _JOIN_PAUSE_MAX_S)
            self._leave(ended)
        finally:
            self._stop()
        return EXIT_DRAINED

    def _tend(self) -> None:
        if self._machine is None:
            self._machine = RayMachine(self._settings, self._clock)
            get().info("member.joined")
        elif self._machine.tend() is Tended.RAYLET_ANEW:
            get().info("member.joined")

    def _leave(self, ended: threading.Event) -> None:
        """Take nothing more, wait for what runs, and end; a second wish to end is not waited for twice."""
        machine = self._machine
        if machine is None:
            return
        end_s = self._clock.monotonic_s() + self._drain_s
        moved = machine.draining(self._clock.now_ms() + round(self._drain_s * 1000))
        pause = threading.Event()
        while moved and machine.has_replicas() and self._clock.monotonic_s() < end_s:
            pause.wait(_TEND_S)
        get().info("member.left", state="ended" if ended.is_set() else "drained")
        self._stop()

    def _stop(self) -> None:
        if self._machine is not None:
            self._machine.close()
            self._machine = None
