"""A home behind a router with NAT: its machines reach out, nobody reaches in. Two network namespaces of this machine."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.common.external import external

_RULES = """
table ip nat {
    chain out {
        type nat hook postrouting priority srcnat;
        oifname "wan" masquerade
    }
}
table ip filter {
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan" oifname "wan" accept
    }
}
"""


@dataclass(frozen=True, slots=True)
class Home:
    """A namespace behind a router.

    Attributes
    ----------
    name
        Of the namespace in which a contributor's machine lives.
    router
        Of the router's.
    hub_address
        Where this machine is seen from there.
    home_address, router_address
        Of the two inside and on the way; nobody outside can open a connection to them.
    """

    name: str
    router: str
    hub_address: str
    home_address: str
    router_address: str

    def command(self, command: Sequence[str]) -> list[str]:
        """A command as it is run at home."""
        return ["ip", "netns", "exec", self.name, *command]

    def cut(self) -> None:
        """Pull the cable."""
        _ip("-n", self.router, "link", "set", "wan", "down")

    def mend(self) -> None:
        """Put it back."""
        _ip("-n", self.router, "link", "set", "wan", "up")
        with suppress(subprocess.CalledProcessError):  # it may still be there
            _ip("-n", self.router, "route", "add", "default", "via", self.hub_address)


@contextmanager
def behind_nat() -> Generator[Home]:
    """A home, and the way from there to this machine; both are gone afterwards."""
    external("ip")
    external("nft")
    assert os.getuid() == 0, "namespaces of several machines are made by root"
    mark, net = secrets.token_hex(3), secrets.randbelow(200) + 20
    home = Home(f"bh-home-{mark}", f"bh-rout-{mark}", f"10.{net}.0.1", "192.168.77.2", f"10.{net}.0.2")
    outside = f"bh{mark}w"
    try:
        for name in (home.name, home.router):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", outside, "type", "veth", "peer", "name", "wan", "netns", home.router)
        _ip("address", "add", f"{home.hub_address}/24", "dev", outside)
        _ip("link", "set", outside, "up")
        _ip("-n", home.router, "address", "add", f"{home.router_address}/24", "dev", "wan")
        _ip("-n", home.router, "link", "set", "wan", "up")
        _ip("-n", home.router, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", home.name)
        _ip("-n", home.router, "address", "add", "192.168.77.1/24", "dev", "lan")
        _ip("-n", home.router, "link", "set", "lan", "up")
        _ip("-n", home.name, "address", "add", f"{home.home_address}/24", "dev", "eth0")
        _ip("-n", home.name, "link", "set", "eth0", "up")
        _ip("-n", home.name, "route", "add", "default", "via", "192.168.77.1")
        _in(home.router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        _in(home.router, "nft", _RULES)
        yield home
    finally:
        for name in (home.name, home.router):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", outside)


def _in(namespace: str, *command: str) -> None:
    _ip("netns", "exec", namespace, *command)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
