"""The cell's client: what each answer of the network side becomes."""

from collections.abc import Generator
from pathlib import Path

import pytest

from bithive.envelope import PAYLOAD, Opener, seal
from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster.download import Download
from cluster.errors import AttemptAbsent, CellUnknown, LeaseLost, NetworkRefused, NetworkUnreachable
from cluster.network_http import HttpNetwork
from cluster.protocol import Grant, Heartbeat, Hello, NodeGreeting
from tests.common.network import SHA256, HandCell, Made, make_offer, put_offer
from tests.common.network_server import Hub, network_hub
from tests.common.servers import free_port

KEY = SigningKey(b"\x06" * 32)
HELLO = Hello(KEY.public_hex, "op", DataClass.P3, (NodeGreeting(KEY.public_hex, 2, 8 << 30, 0, {}),), (SHA256,))


@pytest.fixture
def hub(tmp_path: Path) -> Generator[Hub]:
    with network_hub(tmp_path) as running:
        yield running


@pytest.fixture
def network(hub: Hub) -> Generator[HttpNetwork]:
    client = HttpNetwork(hub.url, hub.tokens["own"])
    yield client
    client.close()


def offer(hub: Hub) -> Made:
    made = make_offer(hub.ids, hub.clock, hub.institution)
    put_offer(hub.broker, made)
    return made


def fetched(network: HttpNetwork, grant: Grant, made: Made) -> bytearray:
    download = Download(lambda: Opener(grant.keys.payload_key, PAYLOAD, len(made.payload)))
    network.payload(grant, download)
    return download.finish()


def test_the_whole_way(hub: Hub, network: HttpNetwork) -> None:
    welcome = network.hello(HELLO)
    assert network.lease(welcome.cell, [], 0) is None
    made = offer(hub)
    grant = network.lease(welcome.cell, [SHA256], 5)
    assert grant is not None
    assert grant.keys == made.keys
    assert fetched(network, grant, made) == made.payload
    node = welcome.nodes[KEY.public_hex]
    assert network.heartbeat(grant.attempt_id, Heartbeat(1, "measuring", 0.5, node)) >= grant.expires_ms
    cell = HandCell.__new__(HandCell)
    cell.key, cell.cell, cell.node = KEY, welcome.cell, node
    findings = cell.findings(grant, made.payload)
    receipt = cell.receipt(grant, made.payload, findings)
    sealed = b"".join(seal(grant.keys.payload_key, 1, findings))
    network.findings(grant, receipt, sealed)
    network.findings(grant, receipt, sealed)
    with pytest.raises(LeaseLost):
        network.failure(grant, "engine-fault")
    assert hub.broker.notices(hub.institution, 0)[-1].topic == "attempt.accepted"


def test_each_problem_has_its_error(hub: Hub, network: HttpNetwork) -> None:
    with pytest.raises(CellUnknown):
        network.lease(hub.cells["own"], [], 0)
    welcome = network.hello(HELLO)
    made = offer(hub)
    grant = network.lease(welcome.cell, [], 0)
    assert grant is not None
    hub.broker.withdraw(hub.institution, grant.offer.offer_id)
    with pytest.raises(LeaseLost):
        fetched(network, grant, made)
    with pytest.raises(AttemptAbsent):
        network.heartbeat(hub.ids.new("att"), Heartbeat(1, "measuring", 0.5, "nod_1"))
    with pytest.raises(NetworkRefused) as caught:
        network.lease(hub.cells["other"], [], 0)
    assert caught.value.answer == "forbidden"
    stranger = HttpNetwork(hub.url, "wrong")
    with pytest.raises(NetworkRefused) as caught:
        stranger.hello(HELLO)
    assert caught.value.answer == "unauthenticated"
    stranger.close()


def test_nobody_there() -> None:
    network = HttpNetwork(f"http://127.0.0.1:{free_port()}", "token")
    with pytest.raises(NetworkUnreachable):
        network.hello(HELLO)
    network.close()
    with pytest.raises(NetworkUnreachable):
        network.hello(HELLO)
