"""Raising the wall on Linux: `unshare(2)`, `setns(2)`, `user_namespaces(7)`.

Before anything else: while the process has one thread, and before Ray is imported. Without privileges a user namespace of
the same user is made around the network namespace; nothing else of the process changes by it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import ipaddress
import json
import os
import socket
import struct
from pathlib import Path
from typing import NoReturn

from bithive.errors import BitHiveError
from cluster.errors import WallAbsent, WallOpen
from cluster.listeners import Route, Standing
from cluster.wall import WallSpec, check_wall

NAMED = Path("/run/netns")
"""Where `ip netns` keeps named namespaces (ip-netns(8))."""

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_CAP_SYS_ADMIN = 21
_CAPABILITY_VERSION_3 = 0x20080522
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_STANDS = "stands"
_HINT = (
    "this machine lets nobody make user namespaces: allow them (user.max_user_namespaces, "
    "kernel.apparmor_restrict_unprivileged_userns), or run the unit that `bithive node join` writes, which has the right"
)


def raise_wall(spec: WallSpec) -> None:
    """Enter the namespace; what this process starts from now on is inside too.

    What the process may do beyond its user's rights is given up once inside, unless the user is root.

    Raises
    ------
    WallAbsent
        The kernel does not allow it, the named namespace is not there, or a thread runs that would stay outside.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise WallAbsent("other threads run already, and would stay outside; this is a fault of BitHive's")
    (_enter if spec.kind == "namespace" else _make)(spec)
    if os.geteuid() != 0:
        _drop_capabilities()


def try_wall(spec: WallSpec) -> Standing:
    """Raise a wall in a process that ends at once, and say how it stands: what this machine can, without changing it.

    Raises
    ------
    WallAbsent, WallOpen
        As `raise_wall` and `check_wall` in the process that is to stay there.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _try(spec, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        kind, _, told = pipe.read().decode("utf-8", "replace").partition("\n")
    os.waitpid(child, 0)
    if kind != _STANDS:
        raise {WallOpen.code: WallOpen}.get(kind, WallAbsent)(told or "the process that tried ended without a word")
    value = json.loads(told)
    addresses = tuple(ipaddress.ip_address(text) for text in value["addresses"])
    routes = tuple(Route(ipaddress.ip_network(network), name) for network, name in value["routes"])
    return Standing(tuple(value["interfaces"]), addresses, routes, ())


def _try(spec: WallSpec, write: int) -> NoReturn:
    """In a fork of a process that may have threads: nothing here takes a lock that one of them may hold."""
    try:
        (_enter if spec.kind == "namespace" else _make)(spec)
        found = check_wall(spec)
        told = {
            "interfaces": found.interfaces,
            "addresses": [str(address) for address in found.addresses],
            "routes": [[str(route.network), route.interface] for route in found.routes],
        }
        os.write(write, f"{_STANDS}\n{json.dumps(told)}".encode())
    except BitHiveError as error:
        os.write(write, f"{error.code}\n{error.detail}".encode())
    finally:
        os._exit(0)


def _make(_spec: WallSpec) -> None:
    try:
        if _may_administer():
            _unshare(_CLONE_NEWNET)
        else:
            _unshare_as_oneself()
        _loopback_up()
    except OSError as error:
        hint = _HINT if error.errno in (errno.EPERM, errno.ENOSPC, errno.EACCES) else os.strerror(error.errno or 0)
        raise WallAbsent(hint) from None


def _enter(spec: WallSpec) -> None:
    path = NAMED / spec.name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise WallAbsent(f"the namespace {spec.name} is gone: `bithive cell init` and `node join` make it") from None
    try:
        _check(_libc().setns(descriptor, _CLONE_NEWNET))
    except OSError as error:
        raise WallAbsent(f"the namespace {spec.name} cannot be entered: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _unshare_as_oneself() -> None:
    """A user namespace in which this very user is the only one: who one is, outside and inside, stays the same."""
    user, group = os.geteuid(), os.getegid()
    _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _may_administer() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_SYS_ADMIN & 1)


def _drop_capabilities() -> None:
    """Rights that a unit gave for the raising of the wall alone, or that came with the user namespace (capset(2))."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc().prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _check(_libc().capset(header, bytes(24)))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _unshare(flags: int) -> None:
    _check(_libc().unshare(flags))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
