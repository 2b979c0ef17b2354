"""A running machine as its contributor sees it: the control socket, whether it takes work, and its bounds.

A machine lives in two phases. Outside its windows it waits, one thread and no Ray, answering the control socket. Inside
them it runs; when a window closes, or bounds changed that Ray is started with, what runs is finished and the same
process starts anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

from bithive import __version__
from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.log import get
from bithive.settings import Settings
from cluster.availability import Availability, Standing, Wish
from cluster.bandwidth import Throttle
from cluster.caps import Caps
from cluster.control_socket import ControlServer, told_only
from cluster.errors import AgentRunning
from cluster.idle import MachineLook, UseWatch
from cluster.private_files import read_private, write_private
from cluster.profile import Profile
from cluster.protocol_node import NodeState
from cluster.timetable import Timetable

LOCK = "agent.lock"
WISH = "wish"

_WAIT_S = 0.5


class Seen(Protocol):
    """What an agent tells of itself (`cluster.agent.Agent`)."""

    def view(self) -> Any:
        """Its cell, Nodes and Attempts."""

    def leave(self) -> None:
        """Tell the network side that the cell is gone."""


class Station:
    """One machine of a cell. Takes the state folder for this process.

    Parameters
    ----------
    settings
        Of this machine.
    profile
        What it was told.
    clock
        Time.

    Raises
    ------
    AgentRunning
        If another agent has the folder.
    """

    def __init__(self, settings: Settings, profile: Profile, clock: Clock) -> None:
        self._state, self._clock = settings.state.absolute(), clock
        self._profile, self._started_ms = profile, clock.now_ms()
        self._lock = _locked(self._state)
        self._watch = UseWatch(clock, MachineLook(clock))
        self.throttle = Throttle(profile.caps.bandwidth_bps, clock)
        self._availability = Availability(
            clock, profile.timetable, self._used_of(profile.caps), wish_of(self._state), self._keep
        )
        self._agent: Seen | None = None
        self._begun: dict[str, int] = {}
        self._counting = threading.Lock()
        self._renew = False
        self._left = self._attending = False
        self._server = ControlServer(self._state, self._handlers())

    @property
    def profile(self) -> Profile:
        """What the machine was told last."""
        return self._profile

    @property
    def again(self) -> bool:
        """Whether the process is to start anew when it has ended its work: it did not leave."""
        return not self._left

    def wait_open(self, ended: threading.Event) -> bool:
        """Wait, without threads, until the machine takes work; False if it is told to end or to leave first."""
        waiting = False
        while not ended.is_set():
            if self._availability.wish is Wish.LEAVE:
                self._left = True
                return False
            if self._availability.timetable.open_at(self._clock.now_ms()):
                return True
            if not waiting:
                get().info("cell.waiting", code="timetable")
                waiting = True
            self._server.serve_once(_WAIT_S)
        return False

    def attend(self, agent: Seen | None = None) -> None:
        """From now on answer from a thread of its own, for this agent once there is one. May be called again."""
        self._agent = agent or self._agent
        if not self._attending:
            self._attending = True
            self._server.start()

    def state(self) -> NodeState:
        """Whether this machine takes work now: what the agent tells with each request."""
        return self.standing().state

    def standing(self) -> Standing:
        """The same with its reason."""
        standing = self._availability.state()
        if self._renew and standing.state in (NodeState.UP, NodeState.PAUSED):
            state = NodeState.DRAINING if self._availability.busy else NodeState.AWAY
            return Standing(state, "changed", None)
        return standing

    def finished(self) -> bool:
        """Whether this run is over: its window has closed, its bounds changed, or it left, and nothing runs.

        Work that still runs when a window has closed is not waited for: the machine is its owner's again.
        """
        self._count()
        standing = self.standing()
        if standing.state is not NodeState.AWAY:
            return False
        if standing.why in ("timetable", "changed"):
            return True
        if self._availability.wish is not Wish.LEAVE:
            return False
        if not self._left and self._agent is not None:
            with suppress(BitHiveError):  # it finds out by itself when nothing is heard any more
                self._agent.leave()
        self._left = True
        return True

    def close(self) -> None:
        """Answer nobody any more, and let the folder go."""
        self._server.close()
        self._lock.close()

    def status(self) -> dict[str, Any]:
        """What `status` answers."""
        view = self._count()
        profile, standing = self._profile, self.standing()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_ms": self._started_ms,
            "now_ms": self._clock.now_ms(),
            "role": str(profile.role),
            "operator": profile.operator,
            "tier": str(profile.tier),
            "residency": profile.residency,
            "hub_url": profile.hub_url,
            "slots": profile.slots,
            "wish": str(self._availability.wish),
            **standing.to_json(),
            "caps": profile.caps.to_json(),
            "timetable": profile.timetable.to_json(),
            "use": self._use(),
            **_told(view),
        }

    def _handlers(self) -> dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        words = dict.fromkeys(("pause", "resume", "drain", "leave"), self._asked)
        return {"status": lambda _request: self.status(), **words, "caps": self._caps, "timetable": self._timetable}

    def _asked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        told_only(request)
        before = self._availability.wish
        self._availability.ask(request["ask"])
        get().info("cell.asked", kind=request["ask"], state=str(self._availability.wish))
        assert before is not Wish.LEAVE or self._availability.wish is Wish.LEAVE, "left is left"
        return self.status()

    def _caps(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Bandwidth and pausing change at once; what Ray is started with changes with the next start."""
        before = self._profile.caps
        caps = Caps.from_json(before.to_json() | told_only(request, *before.to_json()))
        self._store(self._profile.with_bounds(caps=caps))
        self.throttle.change(caps.bandwidth_bps)
        self._availability.change(self._profile.timetable, self._used_of(caps))
        self._renew |= _started_with(caps) != _started_with(before)
        return self.status()

    def _timetable(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The network side is told with the next hello, which a new start says."""
        timetable = Timetable.from_json(told_only(request, "windows", "zone"))
        changed = timetable != self._profile.timetable
        self._store(self._profile.with_bounds(timetable=timetable))
        self._availability.change(timetable, self._used_of(self._profile.caps))
        self._renew |= changed and self._agent is not None
        return self.status()

    def _store(self, profile: Profile) -> None:
        profile.save(self._state)
        self._profile = profile

    def _keep(self, wish: Wish) -> None:
        keep_wish(self._state, wish)

    def _used_of(self, caps: Caps) -> Callable[[], str]:
        return self._watch.used if caps.pause_when_used else str

    def _view(self) -> Any:
        return self._agent.view() if self._agent is not None else None

    def _count(self) -> Any:
        """What the agent tells, and which Attempts began and ended since the last look.

        Their durations say how early to stop before a window's end.
        """
        with self._counting:
            view = self._view()
            if view is None:
                return None
            running = {attempt.attempt_id: attempt.begun_ms for attempt in view.attempts}
            for attempt_id in running.keys() - self._begun.keys():
                self._begun[attempt_id] = running[attempt_id]
                self._availability.began()
            for attempt_id in self._begun.keys() - running.keys():
                took_ms = self._clock.now_ms() - self._begun.pop(attempt_id)
                self._availability.ended(took_ms / 1000)
            return view

    def _use(self) -> dict[str, Any]:
        reading = self._watch.reading
        return {
            "why": self._watch.used() if self._profile.caps.pause_when_used else "",
            "others_share": round(reading.others_share, 4),
            "pressure_share": round(reading.pressure_share, 4),
            "input_idle_s": reading.input_idle_s,
        }


def wish_of(state: Path) -> Wish:
    """What the contributor of a state folder asked last."""
    kept = read_private(state / WISH)
    words = {str(wish): wish for wish in Wish}
    return words.get((kept or b"").decode("ascii", "replace").strip(), Wish.RUN)


def keep_wish(state: Path, wish: Wish) -> None:
    """Keep what the contributor asked, across restarts."""
    write_private(state / WISH, f"{wish}\n".encode())


def _locked(state: Path) -> IO[bytes]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (state / LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise AgentRunning("another agent uses this state folder") from None
    return file


def _started_with(caps: Caps) -> tuple[int, int, int]:
    return caps.threads, caps.memory_bytes, caps.gpu_fraction_bp


def _told(view: Any) -> dict[str, Any]:
    """An agent's view as JSON: its members are frozen dataclasses of plain values."""
    if view is None:
        return {"cell": "", "connected": False, "protocol": 0, "nodes": [], "attempts": []}
    plain: dict[str, Any] = json.loads(json.dumps(asdict(view), default=str))
    return {"protocol": 0, **plain}
