"""Named namespaces: made twice, removed twice, reached by their own network and by nobody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bithive.errors import BadInput, BadSettings
from bithive.settings import Settings
from cluster.errors import WallAbsent, WallOpen
from cluster.namespaces import Attach, keep_attach, kept_attach, make_namespace, remove_namespace
from cluster.profile import Profile, Role
from cluster.wall import WallSpec
from cluster.wall_linux import NAMED, try_wall
from tests.common.hub import ROOT
from tests.common.namespaces import Bridge, as_root, behind_nat, bridge, inside, ip, outbound_only, reachable

_LISTEN = """
import socket
with socket.create_server(("0.0.0.0", 4444)):
    print("listens", flush=True)
    input()
"""


@pytest.fixture
def network() -> Generator[Bridge]:
    with bridge(1) as made:
        yield made


def links() -> set[str]:
    return {line.split(": ")[1].partition("@")[0] for line in ip("-o", "link").splitlines()}


@as_root
def test_it_holds_the_operators_network_alone(network: Bridge) -> None:
    spec = network.machine(2)
    found = try_wall(spec)
    assert set(found.interfaces) == {"lo", "cell0"}
    assert {str(route.network) for route in found.routes if route.network.version == 4} == {"10.77.1.0/24"}


@as_root
def test_twice_is_once_and_removed_leaves_nothing(network: Bridge) -> None:
    before = links()
    spec = network.spec(2)
    for _ in range(2):
        make_namespace(spec, network.attach)
        try_wall(spec)
    assert len(links() - before) == 1
    for _ in range(2):
        remove_namespace(spec, network.attach)
    assert links() == before
    assert not (NAMED / spec.name).exists()


@as_root
def test_what_was_begun_and_killed_is_finished(network: Bridge) -> None:
    spec = network.spec(2)
    ip("netns", "add", spec.name)
    network.machine(2)
    try_wall(spec)


@as_root
def test_a_default_route_that_came_later_is_refused_and_mended(network: Bridge) -> None:
    spec = network.machine(2)
    ip("-n", spec.name, "route", "add", "default", "via", "10.77.1.1")
    with pytest.raises(WallOpen, match="route out"):
        try_wall(spec)
    make_namespace(spec, network.attach)
    try_wall(spec)


@as_root
def test_an_interface_that_was_put_in_later_is_refused(network: Bridge) -> None:
    spec = network.machine(2)
    ip("-n", spec.name, "link", "add", "dev", "in0", "type", "veth", "peer", "name", "in1")
    ip("-n", spec.name, "addr", "add", "192.0.2.7/24", "dev", "in0")
    with pytest.raises(WallOpen, match="not of the operator"):
        try_wall(spec)


@as_root
def test_machines_of_one_network_reach_each_other_and_nobody_else_does(network: Bridge) -> None:
    spec, other = network.machine(2), network.machine(3)
    with bridge(2) as another:
        stranger = another.machine(3)
        listening = subprocess.Popen(
            inside(spec.name, sys.executable, "-c", _LISTEN), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with listening:
            assert listening.stdin is not None
            assert listening.stdout is not None
            assert listening.stdout.readline() == b"listens\n"
            place = (spec.address, 4444)
            assert reachable([place], other.name) == [place]
            assert reachable([place], stranger.name) == []
            assert reachable([place]) == []
            listening.kill()


@as_root
def test_a_moved_interface_comes_back(network: Bridge) -> None:
    name = f"bhm{os.getpid() % 100_000}"
    ip("link", "add", "dev", name, "type", "veth", "peer", "name", f"{name}p")
    spec, attach = WallSpec("namespace", name, "10.79.0.0/24", "10.79.0.2"), Attach("move", name)
    try:
        for _ in range(2):
            make_namespace(spec, attach)
            try_wall(spec)
        assert name not in links()
        remove_namespace(spec, attach)
        assert name in links()
    finally:
        remove_namespace(spec, attach)
        ip("link", "del", "dev", name)


@as_root
def test_a_macvlan_has_an_address_of_its_own() -> None:
    name = f"bhv{os.getpid() % 100_000}"
    ip("link", "add", "dev", name, "type", "veth", "peer", "name", f"{name}p")
    spec, attach = WallSpec("namespace", name, "10.79.1.0/24", "10.79.1.2"), Attach("macvlan", name)
    try:
        make_namespace(spec, attach)
        assert ipv4(try_wall(spec)) == {"127.0.0.1", "10.79.1.2"}
    finally:
        remove_namespace(spec, attach)
        ip("link", "del", "dev", name)


@as_root
@pytest.mark.parametrize("kind", ["bridge", "macvlan", "move"])
def test_without_the_interface_nothing_is_left(kind: Any) -> None:
    spec = WallSpec("namespace", f"bhx{os.getpid()}", "10.79.2.0/24", "10.79.2.2")
    with pytest.raises(WallAbsent, match="no interface"):
        make_namespace(spec, Attach(kind, "nothere0"))
    assert not (NAMED / spec.name).exists()


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"kind": "bridge"},
        {"kind": "bridge", "interface": ""},
        {"kind": "bridge", "interface": "a b"},
        {"kind": "bridge", "interface": "-x"},
        {"kind": "bridge", "interface": "a" * 16},
        {"kind": "bridge", "interface": "../x"},
        {"kind": "tunnel", "interface": "eth0"},
        {"kind": "bridge", "interface": 7},
        {"kind": "bridge", "interface": "eth0", "more": ""},
    ],
)
def test_nonsense_is_no_attachment(value: Any) -> None:
    with pytest.raises(BadInput):
        Attach.from_json(value)


def test_how_it_is_attached_is_kept(tmp_path: Path) -> None:
    assert kept_attach(tmp_path) is None
    keep_attach(tmp_path, Attach("move", "wg0"))
    assert kept_attach(tmp_path) == Attach("move", "wg0")
    (tmp_path / "wall.json").write_text("[" * 10_000)
    with pytest.raises(BadInput):
        kept_attach(tmp_path)
    (tmp_path / "wall.json").chmod(0o644)
    with pytest.raises(BadSettings):
        kept_attach(tmp_path)


def ipv4(found: Any) -> set[str]:
    return {str(address) for address in found.addresses if address.version == 4}


def test_a_port_that_nobody_has_is_not_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reachable([("127.0.0.1", port)]) == [("127.0.0.1", port)]
    assert reachable([("127.0.0.1", port)]) == []


@behind_nat
def test_behind_nat_only_the_way_out_is_open() -> None:
    with outbound_only(1) as name, socket.create_server(("10.78.1.1", 0)) as server:
        place = ("10.78.1.1", server.getsockname()[1])
        assert reachable([place], name) == [place]
        with subprocess.Popen(
            inside(name, sys.executable, "-c", _LISTEN), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as listening:
            assert listening.stdout is not None
            assert listening.stdout.readline() == b"listens\n"
            assert reachable([("10.78.1.2", 4444)]) == []
            assert reachable([("10.78.1.2", 4444)], name) == [("10.78.1.2", 4444)]
            listening.kill()


@as_root
def test_after_a_reboot_it_is_made_from_what_was_kept(network: Bridge, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cluster.namespaces", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == 0, "a private wall needs nothing"
    spec = network.machine(2)
    told = Profile.of(Settings(state=tmp_path))
    replace(told, hub_url="http://hub.example", role=Role.HEAD, wall=spec).save(tmp_path)
    keep_attach(tmp_path, network.attach)
    remove_namespace(spec, network.attach)
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == 0
    try_wall(spec)
    remove_namespace(spec, network.attach)
    os.chown(tmp_path / "wall.json", 65534, 65534)
    ended = subprocess.run(command, cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)
    assert "is not root's" in ended.stderr
    assert not (NAMED / spec.name).exists()
