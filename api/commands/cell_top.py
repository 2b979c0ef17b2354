"""`bithive cell top`: the machine's part of its cell as it works, in a terminal.

Everything comes from the agent's control socket and from the machine itself; the screen is made by one pure function
from both, so that a test can read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bithive.clock import as_utc
from bithive.settings import load
from cluster.caps import Caps
from cluster.control_socket import ask
from cluster.errors import AgentAbsent, BadMessage
from cluster.timetable import Timetable

PERIOD_S = 1.0
STYLES: Mapping[str, str] = {"up": "green", "paused": "yellow", "draining": "yellow", "away": "dim", "down": "red"}
WHY: Mapping[str, str] = {
    "asked": "its contributor said so",
    "timetable": "by its timetable",
    "in-use": "somebody uses the machine",
    "changed": "starts anew with changed bounds",
}
"""Reasons of `cluster.availability`, in words."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine tells of itself.

    Attributes
    ----------
    cpu_share, memory_share
        Used by everything on it, 0 to 1.
    load
        Processes that run or wait, averaged over a minute.
    temperature_c
        Of its hottest sensor, in degrees Celsius; None where none can be read.
    """

    cpu_share: float
    memory_share: float
    load: float
    temperature_c: float | None


def look() -> Machine:
    """The machine now; processor time since the last look."""
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    warm = [reading.current for readings in sensors.values() for reading in readings if reading.current > 0]
    share = psutil.cpu_percent(interval=None) / 100
    return Machine(share, psutil.virtual_memory().percent / 100, os.getloadavg()[0], max(warm, default=None))


def top(
    state: Annotated[Path | None, typer.Option(help="State folder of the machine.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, once.")] = False,
) -> None:
    """Watch this machine's nodes, slots and Attempts, its load and its bounds."""
    folder = (state or load().state).absolute()
    look()
    if as_json:
        typer.echo(json.dumps({**ask(folder, "status"), "machine": asdict(look())}))
        return
    console = Console()
    if once:
        console.print(screen(ask(folder, "status"), look(), console.width))
        return
    _watch(folder, console)


def _watch(folder: Path, console: Console) -> None:
    """Draw it again and again until Ctrl-C. An agent that is down is waited for."""
    pause = Event()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(_now(folder, console.width), refresh=True)
                pause.wait(PERIOD_S)
        except KeyboardInterrupt:
            return


def _now(folder: Path, width: int) -> RenderableType:
    try:
        return screen(ask(folder, "status"), look(), width)
    except AgentAbsent:
        return absent(folder, look())


def screen(status: Mapping[str, Any], machine: Machine, width: int = 100) -> RenderableType:
    """The whole screen.

    Parameters
    ----------
    status
        What the agent answered to `status`.
    machine
        The machine now.
    width
        Columns of the terminal.

    Raises
    ------
    BadMessage
        If the status is not as an agent of this version gives it.
    """
    try:
        parts = [_head(status), _gauges(machine), _bounds(status), _nodes(status, width), _attempts(status, width)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadMessage("the agent's status cannot be read") from error
    return Group(*parts)


def absent(folder: Path, machine: Machine) -> RenderableType:
    """What is shown while no agent runs."""
    said = Text.assemble(("no agent runs on ", "red"), str(folder), ("  start it: bithive node run", "dim"))
    return Group(Panel(said, title="BitHive cell", title_align="left", border_style="red"), _gauges(machine))


def _head(status: Mapping[str, Any]) -> Panel:
    now_ms, state = int(status["now_ms"]), str(status["state"])
    style = STYLES.get(state, "white")
    why = WHY.get(str(status["why"]), "")
    until = f" until {as_utc(int(status['until_ms'])):%a %H:%M} UTC" if status.get("until_ms") else ""
    joined = ("connected", "green") if status["connected"] else ("not connected", "red")
    lines = [
        Text.assemble((state, f"bold {style}"), f"  {why}{until}"),
        Text.assemble(
            joined,
            f" to {status['hub_url'] or 'no hub'}  protocol {status['protocol'] or '-'}  ",
            (f"running for {_span(now_ms - int(status['started_ms']))}", "dim"),
        ),
    ]
    place = "  ".join(str(status[name]) for name in ("operator", "role", "tier", "residency") if status[name])
    cell = str(status["cell"])[-6:]
    title = f"BitHive cell {'…' + cell if cell else ''} {place}"
    return Panel(Group(*lines), title=Text(title), title_align="left", border_style=style)


def _gauges(machine: Machine) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("processor", _bar(machine.cpu_share), f"{machine.cpu_share:.0%}", f"load {machine.load:.1f}")
    heat = "" if machine.temperature_c is None else f"{machine.temperature_c:.0f} °C"
    table.add_row("memory", _bar(machine.memory_share), f"{machine.memory_share:.0%}", heat)
    return table


def _bounds(status: Mapping[str, Any]) -> Table:
    caps, timetable = Caps.from_json(status["caps"]), Timetable.from_json(status["timetable"])
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("lends", "dim"), Text(", ".join(caps.words())))
    hours = f"{timetable.words()} ({timetable.zone})" if timetable.windows else "always"
    table.add_row(Text("hours", "dim"), Text(hours))
    use = status["use"]
    others = f"others use {float(use['others_share']):.0%} of the processors"
    waits = f", work waits {float(use['pressure_share']):.0%} of the time"
    table.add_row(Text("in use", "dim"), Text(f"{others}{waits}" + (f" ({use['why']})" if use["why"] else "")))
    return table


def _nodes(status: Mapping[str, Any], width: int) -> RenderableType:
    table = Table(title="Nodes", title_justify="left", expand=True)
    for heading in ("node", "state", "slots", ""):
        table.add_column(heading, no_wrap=True)
    for node in status["nodes"]:
        busy, slots = int(node["busy"]), int(node["slots"])
        state = str(node["state"])
        table.add_row(
            Text(_id(str(node["node"]), width)),
            Text(state, STYLES.get(state, "white")),
            f"{busy}/{slots}",
            _bar(busy / slots if slots else 0.0),
        )
    return table if status["nodes"] else Text("No node has been named by the network side yet.", "dim")


def _attempts(status: Mapping[str, Any], width: int) -> RenderableType:
    if not status["attempts"]:
        return Text("Nothing is being computed at this moment.", "dim")
    table = Table(title="Under way", title_justify="left", expand=True)
    for heading in ("attempt", "bundle", "node", "stage", "", "for"):
        table.add_column(heading, no_wrap=True)
    now_ms = int(status["now_ms"])
    for attempt in sorted(status["attempts"], key=lambda item: int(item["begun_ms"])):
        fraction = float(attempt["fraction"])
        table.add_row(
            Text(_id(str(attempt["attempt_id"]), width)),
            Text(str(attempt["bundle"])),
            Text(str(attempt["node"])[-6:]),
            Text(str(attempt["stage"])),
            _bar(fraction),
            _span(now_ms - int(attempt["begun_ms"])),
        )
    return table


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(max(share, 0.0), 1.0), width=20)


def _id(text: str, width: int) -> str:
    return text if width >= 140 else f"…{text[-6:]}"


def _span(duration_ms: int) -> str:
    seconds = max(duration_ms, 0) / 1000
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
