"""What institutions ask of the broker."""

from dataclasses import replace
from pathlib import Path

import pytest

from bithive.errors import Forbidden, IllegalTransition, LimitExceeded
from bithive.limits import CELL_SILENCE_S, OPEN_OFFERS_MAX
from bithive.offer import DataClass, MemoryTooSmall, OfferKeys, Urgency
from cluster.attempt import AttemptState
from cluster.errors import (
    AttemptAbsent,
    LeaseLost,
    OfferAbsent,
    OfferExists,
    PayloadSizeDiffers,
    TooManyOffers,
)
from cluster.offers import OfferState
from tests.common.network import HandCell, Made, Scene, make_offer, put_offer, scene


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def state_of(stage: Scene, made: Made) -> OfferState:
    record = stage.broker.store.offer(made.offer.offer_id)
    assert record is not None
    return record.state


def test_repeating_an_offer_changes_nothing_and_another_one_is_refused(stage: Scene) -> None:
    made = make_offer(stage.ids, stage.clock, stage.institution)
    assert stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    assert not stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    with pytest.raises(OfferExists):
        stage.broker.offer(stage.institution, made.offer, OfferKeys(bytes(32), bytes(32)), made.sealed_bytes)
    with pytest.raises(OfferExists):
        changed = replace(made.offer, urgency=Urgency.HIGH)
        stage.broker.offer(stage.institution, changed, made.keys, made.sealed_bytes)
    stage.broker.withdraw(stage.institution, made.offer.offer_id)
    assert not stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    assert state_of(stage, made) is OfferState.WITHDRAWN


def test_an_offer_is_checked_before_it_is_taken(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_offer(stage.ids, stage.clock, stage.institution)
    with pytest.raises(Forbidden):
        stage.broker.offer(stage.ids.new("ins"), made.offer, made.keys, made.sealed_bytes)
    with pytest.raises(PayloadSizeDiffers):
        stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes + 1)
    huge = replace(made.offer, payload_size_bytes=1 << 40)
    with pytest.raises(LimitExceeded):
        stage.broker.offer(stage.institution, huge, made.keys, 1)
    assert OPEN_OFFERS_MAX >= 1000
    monkeypatch.setattr("cluster.desk_institution.OPEN_OFFERS_MAX", 1)
    stage.offer()
    with pytest.raises(TooManyOffers):
        stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    other = stage.ids.new("ins")
    theirs = make_offer(stage.ids, stage.clock, other)
    assert stage.broker.offer(other, theirs.offer, theirs.keys, theirs.sealed_bytes)


def test_a_payload_of_another_size_is_discarded(stage: Scene, tmp_path: Path) -> None:
    made = make_offer(stage.ids, stage.clock, stage.institution)
    offer_id = made.offer.offer_id
    stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    short = stage.broker.receive_payload(stage.institution, offer_id)
    assert short is not None
    short.write([made.sealed[:-1]])
    with pytest.raises(PayloadSizeDiffers):
        stage.broker.store_payload(stage.institution, offer_id, short)
    long = stage.broker.receive_payload(stage.institution, offer_id)
    assert long is not None
    with pytest.raises(PayloadSizeDiffers):
        long.write([made.sealed, b"x"])
    assert list(tmp_path.iterdir()) == []
    assert state_of(stage, made) is OfferState.AWAITING_PAYLOAD
    assert stage.broker.lease(stage.cell.cell) is None


def test_a_repeated_payload_is_not_wanted(stage: Scene) -> None:
    made = stage.offer()
    assert stage.broker.receive_payload(stage.institution, made.offer.offer_id) is None
    assert stage.topics() == ["offer.opened"]


def test_nobody_sees_what_is_another_institutions(stage: Scene) -> None:
    made, other = stage.offer(), stage.ids.new("ins")
    grant = stage.cell.lease()
    stage.cell.finish(grant, made.payload)
    for request in (stage.broker.withdraw, stage.broker.acknowledge, stage.broker.receive_payload):
        with pytest.raises(OfferAbsent):
            request(other, made.offer.offer_id)
        with pytest.raises(OfferAbsent):
            request(other, "../../etc/passwd")
    with pytest.raises(AttemptAbsent):
        stage.broker.findings(other, grant.attempt_id)
    with pytest.raises(AttemptAbsent):
        stage.broker.findings(stage.institution, "att_/../../x")
    assert stage.broker.notices(other, 0) == []


@pytest.mark.parametrize("when", ["awaiting", "open", "leased", "accepted"])
def test_withdrawing_stops_an_offer_wherever_it_is(stage: Scene, when: str, tmp_path: Path) -> None:
    made = make_offer(stage.ids, stage.clock, stage.institution)
    stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    if when != "awaiting":
        put_offer(stage.broker, made)
    grant = stage.cell.lease() if when in ("leased", "accepted") else None
    if grant and when == "accepted":
        stage.cell.finish(grant, made.payload)
    for _ in range(2):
        stage.broker.withdraw(stage.institution, made.offer.offer_id)
    assert stage.broker.lease(stage.cell.cell) is None
    assert list(tmp_path.iterdir()) == []
    assert state_of(stage, made) is (OfferState.ACKNOWLEDGED if when == "accepted" else OfferState.WITHDRAWN)
    if grant and when == "leased":
        with pytest.raises(LeaseLost):
            stage.cell.beat(grant)
        attempt = stage.broker.store.attempt(grant.attempt_id)
        assert attempt is not None
        assert attempt.state is AttemptState.WITHDRAWN
    closed = [event for event in stage.broker.store.outbox.waiting() if event.topic == "offer.closed"]
    assert len(closed) == (1 if when in ("open", "leased") else 0)


def test_acknowledging_early_is_refused(stage: Scene) -> None:
    made = stage.offer()
    with pytest.raises(IllegalTransition):
        stage.broker.acknowledge(stage.institution, made.offer.offer_id)


GIB = 1 << 30


def offered(stage: Scene, memory_bytes: int, data_class: DataClass = DataClass.P3) -> str:
    made = make_offer(stage.ids, stage.clock, stage.institution, memory_bytes=memory_bytes, data_class=data_class)
    stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    return made.offer.offer_id


def test_what_no_live_cell_could_hold_is_refused_at_once(stage: Scene) -> None:
    stage.cell.greet(memory_bytes=4 * GIB)
    offered(stage, 4 * GIB)
    with pytest.raises(MemoryTooSmall) as caught:
        offered(stage, 4 * GIB + 1)
    assert (caught.value.code, caught.value.status) == ("memory-too-small", 422)
    assert stage.broker.store.unfinished(stage.institution) == 1
    HandCell(stage.broker, stage.ids, stage.institution, seed=8).greet(memory_bytes=8 * GIB)
    assert offered(stage, 4 * GIB + 1)


def test_without_a_live_cell_it_waits_and_a_repeated_offer_is_never_refused(stage: Scene) -> None:
    stage.cell.greet(memory_bytes=GIB)
    stage.clock.advance_s(CELL_SILENCE_S + 1)
    made = make_offer(stage.ids, stage.clock, stage.institution, memory_bytes=2 * GIB)
    put_offer(stage.broker, made)
    assert stage.broker.lease(stage.cell.cell) is None, "it is live again"
    assert not stage.broker.offer(stage.institution, made.offer, made.keys, made.sealed_bytes)
    with pytest.raises(MemoryTooSmall):
        offered(stage, 2 * GIB)
    stage.clock.advance_s(3_700)
    assert stage.broker.expire() == 1
    assert stage.topics()[-1] == "offer.exhausted"
    assert stage.broker.notices(stage.institution, 0)[-1].body["code"] == "deadline-passed"


def test_cells_that_could_not_have_it_anyway_say_nothing(stage: Scene) -> None:
    """A stranger's large machine does not save what only the own cell may run; a stranger's small one refuses nothing."""
    stage.cell.greet(memory_bytes=GIB)
    HandCell(stage.broker, stage.ids, None, seed=8).greet(memory_bytes=64 * GIB)
    with pytest.raises(MemoryTooSmall):
        offered(stage, 2 * GIB)
    assert offered(stage, 2 * GIB, DataClass.P0)
    stage.cell.greet(bundles=("cd" * 32,))
    assert offered(stage, 128 * GIB), "no cell that may have it runs the bundle: it waits for one"


def test_one_that_was_queued_waits_when_its_cell_shrinks(stage: Scene) -> None:
    queued = stage.offer(memory_bytes=4 * GIB)
    stage.cell.greet(memory_bytes=GIB)
    assert stage.broker.lease(stage.cell.cell) is None
    assert state_of(stage, queued) is OfferState.OPEN
    stage.cell.greet(memory_bytes=4 * GIB)
    assert stage.cell.lease().offer == queued.offer


def test_a_cell_that_works_is_live(stage: Scene) -> None:
    stage.cell.greet(memory_bytes=4 * GIB)
    stage.offer()
    grant = stage.cell.lease()
    for _ in range(30):
        stage.clock.advance_s(10)
        stage.cell.beat(grant)
    with pytest.raises(MemoryTooSmall):
        offered(stage, 8 * GIB)
