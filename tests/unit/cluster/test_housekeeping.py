"""What the clock ends, and what a restart puts right."""

from pathlib import Path

import pytest

from bithive.offer import Urgency
from cluster.broker import Broker
from cluster.offers import OfferState
from cluster.spool import Spool, payload_name
from tests.common.network import Made, Scene, make_offer, scene


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def state_of(stage: Scene, made: Made) -> OfferState:
    record = stage.broker.store.offer(made.offer.offer_id)
    assert record is not None
    return record.state


def test_a_lease_never_outlives_the_deadline_by_more_than_itself(stage: Scene) -> None:
    made = stage.offer(deadline_ms=stage.clock.now_ms() + 20_000)
    grant = stage.cell.lease()
    stage.clock.advance_s(14)
    stage.cell.beat(grant)
    stage.clock.advance_s(14)
    assert stage.cell.beat(grant) == made.offer.deadline_ms + 15_000
    stage.clock.advance_s(7)
    assert stage.broker.expire() == 1
    assert state_of(stage, made) is OfferState.EXHAUSTED
    assert stage.broker.notices(stage.institution, 0)[-1].body["code"] == "deadline-passed"


def test_tries_are_counted(stage: Scene) -> None:
    made = stage.offer()
    for number in range(1, 6):
        assert stage.cell.lease().fencing_token == number
        stage.clock.advance_s(15)
        stage.broker.expire()
    assert stage.broker.lease(stage.cell.cell) is None
    assert state_of(stage, made) is OfferState.EXHAUSTED
    last = stage.broker.notices(stage.institution, 0)[-1]
    assert (last.topic, last.body["code"]) == ("offer.exhausted", "lease-expired")
    closed = stage.broker.store.outbox.waiting()[-1]
    assert (closed.topic, closed.body["reason"]) == ("offer.closed", "exhausted")
    assert stage.broker.spool.size_bytes(payload_name(made.offer.offer_id)) is None


def test_an_offer_without_payload_or_cell_ends_with_its_deadline(stage: Scene) -> None:
    made = make_offer(stage.ids, stage.clock, stage.institution)
    stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    waiting = stage.offer()
    stage.clock.advance_s(3600)
    assert stage.broker.lease(stage.cell.cell) is None
    assert stage.broker.expire() == 2
    assert {state_of(stage, made), state_of(stage, waiting)} == {OfferState.EXHAUSTED}
    closed = [event.key for event in stage.broker.store.outbox.waiting() if event.topic == "offer.closed"]
    assert closed == [waiting.offer.offer_id]


def test_after_a_restart_leases_go_on_and_lost_files_are_asked_for(tmp_path: Path) -> None:
    stage = scene(tmp_path)
    running, lost, kept = stage.offer(urgency=Urgency.HIGH), stage.offer(), stage.offer()
    grant = stage.cell.lease()
    stage.broker.spool.path(payload_name(lost.offer.offer_id)).write_bytes(b"cut")
    (tmp_path / "0123.part").write_bytes(b"x")
    (tmp_path / "off_stranger.payload").write_bytes(b"x")
    partial = stage.broker.spool.receive(10)
    partial.write([b"abc"])
    stage.clock.advance_s(60)
    again = Broker(stage.broker.store, stage.clock, stage.ids, Spool(tmp_path), cells=stage.broker.cells)
    again.recover()
    assert again.expire() == 0
    assert state_of(stage, lost) is OfferState.AWAITING_PAYLOAD
    names = {payload_name(item.offer.offer_id) for item in (running, kept)}
    assert {path.name for path in tmp_path.iterdir()} == names
    stage.cell.finish(grant, running.payload)
    assert state_of(stage, running) is OfferState.ACCEPTED
