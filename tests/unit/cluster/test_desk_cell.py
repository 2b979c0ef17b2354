"""What cells ask of the broker."""

from dataclasses import replace
from pathlib import Path

import pytest

from bithive.limits import WARM_PREFERENCE_S
from bithive.offer import DataClass, Urgency
from cluster.attestation import EvidenceRefused
from cluster.attester_simulated import SimulatedAttester
from cluster.broker import Broker
from cluster.data_classes import Terms
from cluster.errors import (
    AttemptAbsent,
    BadMessage,
    CellUnknown,
    LeaseLost,
    SignatureRequired,
)
from cluster.key_release import BoxKey
from cluster.labels import Tier
from cluster.offers import OfferState
from cluster.protocol import Grant, Heartbeat, Hello, NodeGreeting, NodeStanding, NodeState
from cluster.protocol_lease import WorkRequest
from cluster.register import Registration
from cluster.register_proof import prove
from cluster.spool import Spool, payload_name
from tests.common.network import SHA256, HandCell, Made, Scene, make_offer, put_offer, scene


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def state_of(stage: Scene, made: Made) -> OfferState:
    record = stage.broker.store.offer(made.offer.offer_id)
    assert record is not None
    return record.state


def test_nobody_uses_what_is_another_cells(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    thief = HandCell(stage.broker, stage.ids, stage.institution, seed=8)
    for request in (
        lambda: stage.broker.payload(thief.cell, grant.attempt_id, grant.fencing_token),
        lambda: thief.beat(grant),
        lambda: thief.finish(grant, made.payload),
        lambda: stage.broker.fail(thief.cell, grant.attempt_id, grant.fencing_token, "engine-fault"),
    ):
        with pytest.raises(AttemptAbsent):
            request()
    with pytest.raises(CellUnknown):
        stage.broker.lease("cel_nobody")
    stage.cell.finish(grant, made.payload)


def test_the_order_is_urgency_then_lost_attempts_then_deadline_then_age(stage: Scene) -> None:
    now_ms = stage.clock.now_ms()
    low = stage.offer(urgency=Urgency.LOW)
    late = stage.offer(deadline_ms=now_ms + 9_000_000)
    lost = stage.offer(deadline_ms=now_ms + 8_000_000, urgency=Urgency.MEDIUM)
    soon = stage.offer(deadline_ms=now_ms + 100_000)
    stage.clock.advance_s(1)
    soon_but_younger = stage.offer(deadline_ms=now_ms + 100_000)
    high = stage.offer(urgency=Urgency.HIGH, deadline_ms=now_ms + 9_000_000)
    order = [stage.cell.lease().offer for _ in range(6)]
    assert order == [item.offer for item in (high, soon, soon_but_younger, lost, late, low)]
    stage.clock.advance_s(16)
    stage.broker.expire()
    fresh = stage.offer(deadline_ms=now_ms + 90_000)
    again = [stage.cell.lease().offer for _ in range(7)]
    assert again == [item.offer for item in (high, soon, soon_but_younger, lost, late, fresh, low)]


def test_a_lost_lease_is_requeued_at_once_and_the_late_answer_loses(stage: Scene) -> None:
    made = stage.offer()
    first = stage.cell.lease()
    stage.clock.advance_s(15)
    with pytest.raises(LeaseLost):
        stage.cell.beat(first)
    assert stage.broker.expire() == 1
    second = stage.cell.lease()
    assert second.fencing_token == first.fencing_token + 1
    with pytest.raises(LeaseLost):
        stage.cell.finish(first, made.payload)
    with pytest.raises(LeaseLost):
        stage.broker.payload(stage.cell.cell, first.attempt_id, second.fencing_token)
    stage.cell.finish(second, made.payload)
    assert [event.key for event in stage.broker.store.outbox.waiting() if event.topic == "attempt.accepted"] == [
        second.attempt_id
    ]


def test_a_heartbeat_renews_and_only_news_is_told(stage: Scene) -> None:
    stage.offer()
    grant = stage.cell.lease()
    for step in range(20):
        stage.clock.advance_s(10)
        assert stage.cell.beat(grant, fraction=0.5 + step / 1000) == stage.clock.now_ms() + 15_000
        assert stage.broker.expire() == 0
    assert stage.topics().count("attempt.progressed") == 1
    with pytest.raises(BadMessage):
        beat = Heartbeat(grant.fencing_token, "segmenting", 0.5, stage.ids.new("nod"))
        stage.broker.heartbeat(stage.cell.cell, grant.attempt_id, beat)


def test_a_failure_pauses_longer_each_time_and_a_refusal_is_final(stage: Scene) -> None:
    made = stage.offer()
    for pause_s in (1, 2, 4, 8):
        grant = stage.cell.lease()
        stage.broker.fail(stage.cell.cell, grant.attempt_id, grant.fencing_token, "engine-fault")
        stage.clock.advance_s(pause_s - 0.1)
        assert stage.broker.lease(stage.cell.cell) is None
        stage.clock.advance_s(0.1)
    grant = stage.cell.lease()
    stage.broker.fail(stage.cell.cell, grant.attempt_id, grant.fencing_token, "engine-fault")
    assert state_of(stage, made) is OfferState.EXHAUSTED
    final = stage.offer()
    grant = stage.cell.lease()
    with pytest.raises(BadMessage):
        stage.broker.fail(stage.cell.cell, grant.attempt_id, grant.fencing_token, "it-is-late")
    stage.broker.fail(stage.cell.cell, grant.attempt_id, grant.fencing_token, "implausible-findings")
    assert state_of(stage, final) is OfferState.EXHAUSTED
    assert stage.broker.notices(stage.institution, 0)[-1].body["code"] == "implausible-findings"


def test_an_unreadable_payload_is_asked_for_again(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    stage.broker.fail(stage.cell.cell, grant.attempt_id, grant.fencing_token, "payload-unreadable")
    assert state_of(stage, made) is OfferState.AWAITING_PAYLOAD
    assert stage.topics()[-1] == "offer.payload-lost"
    put_offer(stage.broker, made)
    grant = stage.cell.lease()
    assert grant.fencing_token == 2
    stage.broker.spool.delete(payload_name(made.offer.offer_id))
    with pytest.raises(LeaseLost):
        stage.broker.payload(stage.cell.cell, grant.attempt_id, 2)
    put_offer(stage.broker, made)
    stage.cell.finish(stage.cell.lease(), made.payload)
    topics = [event.topic for event in stage.broker.store.outbox.waiting()]
    assert topics == ["offer.opened", "attempt.accepted"]


def test_the_same_findings_twice_are_one_and_others_are_too_late(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    findings = stage.cell.findings(grant, made.payload)
    receipt = stage.cell.receipt(grant, made.payload, findings)
    stage.cell.post(grant, receipt, findings)
    stage.cell.post(grant, receipt, findings)
    stage.clock.advance_s(100)
    stage.cell.post(grant, receipt, findings)
    with pytest.raises(LeaseLost):
        stage.cell.finish(grant, made.payload, wall_ms=2)
    assert stage.topics().count("attempt.accepted") == 1
    assert stage.broker.findings(stage.institution, grant.attempt_id).path.exists()


def test_data_classes_decide(stage: Scene) -> None:
    stranger = HandCell(stage.broker, stage.ids, None, seed=9)
    other = HandCell(stage.broker, stage.ids, stage.ids.new("ins"), seed=10)
    for data_class in (DataClass.P1, DataClass.P2, DataClass.P3):
        stage.offer(data_class=data_class)
    assert stage.broker.lease(stranger.cell) is None
    assert stage.broker.lease(other.cell) is None
    stage.broker.cells.vet(stranger.cell, True)
    grant = stage.broker.lease(stranger.cell)
    assert grant is not None
    assert grant.offer.data_class is DataClass.P1
    assert stage.broker.lease(stranger.cell) is None
    stage.cell.greet(data_class_max=DataClass.P2)
    assert stage.cell.lease().offer.data_class is DataClass.P2
    assert stage.broker.lease(stage.cell.cell) is None
    public = stage.offer(data_class=DataClass.P0)
    grant = stage.broker.lease(other.cell)
    assert grant is not None
    assert grant.offer != public.offer
    assert replace(grant.offer, institution=public.offer.institution) == public.offer


def test_a_stranger_is_not_told_whose_it_is(stage: Scene) -> None:
    stranger = HandCell(stage.broker, stage.ids, None, seed=9)
    made = [stage.offer(data_class=DataClass.P0) for _ in range(3)]
    grants = [stage.broker.lease(stranger.cell) for _ in range(2)]
    told = {grant.offer.institution for grant in grants if grant is not None}
    assert len(told) == 2
    assert stage.institution not in told
    assert stage.cell.lease().offer in [item.offer for item in made]


def test_a_bundle_goes_only_where_it_is_loaded(stage: Scene) -> None:
    stage.offer()
    stage.cell.greet(bundles=("cd" * 32,))
    assert stage.broker.lease(stage.cell.cell) is None


def test_many_that_may_not_be_had_do_not_hide_one_that_may(stage: Scene) -> None:
    other = stage.ids.new("ins")
    for _ in range(250):
        made = make_offer(stage.ids, stage.clock, other, urgency=Urgency.HIGH)
        put_offer(stage.broker, made)
    mine = stage.offer(urgency=Urgency.LOW)
    assert stage.cell.lease().offer == mine.offer


def test_of_equally_urgent_offers_the_warm_one_is_first_for_a_moment(stage: Scene) -> None:
    other = "cd" * 32
    stage.cell.greet(bundles=(SHA256, other))
    first = stage.offer(bundle_sha256=other)
    stage.clock.advance_s(0.1)
    second = stage.offer()
    stage.clock.advance_s(0.1)
    third = stage.offer()
    grant = stage.broker.lease(stage.cell.cell, [SHA256])
    assert grant is not None
    assert grant.offer == second.offer
    stage.clock.advance_s(WARM_PREFERENCE_S)
    grant = stage.broker.lease(stage.cell.cell, [SHA256])
    assert grant is not None
    assert grant.offer == first.offer
    assert stage.cell.lease().offer == third.offer


def test_a_node_that_lacks_the_memory_gets_nothing(stage: Scene) -> None:
    stage.offer(memory_bytes=2 << 30)
    small = stage.offer(memory_bytes=1 << 30)
    stage.cell.greet(memory_bytes=1 << 30)
    assert stage.cell.lease().offer == small.offer
    assert stage.broker.lease(stage.cell.cell) is None


def test_the_largest_node_of_the_last_hello_counts(stage: Scene) -> None:
    key = stage.cell.key.public_hex
    nodes = (NodeGreeting(key, 2, 1 << 30, 0, {}, 8 << 30), NodeGreeting("f" * 64, 2, 3 << 30, 0, {}, 8 << 30))
    greeting = Hello(key, "operator", DataClass.P3, nodes, (SHA256,))
    stage.cell.network.hello(greeting)
    offer = stage.offer(memory_bytes=3 << 30)
    assert stage.cell.lease().offer == offer.offer
    stage.cell.network.hello(replace(greeting, nodes=nodes[:1]))
    known = stage.broker.cells.cell(stage.cell.cell)
    assert known is not None
    assert known.memory_bytes == 1 << 30


def test_a_head_goes_to_others_wrapped_for_whom_was_attested_and_never_in_version_1(
    stage: Scene, tmp_path: Path
) -> None:
    """Also after the hub was started again; a hello, and the end of the hour, take it away."""
    broker, ids, box = stage.broker, stage.ids, BoxKey(bytes([3]) * 32)
    stranger = HandCell(broker, ids, None, seed=11)
    terms = Terms(None, True, Tier.DATACENTER, "DE", DataClass.P2)
    broker.register.bind(Registration(stranger.cell, stranger.key.public_hex, terms, 0))
    made = stage.offer(data_class=DataClass.P2, audience=("attested",))

    def greet() -> None:
        node = NodeGreeting(
            stranger.key.public_hex, 2, 8 << 30, 0, {}, 8 << 30, proof=prove(stranger.key, stranger.key.public_hex)
        )
        hello = Hello(stranger.key.public_hex, "operator", DataClass.P2, (node,), (SHA256,))
        broker.hello(stranger.cell, None, hello, stranger.key.public_hex)

    def granted(of: Broker) -> list[Grant]:
        standing = (NodeStanding(stranger.node, NodeState.UP, free=1),)
        turn = of.stand(stranger.cell, standing, anew=True)
        return list(of.work(WorkRequest(stranger.cell, standing), turn) or ())

    def attest() -> None:
        broker.cells.attest(stranger.cell, box.public_hex, stage.clock.now_ms() + 3_600_000)

    greet()
    assert granted(broker) == []
    attest()
    assert broker.lease(stranger.cell) is None
    greet()
    assert granted(broker) == []
    attest()
    again = Broker(broker.store, stage.clock, ids, Spool(tmp_path), cells=broker.cells, register=broker.register)
    (grant,) = granted(again)
    assert grant.wrapped is not None
    assert box.open(grant.wrapped, made.offer.offer_id, grant.attempt_id) == made.keys
    again.fail(stranger.cell, grant.attempt_id, grant.fencing_token, "bad-wrapped-keys")
    stage.clock.advance_s(3_600)
    assert granted(again) == []


def test_evidence_needs_a_hello_and_a_key(stage: Scene) -> None:
    shown = SimulatedAttester(stage.cell.key, stage.clock).attest("0" * 64, stage.cell.cell, "0" * 64, "0" * 64)
    with pytest.raises(CellUnknown):
        stage.broker.challenge("cel_nobody")
    with pytest.raises(CellUnknown):
        stage.broker.attest("cel_nobody", shown)
    with pytest.raises(SignatureRequired):
        stage.broker.attest(stage.cell.cell, shown)
    stage.broker.register.bind(Registration(stage.cell.cell, stage.cell.key.public_hex, None, 0))
    with pytest.raises(EvidenceRefused):
        stage.broker.attest(stage.cell.cell, shown)
