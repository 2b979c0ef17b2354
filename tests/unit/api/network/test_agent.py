"""An agent against a hub over HTTP, in version 2: signed, one poll for all slots, told what changes."""

import threading
from collections.abc import Callable

import pytest

from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster.agent import Agent
from cluster.agent_view import Identity
from cluster.errors import NetworkUnreachable, ProtocolUnsupported
from cluster.network_http import HttpNetwork
from cluster.protocol import NodeState
from cluster.runner import LocalRunner
from tests.common.network import Made, put_offer, warm
from tests.common.network_requests import made
from tests.common.network_server import Hub
from tests.common.servers import wait_until

CELL, NODE = SigningKey(b"\x71" * 32), SigningKey(b"\x72" * 32)


class Two(LocalRunner):
    """Two at a time."""

    def __init__(self, hub: Hub, meanwhile: Callable[[], None]) -> None:
        super().__init__([warm(meanwhile)], NODE, hub.clock)
        self._one = threading.BoundedSemaphore(2)  # type: ignore[assignment]


class Station:
    """A cell of two slots; its work waits for `may_go`."""

    def __init__(self, hub: Hub, who: str = "own") -> None:
        self.may_go, self.state = threading.Event(), NodeState.UP
        self.network = HttpNetwork(hub.url, hub.tokens[who], key=CELL)
        identity = Identity(CELL.public_hex, "op", DataClass.P3, node_keys=(NODE,))
        runner = Two(hub, lambda: self.may_go.wait(20) and None)
        self.agent = Agent(self.network, runner, identity, hub.clock, 2, watch_s=0.05, standing=lambda: self.state)
        self.hub = hub

    def offer(self) -> Made:
        item = made(self.hub)
        put_offer(self.hub.broker, item)
        return item

    def topics(self) -> list[str]:
        return [item.topic for item in self.hub.broker.notices(self.hub.institution, 0)]

    def busy(self) -> int:
        return len(self.agent.view().attempts)

    def close(self) -> None:
        self.may_go.set()
        self.agent.drain(10)
        self.network.close()


@pytest.fixture
def station(hub: Hub) -> Station:
    return Station(hub)


def test_one_poll_fills_all_slots_and_no_more(station: Station) -> None:
    for _ in range(3):
        station.offer()
    station.agent.start()
    wait_until(lambda: station.busy() == 2, 10)
    view = station.agent.view()
    assert station.network.version == "2"
    assert (view.connected, view.nodes[0].slots, view.nodes[0].busy) == (True, 2, 2)
    assert {attempt.bundle for attempt in view.attempts} == {"threshold"}
    assert station.topics().count("attempt.leased") == 2
    station.may_go.set()
    wait_until(lambda: station.topics().count("attempt.accepted") == 3, 15)
    assert station.agent.drain(10)
    assert station.busy() == 0
    station.close()


def test_a_machine_in_use_is_given_nothing_until_it_is_free(station: Station) -> None:
    station.may_go.set()
    station.agent.start()
    wait_until(lambda: station.agent.view().connected or bool(station.agent.view().cell), 10)
    node = station.agent.view().nodes[0].node
    presence, clock = station.hub.broker.presence, station.hub.clock
    wait_until(lambda: presence.states(clock.now_ms()) == {node: NodeState.UP}, 10)
    station.state = NodeState.PAUSED
    wait_until(lambda: presence.states(clock.now_ms()) == {node: NodeState.PAUSED}, 10)
    station.offer()
    threading.Event().wait(0.5)
    assert station.topics() == ["offer.opened"]
    station.state = NodeState.UP
    wait_until(lambda: "attempt.accepted" in station.topics(), 10)
    station.close()


def test_a_drained_cell_gets_nothing_new_and_fails_nothing(station: Station) -> None:
    station.offer()
    station.agent.start()
    wait_until(lambda: station.busy() == 1, 10)
    assert not station.agent.drain(0.1)
    station.offer()
    threading.Event().wait(0.5)
    assert station.topics().count("attempt.leased") == 1
    station.may_go.set()
    assert station.agent.drain(10)
    assert station.topics().count("attempt.accepted") == 1
    assert not {"attempt.failed", "attempt.expired"} & set(station.topics())
    station.close()


def test_a_cell_that_leaves_says_so(station: Station) -> None:
    station.agent.start()
    wait_until(lambda: station.agent.view().cell != "", 10)
    wait_until(lambda: station.hub.broker.presence.states(station.hub.clock.now_ms()) != {}, 10)
    station.agent.leave()
    assert set(station.hub.broker.presence.states(station.hub.clock.now_ms()).values()) == {NodeState.AWAY}
    station.offer()
    threading.Event().wait(0.3)
    assert "attempt.leased" not in station.topics()
    station.close()


def test_a_hub_that_speaks_none_of_our_versions_is_told_apart(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.protocol.VERSIONS", ("7", "8"))
    network = HttpNetwork(hub.url, hub.tokens["own"], key=CELL)
    with pytest.raises(ProtocolUnsupported) as caught:
        assert network.version
    assert caught.value.context == {"ours": "7, 8", "theirs": "1, 2"}
    network.close()


def test_nobody_there_is_no_version(hub: Hub) -> None:
    network = HttpNetwork("http://127.0.0.1:9", "token", key=CELL)
    with pytest.raises(NetworkUnreachable):
        assert network.version
    network.close()


def test_leases_are_renewed_though_asking_fails(station: Station) -> None:
    """A proxy that cuts long requests costs no Attempt: pulses go on while the cell introduces itself again."""
    station.offer()
    station.agent.start()
    wait_until(lambda: station.busy() == 1, 10)
    station.agent._forget()
    heart = station.agent._pulses.hearts()[0]
    attempt_id = heart.grant.attempt_id
    before = station.hub.broker.store.attempt(attempt_id)
    assert before is not None
    station.agent._pulses.tell()
    after = station.hub.broker.store.attempt(attempt_id)
    assert after is not None
    assert after.revision > before.revision
    station.may_go.set()
    wait_until(lambda: "attempt.accepted" in station.topics(), 10)
    station.close()
