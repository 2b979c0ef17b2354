"""The whole way of an Offer through the broker."""

from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.settings import Settings
from cluster.broker import Durations
from cluster.errors import (
    FindingsAbsent,
)
from cluster.network_sql import open_broker
from cluster.offers import OfferState
from cluster.protocol_node import NodeStanding, NodeState
from cluster.store import MemoryStore
from economy.events import NodeOnline
from tests.common.network import Made, Scene, scene


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def state_of(stage: Scene, made: Made) -> OfferState:
    record = stage.broker.store.offer(made.offer.offer_id)
    assert record is not None
    return record.state


def test_from_offer_to_acknowledgement(stage: Scene, tmp_path: Path) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    assert grant.offer == made.offer
    assert (grant.keys, grant.fencing_token) == (made.keys, 1)
    assert stage.broker.payload(stage.cell.cell, grant.attempt_id, 1).read_bytes() == made.sealed
    stage.cell.beat(grant)
    receipt = stage.cell.finish(grant, made.payload)
    assert state_of(stage, made) is OfferState.ACCEPTED
    file = stage.broker.findings(stage.institution, grant.attempt_id)
    assert file.path.exists()
    assert file.plain_size_bytes == receipt.output_size_bytes
    stage.broker.acknowledge(stage.institution, made.offer.offer_id)
    stage.broker.acknowledge(stage.institution, made.offer.offer_id)
    assert state_of(stage, made) is OfferState.ACKNOWLEDGED
    assert list(tmp_path.iterdir()) == []
    record = stage.broker.store.offer(made.offer.offer_id)
    assert record is not None
    assert record.keys is None
    with pytest.raises(FindingsAbsent):
        stage.broker.findings(stage.institution, grant.attempt_id)
    assert stage.topics() == ["offer.opened", "attempt.leased", "attempt.progressed", "attempt.accepted"]
    events = stage.broker.store.outbox.waiting()
    assert [event.topic for event in events] == ["offer.opened", "attempt.accepted"]
    assert events[1].key == grant.attempt_id
    assert events[1].body == {
        "offer_id": made.offer.offer_id,
        "attempt_id": grant.attempt_id,
        "institution": stage.institution,
        "cell": stage.cell.cell,
        "node": stage.cell.node,
        "operator": "operator",
        "bundle": "threshold",
        "bundle_version": "1.0.0",
        "work_units": made.offer.work_units,
        "receipt_digest": receipt.digest,
        "interval_ms": events[1].body["interval_ms"],
        "quality_bp": 10_000,
        "at_ms": stage.clock.now_ms(),
    }


def test_durations_are_parameters(tmp_path: Path) -> None:
    stage = scene(tmp_path, durations=Durations(lease_s=1.0, heartbeat_s=0.2, attempts_max=2))
    made = stage.offer()
    for _ in range(2):
        stage.cell.lease()
        stage.clock.advance_s(1)
        stage.broker.expire()
    assert state_of(stage, made) is OfferState.EXHAUSTED
    assert stage.cell.greet().lease_s == 1.0
    assert isinstance(stage.broker.store, MemoryStore)


def test_an_hour_of_polls_is_told_to_the_ledger(tmp_path: Path) -> None:
    """A cell that asks for work is there; what was declared and kept leaves as an event that the economy reads."""
    stage = scene(tmp_path)
    start_ms = stage.clock.now_ms()
    while stage.clock.now_ms() < start_ms + 7_400_000:
        stage.broker.stand(stage.cell.cell, [NodeStanding(stage.cell.node, NodeState.UP, 1)])
        stage.clock.advance_s(20)
        stage.broker.expire()
    told = [
        NodeOnline.read(event.body) for event in stage.broker.store.outbox.waiting() if event.topic == "node.online"
    ]
    assert [(event.node, event.operator, event.kept_ms == event.declared_ms) for event in told] == [
        (stage.cell.node, "operator", True)
    ] * len(told)
    assert told[-1].declared_ms == 3_600_000
    stage.broker.close()


def test_a_hub_keeps_its_key_and_the_order_of_what_it_says(tmp_path: Path) -> None:
    """Opened again on its own folder, the network side signs with the key that nodes have noted."""
    settings = Settings(mode="demo", state=tmp_path)
    keys = set()
    for _ in range(2):
        broker = open_broker(settings, ManualClock(), SeededIds(1, ManualClock()))
        broker.expire()
        keys.add(broker.network_key.public_hex)
        broker.close()
    assert len(keys) == 1
    private = [path for path in (tmp_path / "keys").iterdir() if path.name == "network.key" or "seen-" in path.name]
    assert len(private) == 2
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
