"""A cell of two machines: each in a namespace with an address of its own, TLS between them, and nobody else let in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bithive.clock import SystemClock
from bithive.offer import DataClass
from cluster.certificates import issue, keep, make_authority
from cluster.control_socket import ask
from cluster.errors import AgentAbsent
from cluster.labels import Tier
from cluster.listeners import standing
from cluster.namespaces import keep_attach
from cluster.private_files import write_private
from cluster.profile import RAY_TOKEN, HeadSpec, Profile, Role
from cluster.wall import WallSpec
from models.catalog import Catalog
from tests.common.cell import CellProcess, ray_cell
from tests.common.head import head_volume
from tests.common.hub import MODEL_STORE
from tests.common.namespaces import Bridge, as_root, bridge, inside, net_of, reachable
from tests.common.network import make_offer, put_offer
from tests.common.network_server import Hub, network_hub
from tests.common.servers import wait_until

PORT = 6379


def prepare(state: Path, role: Role, wall: WallSpec, authority: Path, network: Bridge, hub_url: str) -> None:
    """What `cell init` and `node join` write."""
    head = HeadSpec(f"{network.network}.1:{PORT}", wall.address, tls=True)
    Profile(hub_url, "op", Tier.WORKSTATION, "", DataClass.P3, role, 1, wall, head=head).save(state)
    write_private(state / RAY_TOKEN, b"5" * 64)
    keep(state / "tls", issue(authority, wall.address, SystemClock()))
    keep_attach(state, network.attach)


def nodes(state: Path) -> list[dict[str, Any]]:
    try:
        return list(ask(state, "status")["nodes"])
    except AgentAbsent:
        return []


@as_root
@pytest.mark.heavy
@pytest.mark.soak
def test_two_machines_are_one_cell_and_nobody_else_gets_in(tmp_path: Path) -> None:
    authority = tmp_path / "authority"
    make_authority(authority, "op", SystemClock())
    with bridge(7) as network, bridge(8) as another, network_hub(tmp_path / "hub") as hub:
        walls = [network.machine(1), network.machine(2)]
        neighbour, stranger = network.machine(9), another.machine(1)
        states = [tmp_path / "head", tmp_path / "member"]
        cells = []
        try:
            for state, role, wall in zip(states, (Role.HEAD, Role.MEMBER), walls, strict=True):
                prepare(state, role, wall, authority, network, hub.url if role is Role.HEAD else "")
                cells.append(CellProcess(state, hub.url, hub.tokens["own"], ray_cell()))
            wait_until(lambda: len(nodes(states[0])) == 2, 300, cells[0].process)
            assert {node["state"] for node in nodes(states[0])} == {"up"}
            for cell, wall in zip(cells, walls, strict=True):
                check_wall(cell, wall, neighbour, stranger)
            check_tls(neighbour, walls[0], states[1] / "tls")
            check_work(hub)
        finally:
            ended = [cell.stop() for cell in reversed(cells)]
        assert ended == [0, 0]


def check_wall(cell: CellProcess, wall: WallSpec, neighbour: WallSpec, stranger: WallSpec) -> None:
    """What listens is reached within the operator's network, shows strangers a closed door, and is nowhere else."""
    found = standing(net_of(cell.process.pid))
    assert wall.address in map(str, found.addresses)
    assert {str(route.network) for route in found.routes if route.network.version == 4} == {wall.network}
    places = [(wall.address, item.port) for item in found.listeners if item.protocol == "tcp"]
    assert len(places) > 3, "Ray listens"
    assert reachable(places, neighbour.name), "the operator's own machines do reach it"
    assert reachable(places, stranger.name) == []
    assert reachable(places) == []


_SHAKE = """
import socket, ssl, sys
host, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
known = ssl.create_default_context(cafile=f"{folder}/authority.pem")
known.set_alpn_protocols(["h2"])
for word in ("stranger", "machine"):
    if word == "machine":
        known.load_cert_chain(f"{folder}/node.pem", f"{folder}/node.key")
    try:
        with known.wrap_socket(socket.create_connection((host, port), 5), server_hostname=host) as one:
            one.settimeout(5)
            one.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(3) + bytes([4]) + bytes(5))
            print(word, len(one.recv(9)) == 9)
    except OSError:
        print(word, False)
"""


def check_tls(neighbour: WallSpec, head: WallSpec, folder: Path) -> None:
    """Who is in the network and has no certificate hears nothing from the GCS; a machine of the cell does."""
    command = inside(neighbour.name, sys.executable, "-c", _SHAKE, head.address, str(PORT), str(folder))
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert told.splitlines() == ["stranger False", "machine True"]


def check_work(hub: Hub) -> None:
    """Several studies at once, on whichever machine is free: all are done, by both."""
    bundle, image = Catalog(MODEL_STORE).bundle("intracranial_t1"), head_volume()
    words = {"bundle": bundle.name, "bundle_version": bundle.version, "bundle_sha256": bundle.sha256}
    units = bundle.reference_work_units(image.array.size)
    made = [make_offer(hub.ids, hub.clock, hub.institution, image=image, work_units=units, **words) for _ in range(4)]
    for one in made:
        put_offer(hub.broker, one)

    def done() -> list[str]:
        notices = hub.broker.notices(hub.institution, 0, 10_000)
        return [item.body["receipt"]["node"] for item in notices if item.topic == "attempt.accepted"]

    wait_until(lambda: len(done()) == len(made), 180)
    assert len(set(done())) == 2, "both machines had their share"
