"""`bithive cell top` over a real control socket."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from api.commands.cell_top import Machine, absent, look, screen, top
from cluster.caps import Caps
from cluster.control_socket import ControlServer
from cluster.errors import AgentAbsent, BadMessage
from cluster.timetable import Timetable

NOW_MS = 1_800_000_000_000
NODE, ATTEMPT = "nod_" + "0" * 25 + "7", "att_" + "0" * 25 + "9"
MACHINE = Machine(0.47, 0.25, 1.5, 61.0)
STATUS = {
    "version": "0.1.0",
    "pid": 1,
    "started_ms": NOW_MS - 7_000_000,
    "now_ms": NOW_MS,
    "role": "single",
    "operator": "jane",
    "tier": "home",
    "residency": "DE",
    "hub_url": "https://hub.example",
    "slots": 2,
    "wish": "run",
    "state": "paused",
    "why": "in-use",
    "until_ms": NOW_MS + 900_000,
    "caps": Caps(threads=4, memory_bytes=8 << 30).to_json(),
    "timetable": Timetable.parse("mon-fri 18:00-08:00", "UTC").to_json(),
    "use": {"why": "keyboard", "others_share": 0.31, "pressure_share": 0.02, "input_idle_s": 3.0},
    "cell": "cel_" + "0" * 26,
    "connected": True,
    "protocol": 2,
    "nodes": [{"node": NODE, "state": "up", "slots": 2, "busy": 1}],
    "attempts": [
        {
            "attempt_id": ATTEMPT,
            "bundle": "intracranial_t1",
            "node": NODE,
            "stage": "segmenting",
            "fraction": 0.4,
            "begun_ms": NOW_MS - 12_000,
        }
    ],
}


def drawn(renderable, width=100):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(renderable)
    return out.getvalue()


@pytest.fixture
def agent(tmp_path):
    server = ControlServer(tmp_path, {"status": lambda _request: STATUS})
    server.start()
    yield tmp_path
    server.close()


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(top)
    return lambda *arguments: CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100"})


def test_it_says_what_a_contributor_asks_first():
    said = drawn(screen(STATUS, MACHINE))
    for words in ("paused", "somebody uses the machine", "until Fri 08:15 UTC", "connected", "protocol 2", "117 min"):
        assert words in said
    for words in (
        "47%",
        "61 °C",
        "load 1.5",
        "4 threads",
        "8.0 GiB",
        "mon-fri 18:00-08:00",
        "others use 31%",
        "keyboard",
    ):
        assert words in said
    for words in ("…000007", "1/2", "intracranial_t1", "segmenting", "12 s"):
        assert words in said
    assert NODE not in said
    assert NODE in drawn(screen(STATUS, MACHINE, 160), 160)


def test_an_idle_machine_and_one_that_never_connected():
    said = drawn(screen({**STATUS, "nodes": [], "attempts": [], "connected": False, "cell": ""}, MACHINE))
    assert "not connected" in said
    assert "No node has been named" in said
    assert "Nothing is being computed" in said
    assert "°C" not in drawn(screen(STATUS, replace(MACHINE, temperature_c=None)))


def test_words_of_an_agent_are_never_markup():
    said = drawn(screen({**STATUS, "operator": "[red]x[/red]"}, MACHINE))
    assert "[red]x[/red]" in said


@pytest.mark.parametrize("member", [*STATUS])
def test_a_status_that_lacks_anything_needed_is_refused(member):
    lacking = {name: value for name, value in STATUS.items() if name != member}
    if member in {"version", "pid", "slots", "wish", "until_ms"}:
        drawn(screen(lacking, MACHINE))
    else:
        with pytest.raises(BadMessage):
            screen(lacking, MACHINE)


@pytest.mark.parametrize("change", [{"nodes": 3}, {"attempts": [{}]}, {"now_ms": "soon"}, {"use": None}])
def test_a_status_of_another_kind_is_refused(change):
    with pytest.raises(BadMessage):
        screen({**STATUS, **change}, MACHINE)


def test_once_and_json(agent, run):
    shown = run("--once", "--state", str(agent))
    assert shown.exit_code == 0, shown.output
    assert "somebody uses the machine" in shown.output
    told = json.loads(run("--json", "--state", str(agent)).output)
    assert told["nodes"] == STATUS["nodes"]
    assert 0 <= told["machine"]["memory_share"] <= 1


def test_without_an_agent_it_says_so(tmp_path, run):
    ended = run("--once", "--state", str(tmp_path))
    assert isinstance(ended.exception, AgentAbsent)
    assert "no agent runs" in drawn(absent(tmp_path, MACHINE))


def test_a_machine_can_be_looked_at():
    seen = look()
    assert 0 <= seen.cpu_share <= 1
    assert seen.load >= 0


def test_live_in_a_terminal_until_control_c(agent):
    ours, theirs = pty.openpty()
    # Whatever started the tests may have Control-C ignored, and its children with it.
    program = (
        "import signal, typer; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from api.commands.cell_top import top; typer.run(top)"
    )
    command = [sys.executable, "-c", program, "--state", str(agent)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    said = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the terminal's other end is closed
            while piece := os.read(ours, 65536):
                said.extend(piece)

    reading = threading.Thread(target=read)
    reading.start()
    deadline = time.monotonic() + 20
    while b"Under way" not in said and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    reading.join(10)
    os.close(ours)
    assert b"Under way" in said
