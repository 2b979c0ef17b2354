"""Contributed machines as their contributors run them: joined by the commands, each a process family that tests may kill.

Two cells of one hub: a home of one machine behind a router with NAT, and an operator's cell of a head and a member, each
behind a wall of its own on the operator's bridge.
"""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.common.behind_nat import Home, behind_nat
from tests.common.external import external
from tests.common.hub import ROOT, Hub, environment
from tests.common.self_signed import self_signed
from tests.common.servers import wait_until

READY_S = 240.0


class Machine:
    """One machine of a cell.

    Parameters
    ----------
    state
        Its folder.
    before
        What a command on it is run under, such as `ip netns exec NAME`.
    extra
        Further variables of its environment.
    """

    def __init__(self, state: Path, before: Sequence[str] = (), **extra: str) -> None:
        self.state, self._before = state, tuple(before)
        self.environment = environment(state, **extra)
        self.process: subprocess.Popen[bytes] | None = None

    def bithive(self, *words: str) -> str:
        """A command on this machine; what it printed."""
        command = [*self._before, sys.executable, "-m", "bithive", *words]
        ran = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180
        )
        assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def start(self) -> None:
        """Run it, as its unit does."""
        with (self.state / "cell.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._before, sys.executable, "-m", "bithive", "node", "run", "--state", str(self.state)],
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        """What it has logged so far."""
        return (self.state / "cell.log").read_text()

    def wait_for(self, event: str, since: int = 0, timeout_s: float = READY_S) -> None:
        """Until it has logged an event after a place in its log."""
        wait_until(lambda: f'"{event}"' in self.log()[since:], timeout_s, self.process)

    def family(self) -> list[psutil.Process]:
        """The agent and everything that it has started; empty when it is dead."""
        if self.process is None or self.process.poll() is not None:
            return []
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def find(self, kind: str) -> psutil.Process:
        """One of its processes by kind: a key of `KINDS`."""
        for process in self.family():
            with suppress(psutil.Error):
                if KINDS[kind] in f"{process.name()} {' '.join(process.cmdline())}":
                    return process
        raise AssertionError(f"no {kind} in {[process.name() for process in self.family()]}")

    def kill(self, kind: str) -> None:
        """SIGKILL to one of them; the agent is started again, as its unit does."""
        if kind == "agent":
            assert self.process is not None
            everybody = self.family()
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(20)
            psutil.wait_procs(everybody, timeout=20)
            self.start()
        else:
            self.find(kind).kill()

    def stop(self) -> None:
        """End it as its unit does; then make sure of everybody."""
        everybody = self.family()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(40)
        for process in everybody:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(everybody, timeout=10)


KINDS = {
    "replica": "ray::ServeReplica",
    "bundle process": "cluster.bundle_child",
    "raylet": "raylet/raylet",
    "gcs": "gcs_server",
    "dialler": "cluster.dialler",
}
"""By what a process is known."""


@dataclass(frozen=True, slots=True)
class Network:
    """A hub and two cells of its institution: `home` behind NAT, `head` and `member` of one operator."""

    hub: Hub
    way: Home
    home: Machine
    head: Machine
    member: Machine

    @property
    def machines(self) -> tuple[Machine, ...]:
        return (self.home, self.head, self.member)


def invite(hub: Hub, name: str, *more: str) -> str:
    """The line with which a machine joins a hub."""
    command = [sys.executable, "-m", "bithive", "account", "invite", "--cell", name, *more]
    made = subprocess.run(command, env=hub.environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return next(line for line in reversed(made.stdout.split()) if len(line) > 80)


@contextmanager
def bridge() -> Generator[str]:
    """An operator's network: a bridge that this machine itself has no address on."""
    external("ip")
    name = f"bhbr{secrets.token_hex(3)}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False)


@contextmanager
def network(folder: Path, **settings: str) -> Generator[Network]:
    """Everything started and ready; everything gone afterwards."""
    with ExitStack() as ending:
        way = ending.enter_context(behind_nat())
        certificate, key = self_signed(folder / "tls", way.hub_address)
        hub = Hub(
            folder / "hub",
            BITHIVE_HTTP__HOST=way.hub_address,
            BITHIVE_HTTP__TLS_CERTIFICATE=str(certificate),
            BITHIVE_HTTP__TLS_KEY=str(key),
            BITHIVE_MODE="production",
            **settings,
        )
        hub.url = f"https://{way.hub_address}:{hub.port}"
        hub.environment["BITHIVE_HTTP__PUBLIC_URL"] = hub.url
        hub.authority = certificate
        hub.start()
        ending.callback(hub.stop)
        own = ("--institution", "own", "--tier", "hospital", "--residency", "DE", "--data-class-max", "P3")
        joining = ("--tier", "hospital", "--residency", "DE", "--data-class-max", "P3", "--no-benchmark", "--no-start")
        home = Machine(folder / "home", way.command([]))
        home.bithive("node", "join", invite(hub, "home", *own), "--yes", "--state", str(home.state), *joining)
        wire = ending.enter_context(bridge())
        net = f"10.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
        head, member = Machine(folder / "head"), Machine(folder / "member")
        place = ("--network", f"{net}.0/24", "--address", f"{net}.1", "--interface", wire, "--attach", "bridge")
        line = invite(hub, "rack", *own)
        head.bithive("cell", "init", line, "--yes", "--state", str(head.state), *joining, *place)
        _join(head, member, net, wire, joining)
        for machine in (home, head, member):
            machine.start()
            ending.callback(_uninstall, machine)
            ending.callback(machine.stop)
        for machine in (home, head):
            machine.wait_for("cell.connected")
        yield Network(hub, way, home, head, member)


def _join(head: Machine, member: Machine, net: str, wire: str, joining: Sequence[str]) -> None:
    """A further machine: one line and the code that opens it, by the commands."""
    command = ["cell", "invite", "--state", str(head.state), "--address", f"{net}.2"]
    made = subprocess.run(
        [sys.executable, "-m", "bithive", *command], env=head.environment, cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    line, code = made.stdout.strip(), made.stderr.split("code:")[1].split()[0]
    place = ("--address", f"{net}.2", "--interface", wire, "--attach", "bridge")
    member.bithive("node", "join", line, "--code", code, "--yes", "--state", str(member.state), *joining, *place)


def _uninstall(machine: Machine) -> None:
    with suppress(AssertionError, subprocess.TimeoutExpired):
        machine.bithive("node", "uninstall", "--yes", "--state", str(machine.state))


def reckoning(hub: Hub) -> dict[str, object]:
    """Every Lease and what became of it, read from the databases: nothing lost, nothing doubled, nothing left over.

    Raises
    ------
    AssertionError
        An Offer has two accepted Attempts or two charges, or an accepted one none; a Lease is neither live nor ended.
    """
    with _reading(hub.state / "network.db") as connection:
        attempts = connection.execute("SELECT attempt_id, offer_id, state, ended_ms, receipt FROM attempts").fetchall()
    accepted = [row for row in attempts if row[2] == "ACCEPTED"]
    assert len({row[1] for row in accepted}) == len(accepted), "an Offer was accepted twice"
    assert all(row[4] for row in accepted), "an accepted Attempt has a Receipt"
    assert all(row[3] > 0 for row in attempts if row[2] not in ("LEASED", "RUNNING")), "what ended has an end"
    with _reading(hub.state / "ledger.db") as connection:
        (charged,) = connection.execute("SELECT count(*) FROM entry WHERE kind LIKE 'charge.settled%'").fetchone()
    return {"attempts": dict(Counter(row[2] for row in attempts)), "accepted": len(accepted), "charged": charged}


@contextmanager
def _reading(database: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


def told(environment: Mapping[str, str], *words: str) -> str:
    """What a command of a hub prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "bithive", *words], env=dict(environment), cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def is_root() -> bool:
    """Namespaces of several machines are made by root."""
    return os.getuid() == 0
