"""How a machine that has joined is started: in this terminal, in the background, or by systemd."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import typer

from api.startup import ROOT
from api.supervise import MARK
from bithive.settings import Settings, inherited_environment
from cluster.availability import Wish
from cluster.control_socket import ask
from cluster.errors import AgentAbsent, CellUnconfigured
from cluster.install_unit import How, Unit, install, is_available
from cluster.join import namespace_name
from cluster.profile import Profile
from cluster.station import keep_wish, wish_of

LOG = Path("logs") / "node.log"
_READY_S = 20.0
_LOOK_S = 0.25


def usual() -> How:
    """Systemd where it runs and may be told, else in the background."""
    return How.UNIT if is_available() else How.DETACHED


def start(settings: Settings, how: How) -> None:
    """Start the agent of a machine that has joined. Coming back after `leave` keeps the identity."""
    state = settings.state.absolute()
    profile = Profile.load(state)
    if profile is None:
        raise CellUnconfigured("this machine has not joined: `bithive node join INVITE`")
    if is_running(state):
        typer.echo("it runs already")
        return
    if wish_of(state) in (Wish.LEAVE, Wish.DRAIN):
        keep_wish(state, Wish.RUN)
    _STARTS[how](settings, profile)


def is_running(state: Path) -> bool:
    """Whether an agent answers."""
    try:
        ask(state, "status", timeout_s=5)
    except AgentAbsent:
        return False
    return True


def unit_of(settings: Settings, profile: Profile) -> Unit:
    """The systemd unit of a state folder."""
    state, store = settings.state.absolute(), settings.models.store
    return Unit(
        name=unit_name(state),
        state=state,
        python=Path(sys.executable),
        root=ROOT,
        user=pwd.getpwuid(os.getuid()).pw_name,
        threads=profile.caps.threads,
        memory_bytes=profile.caps.memory_bytes,
        store=store and store.absolute(),
    )


def unit_name(state: Path) -> str:
    """Of the unit's file: one machine may have several state folders."""
    return f"{namespace_name(state)}.service"


def _foreground(settings: Settings, _profile: Profile) -> None:
    state = str(settings.state.absolute())
    os.putenv(MARK, state)
    sys.stdout.flush()
    command = [sys.executable, "-m", "bithive", "node", "run", "--state", state]
    os.execv(sys.executable, command)  # noqa: S606 - this very program


def _detached(settings: Settings, _profile: Profile) -> None:
    state = settings.state.absolute()
    (state / LOG).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / LOG).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "bithive", "node", "run", "--state", str(state)],
            env=inherited_environment({MARK: str(state), "PYTHONPATH": str(ROOT)}),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    if not _answers(state, child):
        tail = (state / LOG).read_text(errors="replace").splitlines()[-3:]
        typer.echo("\n".join(tail), err=True)
        raise typer.Exit(1)
    typer.echo(f"started in the background (process {child.pid}); its log is {state / LOG}")


def _answers(state: Path, child: subprocess.Popen[bytes]) -> bool:
    """Whether its control socket opens before it ends or the time is up."""
    for _ in range(round(_READY_S / _LOOK_S)):
        if is_running(state):
            return True
        try:
            child.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            continue
        return False
    return child.poll() is None


def _unit(settings: Settings, profile: Profile) -> None:
    path = install(unit_of(settings, profile))
    typer.echo(f"started by systemd, now and with the machine: {path.name}")


_STARTS = {How.FOREGROUND: _foreground, How.DETACHED: _detached, How.UNIT: _unit}
