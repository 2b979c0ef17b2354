"""A running machine as its contributor sees it: through the real socket, on a clock that we turn."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bithive.clock import ManualClock
from bithive.offer import DataClass
from bithive.settings import Settings
from cluster.agent_view import AgentView, AttemptView
from cluster.availability import Wish
from cluster.caps import Caps
from cluster.control_socket import ask
from cluster.errors import AgentRefused, AgentRunning, NetworkUnreachable
from cluster.labels import Tier
from cluster.private_files import write_private
from cluster.profile import Profile, Role
from cluster.protocol_node import NodeState
from cluster.station import WISH, Station, keep_wish, wish_of
from cluster.timetable import Timetable
from cluster.wall import WallSpec

MONDAY_MS = 1_795_392_000_000  # 2026-11-23T00:00Z
PROFILE = Profile(
    hub_url="https://hub.example",
    operator="ada",
    tier=Tier.HOME,
    residency="",
    data_class_max=DataClass.P0,
    role=Role.SINGLE,
    slots=1,
    wall=WallSpec("private"),
)


@dataclass
class Agent:
    """Tells what a real one would."""

    attempts: tuple[AttemptView, ...] = ()
    left: int = 0
    reachable: bool = True

    def view(self) -> AgentView:
        return AgentView("cel_1", True, (), self.attempts)

    def leave(self) -> None:
        self.left += 1
        if not self.reachable:
            raise NetworkUnreachable


Opened = Callable[..., Station]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MONDAY_MS)


@pytest.fixture
def opened(tmp_path: Path, clock: ManualClock) -> Iterator[Opened]:
    stations: list[Station] = []

    def make(profile: Profile = PROFILE) -> Station:
        profile.save(tmp_path)
        stations.append(Station(Settings(state=tmp_path), profile, clock))
        return stations[-1]

    yield make
    for station in stations:
        station.close()


def running(clock: ManualClock, name: str = "att_1") -> AttemptView:
    return AttemptView(name, "lungs_ct", "nod_1", "segmenting", 0.5, clock.now_ms())


def test_asked_through_the_socket(opened: Opened, tmp_path: Path) -> None:
    station, agent = opened(), Agent()
    station.attend(agent)
    told = ask(tmp_path, "status")
    assert (told["state"], told["cell"], told["connected"], told["role"]) == ("up", "cel_1", True, "single")
    assert ask(tmp_path, "pause")["why"] == "asked" and station.state() is NodeState.PAUSED
    assert wish_of(tmp_path) is Wish.PAUSE
    assert ask(tmp_path, "resume")["state"] == "up" and not station.finished()
    with pytest.raises(AgentRefused):
        ask(tmp_path, "pause", until="noon")


def test_a_pause_outlives_a_restart_and_nonsense_is_no_wish(opened: Opened, tmp_path: Path) -> None:
    keep_wish(tmp_path, Wish.PAUSE)
    assert opened().state() is NodeState.PAUSED
    write_private(tmp_path / WISH, b"\xffwhatever")
    assert wish_of(tmp_path) is Wish.RUN


def test_two_agents_never_have_one_folder(opened: Opened) -> None:
    opened()
    with pytest.raises(AgentRunning):
        opened()


def test_drained_it_stays_and_comes_back(opened: Opened, tmp_path: Path, clock: ManualClock) -> None:
    station, agent = opened(), Agent()
    agent.attempts = (running(clock),)
    station.attend(agent)
    assert ask(tmp_path, "drain")["state"] == "draining" and not station.finished()
    agent.attempts = ()
    assert ask(tmp_path, "status")["state"] == "away" and not station.finished()
    assert ask(tmp_path, "resume")["state"] == "up"


@pytest.mark.parametrize("reachable", [True, False])
def test_leaving_waits_for_what_runs_and_is_told_once(
    opened: Opened, tmp_path: Path, clock: ManualClock, reachable: bool
) -> None:
    station, agent = opened(), Agent(reachable=reachable)
    agent.attempts = (running(clock),)
    station.attend(agent)
    ask(tmp_path, "leave")
    assert not station.finished() and agent.left == 0
    agent.attempts = ()
    assert station.finished() and station.finished() and agent.left == 1 and not station.again
    with pytest.raises(AgentRefused):
        ask(tmp_path, "resume")


def test_a_window_that_closes_ends_the_run_and_the_next_one_begins_anew(opened: Opened, clock: ManualClock) -> None:
    station, agent = opened(replace(PROFILE, timetable=Timetable.parse("18:00-08:00"))), Agent()
    station.attend(agent)
    assert station.state() is NodeState.UP
    agent.attempts = (running(clock),)
    assert not station.finished()
    clock.advance_s(600)
    agent.attempts = ()
    assert not station.finished()
    clock.advance_s(27_300)
    assert station.state() is NodeState.UP
    clock.advance_s(180)
    assert station.state() is NodeState.AWAY, "the longest Attempt of late would not end in time"
    assert station.finished() and station.again


def test_what_still_runs_at_a_windows_end_is_not_waited_for(opened: Opened, clock: ManualClock) -> None:
    station, agent = opened(replace(PROFILE, timetable=Timetable.parse("18:00-08:00"))), Agent()
    station.attend(agent)
    agent.attempts = (running(clock),)
    assert not station.finished()
    clock.advance_s(8 * 3600)
    assert station.finished() and station.again


def waiting(station: Station) -> tuple[threading.Thread, threading.Event, list[bool]]:
    ended, answers = threading.Event(), []
    thread = threading.Thread(target=lambda: answers.append(station.wait_open(ended)))
    thread.start()
    return thread, ended, answers


def test_outside_its_windows_it_waits_and_answers(opened: Opened, tmp_path: Path, clock: ManualClock) -> None:
    clock.advance_s(12 * 3600)
    thread, _, answers = waiting(opened(replace(PROFILE, timetable=Timetable.parse("18:00-08:00"))))
    told = ask(tmp_path, "status")
    assert (told["state"], told["why"], told["connected"]) == ("away", "timetable", False)
    assert told["until_ms"] == MONDAY_MS + 18 * 3_600_000
    clock.advance_s(6 * 3600)
    thread.join(10)
    assert answers == [True]


def test_waiting_it_can_be_told_to_end_to_leave_or_to_open(opened: Opened, tmp_path: Path, clock: ManualClock) -> None:
    clock.advance_s(12 * 3600)
    closed = replace(PROFILE, timetable=Timetable.parse("18:00-08:00"))
    station = opened(closed)
    thread, ended, answers = waiting(station)
    ended.set()
    thread.join(10)
    assert answers == [False] and station.again
    thread, _, answers = waiting(station)
    assert ask(tmp_path, "timetable", **Timetable().to_json())["state"] == "up"
    thread.join(10)
    assert answers == [True] and Profile.load(tmp_path) == PROFILE
    ask_and_close(station, tmp_path)


def ask_and_close(station: Station, state: Path) -> None:
    thread, _, answers = waiting(station)
    thread.join(10)
    assert answers == [True]
    station.attend(Agent())
    ask(state, "leave")
    assert station.finished() and not station.again
    assert station.wait_open(threading.Event()) is False


def change(state: Path, what: str, **members: Any) -> dict[str, Any]:
    return ask(state, what, **members)


def test_some_bounds_change_at_once_and_others_with_a_new_start(
    opened: Opened, tmp_path: Path, clock: ManualClock
) -> None:
    station, agent = opened(), Agent()
    station.attend(agent)
    assert change(tmp_path, "caps", bandwidth_bps=10_000_000)["state"] == "up"
    assert station.throttle.owed_s(10_000_000) > 1
    assert change(tmp_path, "caps", pause_when_used=False)["state"] == "up"
    agent.attempts = (running(clock),)
    station.finished()
    told = change(tmp_path, "caps", threads=1)
    assert (told["state"], told["why"]) == ("draining", "changed") and not station.finished()
    agent.attempts = ()
    assert station.finished() and station.again
    assert Profile.load(tmp_path) == replace(PROFILE, caps=Caps(threads=1, bandwidth_bps=10_000_000))


@pytest.mark.parametrize("members", [{"threads": -1}, {"more": 1}, {"threads": "2"}, {"pause_when_used": 1}])
def test_bounds_out_of_range_change_nothing(opened: Opened, tmp_path: Path, members: dict[str, Any]) -> None:
    opened().attend(Agent())
    with pytest.raises(AgentRefused):
        change(tmp_path, "caps", **members)
    assert Profile.load(tmp_path) == PROFILE and ask(tmp_path, "status")["state"] == "up"


def test_other_hours_are_told_to_the_network_by_a_new_start(opened: Opened, tmp_path: Path) -> None:
    station = opened()
    station.attend(Agent())
    assert change(tmp_path, "timetable", **Timetable().to_json())["state"] == "up", "nothing changed"
    told = change(tmp_path, "timetable", **Timetable.parse("00:00-23:00").to_json())
    assert told["why"] == "changed" and station.finished() and station.again
