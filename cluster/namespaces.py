"""Named network namespaces for cells of several machines: made and removed as root by iproute2, a program of its own.

A namespace holds one interface into the operator's network and nothing else: a pair of virtual cables into a bridge, a
macvlan on a network card, or an interface that exists already and is moved in (WireGuard's goes on reaching its peers
from the namespace in which it was made). It has no default route, forwards nothing and listens to no router.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from bithive.errors import BadInput
from cluster.errors import WallAbsent
from cluster.private_files import read_private, write_private
from cluster.wall import WallSpec
from cluster.wall_linux import NAMED

FILE = "wall.json"
"""In a state folder: how its namespace is attached, so that it can be made again after a reboot, and removed."""

_KINDS = ("bridge", "macvlan", "move")
_INSIDE = "cell0"
_NAME_MAX = 15
_TIMEOUT_S = 30

# Written in the namespace before its interface is up; a kernel without IPv6 has no such files.
_QUIET = (
    "for f in /proc/sys/net/ipv6/conf/*/accept_ra /proc/sys/net/ipv6/conf/*/autoconf"
    " /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv4/conf/*/accept_redirects;"
    ' do [ ! -e "$f" ] || echo 0 > "$f"; done'
)


@dataclass(frozen=True, slots=True)
class Attach:
    """How a namespace gets into the operator's network.

    Attributes
    ----------
    kind
        `bridge`: a cable to the bridge of that name. `macvlan`: an address of its own on the network card of that name.
        `move`: the interface of that name itself, until the namespace is removed.
    interface
        Its name on the machine.
    """

    kind: Literal["bridge", "macvlan", "move"]
    interface: str

    def __post_init__(self) -> None:
        name = self.interface
        plain = name.translate(str.maketrans("", "", "-_.:@"))
        if self.kind not in _KINDS or not (0 < len(name) <= _NAME_MAX and plain.isascii() and plain.isalnum()):
            raise BadInput("a namespace is attached by bridge, macvlan or move, to an interface by its name")
        if name.startswith("-"):
            raise BadInput("no interface begins with a hyphen")

    def to_json(self) -> dict[str, str]:
        """A mapping of plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadInput`."""
        if not isinstance(value, dict) or set(value) != {"kind", "interface"}:
            raise BadInput("members of an attachment are missing or unknown")
        if not all(isinstance(item, str) for item in value.values()):
            raise BadInput("a member of an attachment is no text")
        return cls(**value)


def keep_attach(state: Path, attach: Attach) -> None:
    """Remember in a state folder how its namespace is attached."""
    write_private(state / FILE, json.dumps(attach.to_json()).encode())


def kept_attach(state: Path) -> Attach | None:
    """How a state folder's namespace is attached; None for a private wall. Raises `BadInput`, `BadSettings`."""
    content = read_private(state / FILE)
    if content is None:
        return None
    try:
        return Attach.from_json(json.loads(content))
    except (ValueError, RecursionError):
        raise BadInput(f"{FILE} is no JSON") from None


def make_namespace(spec: WallSpec, attach: Attach) -> None:
    """Make the namespace that a wall names, or what is missing of it. For root; may be repeated.

    Parameters
    ----------
    spec
        Of kind `namespace`.
    attach
        How it gets into the operator's network.

    Raises
    ------
    WallAbsent
        Without root or iproute2, or when there is no such interface; nothing is left of what was begun.
    """
    assert spec.kind == "namespace", "a private wall is made by whoever stands behind it"
    if os.geteuid() != 0:
        raise WallAbsent("only root can make a named namespace; run this command once with sudo")
    begun = not (NAMED / spec.name).exists()
    if begun:
        _ip("netns", "add", spec.name)
    try:
        _furnish(spec, attach)
    except WallAbsent:
        if begun:
            remove_namespace(spec, attach)
        raise


def make_kept(state: Path) -> bool:
    """Make the namespace of a state folder as it was made first, for a unit after a reboot; whether it has one.

    Raises
    ------
    BadInput, BadProfile, WallAbsent
        As those who read its files, and `make_namespace`.
    """
    from cluster.profile import Profile

    attach, profile = kept_attach(state), Profile.load(state)
    if attach is None or profile is None or profile.wall.kind != "namespace":
        return False
    if (state / FILE).lstat().st_uid != 0:
        raise WallAbsent(f"{FILE} is not root's: whoever wrote it may not say what root does to interfaces")
    make_namespace(profile.wall, attach)
    return True


def remove_namespace(spec: WallSpec, attach: Attach) -> None:
    """Remove it; a moved interface goes back to the machine. For root; nothing happens when it is gone.

    Raises
    ------
    WallAbsent
        Without root or iproute2, or iproute2 declines.
    """
    assert spec.kind == "namespace", "a private wall ends with whoever stands behind it"
    if not (NAMED / spec.name).exists():
        return
    if attach.kind == "move" and _there(attach.interface, spec.name):
        _ip("-n", spec.name, "link", "set", "dev", attach.interface, "netns", str(os.getpid()))
    elif _there(_INSIDE, spec.name):
        _ip("-n", spec.name, "link", "del", "dev", _INSIDE)
    _ip("netns", "del", spec.name)


def _furnish(spec: WallSpec, attach: Attach) -> None:
    inside = attach.interface if attach.kind == "move" else _INSIDE
    if not _there(inside, spec.name):
        if not _there(attach.interface):
            raise WallAbsent(f"this machine has no interface {attach.interface}")
        _ATTACH[attach.kind](spec, attach.interface)
    _ip("netns", "exec", spec.name, "sh", "-c", _QUIET)
    length = ipaddress.ip_network(spec.network).prefixlen
    _ip("-n", spec.name, "link", "set", "dev", "lo", "up")
    _ip("-n", spec.name, "addr", "replace", f"{spec.address}/{length}", "dev", inside)
    _ip("-n", spec.name, "link", "set", "dev", inside, "up")
    for family in ("-4", "-6"):
        _ip(family, "-n", spec.name, "route", "flush", "default")


def _bridge(spec: WallSpec, bridge: str) -> None:
    outside = "bh" + hashlib.sha256(spec.name.encode()).hexdigest()[: _NAME_MAX - 2]
    _ip("link", "add", "dev", outside, "type", "veth", "peer", "name", _INSIDE, "netns", spec.name)
    _ip("link", "set", "dev", outside, "master", bridge)
    _ip("link", "set", "dev", outside, "up")


def _macvlan(spec: WallSpec, card: str) -> None:
    _ip("link", "add", "link", card, "dev", _INSIDE, "netns", spec.name, "type", "macvlan", "mode", "bridge")


def _move(spec: WallSpec, interface: str) -> None:
    _ip("link", "set", "dev", interface, "netns", spec.name)


_ATTACH: dict[str, Callable[[WallSpec, str], None]] = {"bridge": _bridge, "macvlan": _macvlan, "move": _move}


def _there(interface: str, namespace: str = "") -> bool:
    where = ("-n", namespace) if namespace else ()
    return _run((*where, "link", "show", "dev", interface)).returncode == 0


def _ip(*words: str) -> None:
    ended = _run(words)
    if ended.returncode:
        raise WallAbsent(f"ip {' '.join(words[:6])} declined: {ended.stderr.strip()[:200]}")


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    program = shutil.which("ip")
    if program is None:
        raise WallAbsent("iproute2 is not installed: the program `ip` makes named namespaces")
    return subprocess.run((program, *words), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)


if __name__ == "__main__":  # `ExecStartPre=+` of a unit: as root, before the agent
    make_kept(Path(sys.argv[1]))
