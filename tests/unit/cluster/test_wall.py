"""What a wall must be, and what it is refused for."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from bithive.errors import BadInput
from cluster.errors import WallOpen
from cluster.listeners import Route, Standing
from cluster.wall import WallSpec, check_wall

LO = tuple(ipaddress.ip_address(text) for text in ("127.0.0.1", "::1"))
PRIVATE = WallSpec()
NAMED = WallSpec("namespace", "bithive-cell", "10.77.0.0/24", "10.77.0.2")


def stands(interfaces: tuple[str, ...], *addresses: str, routes: tuple[str, ...] = ()) -> Standing:
    ways = tuple(Route(ipaddress.ip_network(route), interfaces[-1]) for route in routes)
    return Standing(interfaces, (*LO, *map(ipaddress.ip_address, addresses)), ways, ())


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (PRIVATE, stands(("lo",))),
        (PRIVATE, stands(("lo", "sit0", "ip6tnl0"))),
        (NAMED, stands(("lo", "eth0"), "10.77.0.2")),
        (NAMED, stands(("lo", "eth0"), "10.77.0.2", "fe80::1", routes=("10.77.0.0/24", "fe80::/64", "ff00::/8"))),
    ],
)
def test_a_whole_wall_holds(spec: WallSpec, found: Standing) -> None:
    assert check_wall(spec, found) is found


@pytest.mark.parametrize(
    ("spec", "found", "words"),
    [
        (PRIVATE, stands(("lo", "eth0")), "beside lo"),
        (PRIVATE, stands(("lo",), "192.0.2.1"), "operator's network"),
        (PRIVATE, stands(("lo", "sit0"), "192.0.2.1"), "operator's network"),
        (PRIVATE, stands(("lo", "sit0"), "fe80::1"), "operator's network"),
        (PRIVATE, stands(("lo", "sit0"), routes=("10.0.0.0/8",)), "route out"),
        (NAMED, stands(("lo", "eth0"), "10.77.0.2", routes=("0.0.0.0/0",)), "route out"),
        (NAMED, stands(("lo", "eth0"), "10.77.0.2", routes=("0.0.0.0/1", "128.0.0.0/1")), "route out"),
        (NAMED, stands(("lo", "eth0"), "10.77.0.2", routes=("10.77.0.0/16",)), "route out"),
        (NAMED, stands(("lo", "eth0"), "10.77.0.2", routes=("::/0",)), "route out"),
        (NAMED, stands(("lo", "eth0"), "10.77.0.2", "192.0.2.1"), "not of the operator"),
        (NAMED, stands(("lo", "eth0"), "10.77.0.2", "2001:db8::1"), "not of the operator"),
        (NAMED, stands(("lo", "eth0"), "10.77.0.3"), "lacks its own address"),
    ],
)
def test_a_hole_is_refused(spec: WallSpec, found: Standing, words: str) -> None:
    with pytest.raises(WallOpen, match=words) as refused:
        check_wall(spec, found)
    assert refused.value.code == "wall-open"


def test_this_machine_itself_is_no_wall() -> None:
    with pytest.raises(WallOpen):
        check_wall(PRIVATE)


@pytest.mark.parametrize("spec", [PRIVATE, NAMED])
def test_it_travels_as_plain_values(spec: WallSpec) -> None:
    assert WallSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "open"},
        {"kind": "private"},
        {"name": ""},
        {"name": "../etc"},
        {"name": "a b"},
        {"name": "."},
        {"network": "10.77.0.0/33"},
        {"network": "everywhere"},
        {"address": "10.78.0.2"},
        {"address": ""},
        {"address": 7},
        {"more": ""},
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        WallSpec.from_json({**NAMED.to_json(), **changes})
