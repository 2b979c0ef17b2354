"""Several machines on one: named network namespaces on a bridge, and looks from one into another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.namespaces import Attach, make_namespace, remove_namespace
from cluster.wall import WallSpec

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces are made by root with iproute2"
)

_NOBODY = 9
_REACH = """
import json, socket, sys
places, nobody, found = json.loads(sys.argv[1]), int(sys.argv[2]), []
def takes(host, port):
    try:
        socket.create_connection((host, port), 0.5).close()
    except OSError:
        return False
    return True
answered_by_anybody = {host for host in {place[0] for place in places} if takes(host, nobody)}
print(json.dumps([place for place in places if place[0] not in answered_by_anybody and takes(*place)]))
"""


@dataclass
class Bridge:
    """An operator's network on this machine: a bridge without an address, so that the machine itself is not in it.

    Attributes
    ----------
    name
        Of the bridge.
    network
        First two numbers and the third of its addresses: `10.77.3` is 10.77.3.0/24.
    """

    name: str
    network: str
    _made: list[WallSpec] = field(default_factory=list)

    @property
    def attach(self) -> Attach:
        return Attach("bridge", self.name)

    def spec(self, number: int) -> WallSpec:
        """The wall of a machine of this network; nothing is made yet."""
        return WallSpec("namespace", f"{self.name}-{number}", f"{self.network}.0/24", f"{self.network}.{number}")

    def machine(self, number: int) -> WallSpec:
        """A machine in the network, with that number in its address."""
        spec = self.spec(number)
        make_namespace(spec, self.attach)
        self._made.append(spec)
        return spec

    def cut(self, spec: WallSpec, *, up: bool = False) -> None:
        """Pull a machine's cable, or put it in again."""
        ip("-n", spec.name, "link", "set", "dev", "cell0", "up" if up else "down")

    def close(self) -> None:
        for spec in self._made:
            remove_namespace(spec, self.attach)
        with suppress(subprocess.CalledProcessError):
            ip("link", "del", "dev", self.name)


@contextmanager
def bridge(third: int) -> Generator[Bridge]:
    """A network of an operator; `third` (1 to 250) tells several at once apart."""
    made = Bridge(f"bht{os.getpid() % 100_000}x{third}", f"10.77.{third}")
    ip("link", "add", "dev", made.name, "type", "bridge")
    ip("link", "set", "dev", made.name, "up")
    try:
        yield made
    finally:
        made.close()


def ip(*words: str) -> str:
    """Run iproute2; what it printed."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout


def inside(namespace: str, *command: str) -> list[str]:
    """A command line that runs in a named namespace."""
    return ["ip", "netns", "exec", namespace, *command]


def reachable(places: Sequence[tuple[str, int]], namespace: str = "") -> list[tuple[str, int]]:
    """Those of the TCP places to which a connection can be made, from here or from a named namespace.

    Where a proxy on the way out answers for every host and port, as on some build machines, that is nobody's answer.
    """
    command = [sys.executable, "-c", _REACH, json.dumps(list(places)), str(_NOBODY)]
    where = inside(namespace, *command) if namespace else command
    ended = subprocess.run(where, check=True, capture_output=True, text=True, timeout=30 + len(places))
    return [(host, port) for host, port in json.loads(ended.stdout)]


def net_of(pid: int) -> Path:
    """Tables of the namespace of a process, for `cluster.listeners`."""
    return Path(f"/proc/{pid}/net")


behind_nat = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("nft") is None,
    reason="a one-way network is made by root with iproute2 and nft",
)

_ONE_WAY = (
    "add table ip oneway; add chain ip oneway in { type filter hook input priority 0; };"
    " add rule ip oneway in iifname nat0 tcp flags & (syn | ack) == syn drop;"
    " add rule ip oneway in iifname nat0 meta l4proto != tcp drop"
)


@contextmanager
def outbound_only(third: int) -> Generator[str]:
    """A namespace that reaches this machine at `10.78.THIRD.1`, and in which nobody can begin a connection from outside.

    As behind an address-translating router: what begins outside is dropped, what answers comes through.
    """
    name, outside = f"bhn{os.getpid() % 100_000}x{third}", f"bho{os.getpid() % 100_000}x{third}"
    ip("netns", "add", name)
    try:
        ip("link", "add", "dev", outside, "type", "veth", "peer", "name", "nat0", "netns", name)
        ip("addr", "add", f"10.78.{third}.1/24", "dev", outside)
        ip("link", "set", "dev", outside, "up")
        ip("-n", name, "addr", "add", f"10.78.{third}.2/24", "dev", "nat0")
        ip("-n", name, "link", "set", "dev", "nat0", "up")
        ip("-n", name, "link", "set", "dev", "lo", "up")
        subprocess.run(inside(name, "nft", _ONE_WAY), check=True, capture_output=True, timeout=30)
        yield name
    finally:
        ip("netns", "del", name)
