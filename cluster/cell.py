"""A cell: one Ray cluster of one operator, and the agent that pulls work for it.

What a machine does depends on its role: a cell of one and the head of a larger one run an agent beside Ray; a further
machine only lends its processors to the head. All of them stand behind their wall.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bithive.clock import SystemClock
from bithive.keys import SigningKey
from bithive.log import get
from bithive.settings import Settings
from cluster import cell_start
from cluster.dialled import DialledTransport
from cluster.dialler import Dialler
from cluster.errors import CellUnconfigured, RunnerDied, WallOpen
from cluster.plaintext import no_core_dumps
from cluster.profile import Profile, Role, hub_certificate, hub_token
from cluster.station import Station
from cluster.wall import check_wall

if TYPE_CHECKING:
    from cluster.runner import Runner  # its imports start threads, which would stay outside the wall

EXIT_DRAINED = 0
EXIT_DIED = 70

_DRAIN_S = 10.0
_WATCH_S = 0.5
_LOOKS_PER_WALL = 20


@dataclass(frozen=True, slots=True)
class _Cell:
    """What a role works with: the machine's settings and profile, its station, and when to end."""

    settings: Settings
    profile: Profile
    station: Station
    ended: threading.Event
    opened: Callable[[Settings], Runner] | None
    dialler: Dialler | None

    @property
    def walled(self) -> bool:
        """Whether what runs bundles listens: Ray does, a runner that a caller brings does not."""
        return self.opened is None


def run_cell(settings: Settings, opened: Callable[[Settings], Runner] | None = None) -> int:
    """Run this machine's part of its cell until it is told to end; the exit code.

    Starts the process anew, once, when Ray's environment is not set yet: Ray's token must be there before Python is.

    Parameters
    ----------
    settings
        Of the machine; `profile.json` in its state folder says what it is, if it has joined a cell.
    opened
        Makes what runs bundles, without a wall; Ray behind the wall unless said otherwise.

    Raises
    ------
    CellUnconfigured
        Without an address or a token.
    WallAbsent, WallOpen
        The machine cannot keep others away from Ray.
    AgentRunning
        If another agent has the state folder.
    """
    no_core_dumps()
    profile = Profile.of(settings)
    if profile.role is not Role.MEMBER and not (profile.hub_url and hub_token(settings)):
        raise CellUnconfigured("set BITHIVE_CELL__HUB_URL and BITHIVE_CELL__TOKEN, or join a hub")
    if opened is None:
        cell_start.prepare(settings, profile)
    with cell_start.told_to_end() as ended:
        return _run(settings, profile, ended, opened)


def _run(
    settings: Settings, profile: Profile, ended: threading.Event, opened: Callable[[Settings], Runner] | None
) -> int:
    dialler = None
    if opened is None and profile.role is not Role.MEMBER:
        dialler = cell_start.dialler_of(profile)
    station = Station(settings, profile, SystemClock())
    try:
        code = EXIT_DRAINED
        if station.wait_open(ended):
            cell = _Cell(settings, station.profile, station, ended, opened, dialler)
            if cell.walled:
                cell_start.enter_wall(settings, profile)
            station.attend()  # Ray takes a while to start; its contributor is answered meanwhile
            code = _ROLES[profile.role](cell)
    finally:
        station.close()
    if code == EXIT_DRAINED and station.again and not ended.is_set():
        cell_start.again(dialler)
    if dialler is not None:
        dialler.close()
    return code


def _serve(cell: _Cell) -> int:
    """Head or cell of one: Ray, and an agent."""
    from cluster.agent import Agent
    from cluster.cell_runner import attesting_of, identity_of, open_runner
    from cluster.kept import Kept
    from cluster.network_http import HttpNetwork

    settings, profile = cell.settings, cell.profile
    try:
        runner = cell.opened(settings) if cell.opened else open_runner(settings, profile)
    except RunnerDied as error:
        get().error("cell.failed", code=error.code, exc_info=error.__cause__ or error)
        return EXIT_DIED
    cell_start.hear(cell.ended)
    certificate = hub_certificate(settings)
    network = HttpNetwork(
        profile.hub_url,
        hub_token(settings) or "",
        certificate,
        key=SigningKey.load_or_create(settings.state.absolute() / "keys" / "cell.key"),
        transport=None if cell.dialler is None else DialledTransport(cell.dialler, certificate),
        pace=cell.station.throttle.pace,
    )
    identity = identity_of(settings, profile)
    agent = Agent(
        network,
        runner,
        identity,
        SystemClock(),
        profile.slots,
        standing=cell.station.state,
        kept=Kept(settings.state.absolute() / "receipts", network.counters),
        attesting=attesting_of(settings, network, identity),
    )
    cell.station.attend(agent)
    agent.start()
    get().info("cell.ready", count=len(runner.bundles()))
    if not _watch(cell, runner):
        get().error("cell.died")
        # Ray's own clean-up would wait for processes that are gone.
        os._exit(EXIT_DIED)
    agent.drain(_DRAIN_S)
    network.close()
    runner.close()
    shutil.rmtree(cell_start.ray_folder(settings), ignore_errors=True)
    return EXIT_DRAINED


def _lend(cell: _Cell) -> int:
    """A further machine: Ray's processes alone, which join the head."""
    from cluster.member_ray import run_member

    return run_member(cell.settings, cell.profile, cell.station, cell.ended)


_ROLES: dict[Role, Callable[[_Cell], int]] = {Role.SINGLE: _serve, Role.HEAD: _serve, Role.MEMBER: _lend}


def _watch(cell: _Cell, runner: Runner) -> bool:
    """Until the cell is to end; False if it has died: without Ray, dialler or wall it is none."""
    looks = 0
    while not cell.ended.wait(_WATCH_S):
        looks += 1
        cell_start.hear(cell.ended)
        if not runner.healthy() or (cell.dialler is not None and not cell.dialler.alive):
            return False
        if cell.walled and looks % _LOOKS_PER_WALL == 0:
            try:
                check_wall(cell.profile.wall)
            except WallOpen as error:
                get().error("wall.open", code=error.code, detail=error.detail)
                return False
        if cell.station.finished():
            break
    return True
