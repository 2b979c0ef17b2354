"""What `bithive node` does with a machine that has joined, whether its agent runs or not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import typer

from api.commands.node_start import unit_name
from api.commands.node_words import down_lines, status_lines
from api.supervise import end_leftovers
from bithive.clock import SystemClock
from bithive.errors import BitHiveError
from bithive.keys import SigningKey
from bithive.settings import Settings
from cluster.availability import Wish
from cluster.caps import Caps
from cluster.control_socket import ask
from cluster.errors import AgentAbsent, CellUnconfigured, WorkUnfinished
from cluster.profile import Profile, Role, hub_certificate, hub_token
from cluster.station import keep_wish
from cluster.timetable import Timetable

EXIT_STOPPED = 3

_LOOK_S = 0.5
_END_S = 90.0


def show_status(state: Path, *, as_json: bool) -> int:
    """Print what the machine does; the exit code."""
    from api.commands.node import printed

    try:
        told = ask(state, "status")
    except AgentAbsent:
        profile = Profile.load(state)
        joined = None if profile is None else profile.to_json()
        typer.echo(printed({"state": "stopped", "profile": joined}) if as_json else "\n".join(down_lines(joined)))
        return EXIT_STOPPED
    typer.echo(printed(told) if as_json else "\n".join(status_lines(told)))
    return 0


def say(state: Path, word: str) -> None:
    """Tell the agent a word, or keep it for its next start; print what comes of it."""
    try:
        told = ask(state, word)
    except AgentAbsent:
        _joined(state)
        keep_wish(state, Wish.PAUSE if word == "pause" else Wish.RUN)
        typer.echo("no agent runs; kept for its next start")
        return
    typer.echo(next(status_lines(told)))


def drain(state: Path, timeout_s: float) -> None:
    """Have it finish what runs, and wait. Raises `WorkUnfinished` when the time is up."""
    ask(state, "drain")
    _wait(state, timeout_s, _is_idle)
    typer.echo("drained: nothing runs, nothing new is taken; `bithive node resume` takes work again")


def leave(state: Path, timeout_s: float) -> None:
    """Have it finish what runs, tell the hub and end; its keys stay. Raises `WorkUnfinished` when the time is up."""
    try:
        pid = int(ask(state, "leave")["pid"])
    except AgentAbsent:
        _joined(state)
        keep_wish(state, Wish.LEAVE)
        typer.echo("no agent runs; it has left")
        return
    with suppress(AgentAbsent):
        _wait(state, timeout_s, _is_idle)
    _ended(pid, timeout_s)
    typer.echo("left; `bithive node start` comes back as the same machine")


def change(
    settings: Settings, caps: Callable[[Profile], Caps] | None, hours: Callable[[Profile], Timetable] | None
) -> None:
    """Change bounds or hours, by the agent or for its next start; show them."""
    state = settings.state.absolute()
    profile = _joined(state)
    after = profile.with_bounds(caps and caps(profile), hours and hours(profile))
    if after != profile:
        try:
            if after.caps != profile.caps:
                ask(state, "caps", **after.caps.to_json())
            if after.timetable != profile.timetable:
                ask(state, "timetable", **after.timetable.to_json())
        except AgentAbsent:
            after.save(state)
    if caps is not None:
        typer.echo(", ".join(after.caps.words()))
    if hours is not None:
        typer.echo(f"{after.timetable.words()} ({after.timetable.zone})")


def page_of(settings: Settings) -> str:
    """A one-time address at the hub that signs this machine's contributor in. Raises `NetworkUnreachable`."""
    from cluster.join import CELL_KEY
    from cluster.network_http import HttpNetwork

    profile, token = _joined(settings.state), hub_token(settings)
    if profile.role is Role.MEMBER or token is None:
        raise CellUnconfigured("a further machine of a cell has no page of its own; ask at the cell's head")
    key = SigningKey.load_or_create(settings.state / CELL_KEY)
    network = HttpNetwork(profile.hub_url, token, key=key, certificate=hub_certificate(settings))
    try:
        return profile.hub_url.rstrip("/") + network.contributor_path()
    finally:
        network.close()


def show_receives(settings: Settings) -> None:
    """Print what it may receive and never will."""
    from api.commands.node_join import say_profile_receives

    say_profile_receives(_joined(settings.state))


def uninstall(settings: Settings, *, yes: bool) -> None:
    """Stop everything of this machine's and remove it."""
    from cluster.cell_start import ray_folder
    from cluster.uninstall import remove_folder, remove_ray

    state = settings.state.absolute()
    profile = _joined(state)
    if not yes:
        typer.confirm(f"Remove {state} with its keys? This machine never comes back as itself", abort=True)
    _stop(state)
    end_leftovers(str(state))
    for step in (partial(_remove_unit, state), partial(_remove_wall, state, profile)):
        try:
            step()
        except (BitHiveError, OSError) as error:
            typer.echo(f"not removed: {error}", err=True)
    remove_ray(ray_folder(settings))
    left = remove_folder(state)
    for path in left:
        typer.echo(f"left alone, since it is not ours: {path}")
    if settings.model_store.absolute().is_dir():
        typer.echo(f"left alone, since others may use it: {settings.model_store.absolute()}")
    typer.echo("removed; what it has earned stays its operator's")


def _stop(state: Path) -> None:
    """Leave in order where the agent answers; end it where it does not end."""
    with suppress(AgentAbsent):
        pid = int(ask(state, "leave")["pid"])
        try:
            _ended(pid, _END_S)
        except WorkUnfinished:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            with suppress(WorkUnfinished):
                _ended(pid, _END_S)


def _remove_unit(state: Path) -> None:
    from cluster.install_unit import remove

    remove(unit_name(state))


def _remove_wall(state: Path, profile: Profile) -> None:
    if profile.wall.kind != "namespace":
        return
    from cluster.namespaces import kept_attach, remove_namespace

    attach = kept_attach(state)
    if attach is not None:
        remove_namespace(profile.wall, attach)


def _joined(state: Path) -> Profile:
    profile = Profile.load(state)
    if profile is None:
        raise CellUnconfigured("this machine has not joined: `bithive node join INVITE`")
    return profile


def _is_idle(told: Mapping[str, Any]) -> bool:
    return told["state"] == "away" and not told["attempts"]


def _wait(state: Path, timeout_s: float, until: Callable[[Mapping[str, Any]], bool]) -> None:
    for _ in _ticks(timeout_s):
        if until(ask(state, "status")):
            return
    raise WorkUnfinished("something still runs; it goes on, and nothing new is taken")


def _ended(pid: int, timeout_s: float) -> None:
    for _ in _ticks(timeout_s):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
    raise WorkUnfinished("the agent has not ended yet")


def _ticks(timeout_s: float) -> Iterator[None]:
    """At once, and again every half second until the time is up."""
    clock, pause = SystemClock(), threading.Event()
    end_s = clock.monotonic_s() + timeout_s
    while True:
        yield
        if clock.monotonic_s() >= end_s:
            return
        pause.wait(_LOOK_S)
