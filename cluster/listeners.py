"""What a network namespace holds: addresses, ways out, and sockets that listen; read from `/proc` (proc(5))."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SELF = Path("/proc/self/net")
_TCP_LISTEN, _UDP_BOUND = "0A", "07"
_TABLES = (("tcp", _TCP_LISTEN), ("tcp6", _TCP_LISTEN), ("udp", _UDP_BOUND), ("udp6", _UDP_BOUND))
_FIB_LOCAL = "/32 host LOCAL"
_LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that takes what others send: its protocol (`tcp` or `udp`), address and port."""

    protocol: str
    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets to a network go.

    Attributes
    ----------
    network
        Their destination; `0.0.0.0/0` or `::/0` is anywhere.
    interface
        The way that they take.
    """

    network: Network
    interface: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A namespace as it stands.

    Attributes
    ----------
    interfaces
        Names of all network interfaces.
    addresses
        Every address of this machine in it.
    routes
        Ways to other machines: whatever does not stay on loopback.
    listeners
        What listens.
    """

    interfaces: tuple[str, ...]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    listeners: tuple[Listener, ...]


def standing(net: Path = SELF) -> Standing:
    """How the namespace of a process stands.

    Parameters
    ----------
    net
        Its `/proc/PID/net`.
    """
    return Standing(
        tuple(_interfaces(net)), tuple(sorted(_addresses(net), key=str)), tuple(_routes(net)), listeners(net)
    )


def listeners(net: Path = SELF) -> tuple[Listener, ...]:
    """What listens in a namespace: TCP sockets in LISTEN, UDP sockets that are bound and not connected."""
    found = {item for table, state in _TABLES for item in _listening(net / table, table.rstrip("6"), state)}
    return tuple(sorted(found, key=lambda item: (item.protocol, item.port, str(item.address))))


def _listening(table: Path, protocol: str, state: str) -> Iterator[Listener]:
    for line in _lines(table)[1:]:
        fields = line.split()
        if fields[3] == state:
            address, port = fields[1].split(":")
            yield Listener(protocol, _address(address), int(port, 16))


def _address(text: str) -> Address:
    """Words of four bytes in the machine's byte order, as the kernel prints them."""
    words = [bytes.fromhex(text[place : place + 8])[::-1] for place in range(0, len(text), 8)]
    return ipaddress.ip_address(b"".join(words))


def _interfaces(net: Path) -> Iterator[str]:
    for line in _lines(net / "dev")[2:]:
        yield line.partition(":")[0].strip()


def _addresses(net: Path) -> set[Address]:
    found: set[Address] = set()
    last = ""
    for line in _lines(net / "fib_trie"):
        if "|--" in line:
            last = line.split()[-1]
        elif _FIB_LOCAL in line:
            found.add(ipaddress.IPv4Address(last))
    for line in _lines(net / "if_inet6"):
        found.add(ipaddress.IPv6Address(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0]))))
    return found


def _routes(net: Path) -> Iterator[Route]:
    for line in _lines(net / "route")[1:]:
        name, destination, *_, mask = line.split()[:8]
        if name != _LOOPBACK:
            yield Route(ipaddress.IPv4Network((int(_address(destination)), _ones(mask))), name)
    for line in _lines(net / "ipv6_route"):
        destination, length, *_, name = line.split()
        if name != _LOOPBACK:
            yield Route(ipaddress.IPv6Network((bytes.fromhex(destination), int(length, 16))), name)


def _ones(mask: str) -> int:
    return int(mask, 16).bit_count()


def _lines(path: Path) -> list[str]:
    """Of a table; none where the kernel has no such protocol."""
    try:
        return path.read_text("ascii", "replace").splitlines()
    except FileNotFoundError:
        return []
