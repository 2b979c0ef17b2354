"""What becomes of a Receipt: a counter-receipt for each, good, bad or late; nothing is paid for a lie."""

from dataclasses import replace
from pathlib import Path

import pytest

from bithive.ids import SeededIds
from bithive.keys import SigningKey
from bithive.receipt import Receipt, Receipt2
from cluster.cell_record import NodeRecord
from cluster.chain import verify_chain
from cluster.counter import CounterReceipt
from cluster.errors import AttemptAbsent, LeaseLost, ReceiptRefused
from cluster.protocol import NodeGreeting
from cluster.protocol_node import Accelerator
from tests.common.network import HandCell, Scene, scene, volume

OTHER = SigningKey(b"\x09" * 32)


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def chain(stage: Scene, subject: str | None = None) -> list[CounterReceipt]:
    found = list(stage.broker.counters(stage.cell.cell, subject or stage.cell.node))
    assert verify_chain(found, stage.broker.network_key.public_hex).holds
    return found


def node(stage: Scene) -> NodeRecord:
    found = stage.broker.cells.node(stage.cell.node)
    assert found is not None
    return found


def refuse(stage: Scene, code: str, **changes: object) -> None:
    made = stage.offer(image=volume(3))
    with pytest.raises(ReceiptRefused) as caught:
        stage.cell.finish(stage.cell.lease(), made.payload, **changes)
    assert caught.value.code == code
    stage.clock.advance_s(40)
    stage.cell.greet()


def topics(stage: Scene) -> list[str]:
    return [event.topic for event in stage.broker.store.outbox.waiting(1_000)]


def test_an_accepted_receipt_is_countersigned_by_the_networks_own_clock(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    stage.clock.advance_s(2)
    receipt = stage.cell.finish(grant, made.payload, wall_ms=1)
    counter = stage.broker.counter_of(stage.cell.cell, grant.attempt_id)
    assert counter is not None
    assert chain(stage) == [counter]
    assert (counter.verdict, counter.sequence, counter.receipt_digest) == ("accepted", 1, receipt.digest)
    assert (counter.interval_ms, counter.work_units) == (2_000, made.offer.work_units)
    event = stage.broker.store.outbox.waiting()[-1]
    assert event.body["interval_ms"] == counter.interval_ms


def test_every_receipt_has_its_place_in_the_chain(stage: Scene) -> None:
    made = stage.offer()
    stage.cell.finish(stage.cell.lease(), made.payload)
    refuse(stage, "work-units-differ", work_units=10**6)
    stage.cell.finish(stage.cell.lease(), volume(3).to_bytes())
    refuse(stage, "wall-time-implausible", wall_ms=60_000)
    assert [item.verdict for item in chain(stage)] == [
        "accepted",
        "work-units-differ",
        "accepted",
        "wall-time-implausible",
    ]
    assert [item.work_units > 0 for item in chain(stage)] == [True, False, True, False]


def test_handing_in_again_says_nothing_new(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    findings = stage.cell.findings(grant, made.payload)
    receipt = stage.cell.receipt(grant, made.payload, findings)
    for _ in range(3):
        stage.cell.post(grant, receipt, findings)
    assert len(chain(stage)) == 1


def test_a_late_answer_is_noted_once_and_is_no_lie(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    stage.clock.advance_s(16)
    for _ in range(3):
        with pytest.raises(LeaseLost):
            stage.cell.finish(grant, made.payload)
    stage.broker.expire()
    with pytest.raises(LeaseLost):
        stage.cell.finish(grant, made.payload, wall_ms=5)
    assert [(item.verdict, item.work_units) for item in chain(stage)] == [("lease-lost", 0)]
    assert [strike.code for strike in stage.broker.cells.strikes(stage.cell.cell)] == ["lease-lost"]
    assert "node.caught" not in topics(stage)
    with pytest.raises(LeaseLost):
        stage.cell.finish(grant, made.payload, key=OTHER)
    assert len(chain(stage)) == 1


def test_an_attempt_taken_back_is_not_late(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    stage.broker.withdraw(stage.institution, made.offer.offer_id)
    with pytest.raises(LeaseLost):
        stage.cell.finish(grant, made.payload)
    assert chain(stage) == []


def test_who_did_not_sign_is_not_blamed(stage: Scene) -> None:
    refuse(stage, "foreign-signature", key=OTHER)
    assert chain(stage) == []
    (counter,) = chain(stage, stage.cell.cell)
    assert (counter.subject, counter.node, counter.verdict) == (stage.cell.cell, "", "foreign-signature")
    assert "node.caught" not in topics(stage)


def test_signing_in_anothers_name_is_caught_at_once(stage: Scene, ids: SeededIds) -> None:
    """A node hands in a Receipt that names another cell's node; its own signature gives it away."""
    victim = HandCell(stage.broker, stage.ids, None, seed=8)
    refuse(stage, "foreign-signature", node=victim.node, node_key=victim.key.public_hex)
    (event,) = [event for event in stage.broker.store.outbox.waiting() if event.topic == "node.caught"]
    assert (event.body["node"], event.body["operator"], event.body["reason"]) == (
        stage.cell.node,
        "operator",
        "foreign-signature",
    )
    assert [item.verdict for item in chain(stage)] == ["foreign-signature"]
    assert stage.broker.cells.strikes(victim.cell) == []
    assert stage.broker.counters(victim.cell, victim.node) == []


def test_ones_own_key_beside_an_old_id_is_a_mistake(stage: Scene) -> None:
    refuse(stage, "foreign-signature", node="nod_01MCC5RM00Z8WTXDJ1YW00V1Z9")
    assert "node.caught" not in topics(stage)
    assert [item.verdict for item in chain(stage)] == ["foreign-signature"]


def test_the_third_replay_is_caught(stage: Scene) -> None:
    made = stage.offer()
    first = stage.cell.lease()
    findings = stage.cell.findings(first, made.payload)
    receipt = stage.cell.receipt(first, made.payload, findings)
    stage.cell.post(first, receipt, findings)
    for count in range(1, 4):
        stage.offer(image=volume(count))
        grant = stage.cell.lease()
        with pytest.raises(ReceiptRefused, match="receipt-replayed"):
            stage.cell.post(grant, receipt, findings)
        assert topics(stage).count("node.caught") == (count == 3)
        stage.clock.advance_s(40)
        stage.cell.finish(stage.cell.lease(), volume(count).to_bytes())
    assert [item.verdict for item in chain(stage)].count("receipt-replayed") == 3


def test_a_revoked_key_signs_nothing_any_more(stage: Scene) -> None:
    stage.broker.cells.amend(replace(node(stage), revoked_ms=5))
    made = stage.offer()
    with pytest.raises(ReceiptRefused, match="key-revoked"):
        stage.cell.finish(stage.cell.lease(), made.payload)
    assert [item.verdict for item in chain(stage)] == ["key-revoked"]


@pytest.mark.parametrize(("grace_ms", "holds"), [(60_000, True), (-1, False)])
def test_a_key_that_was_replaced_holds_for_a_while(stage: Scene, grace_ms: int, holds: bool) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    now_ms = stage.clock.now_ms()
    rotated = replace(
        node(stage), node_key="5" * 64, former_key=stage.cell.key.public_hex, former_until_ms=now_ms + grace_ms
    )
    stage.broker.cells.amend(rotated)
    if holds:
        stage.cell.finish(grant, made.payload)
    else:
        with pytest.raises(ReceiptRefused, match="key-revoked"):
            stage.cell.finish(grant, made.payload)


SIZES = {
    "less came in": {"sealed_input_bytes": 1},
    "more went out": {"sealed_output_bytes": 10**9},
    "none told": {"sealed_input_bytes": 0, "sealed_output_bytes": 0},
}


@pytest.mark.parametrize("lie", SIZES)
def test_sealed_sizes_follow_from_the_plain_ones(stage: Scene, lie: str) -> None:
    refuse(stage, "digest-differs", **SIZES[lie])


def test_accelerator_memory_is_that_of_the_machine(stage: Scene) -> None:
    refuse(stage, "measurement-implausible", gpu_memory_bytes=1)
    stage.broker.cells.amend(replace(node(stage), gpus=2, accelerator=Accelerator("A", 1 << 30)))
    grant = stage.cell.lease()
    with pytest.raises(ReceiptRefused, match="measurement-implausible"):
        stage.cell.finish(grant, volume(3).to_bytes(), gpu_memory_bytes=(2 << 30) + 1)


def test_a_receipt_of_the_last_release_is_taken(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    findings = stage.cell.findings(grant, made.payload)
    today = stage.cell.receipt(grant, made.payload, findings).to_json()
    old = Receipt2.from_json({name: value for name, value in today.items() if name not in Receipt2._absent})
    receipt = replace(old, signature=stage.cell.key.sign(old.signed_bytes()))
    assert isinstance(Receipt.from_wire(receipt.to_json()), Receipt2)
    stage.cell.post(grant, receipt, findings)
    assert [item.verdict for item in chain(stage)] == ["accepted"]


def test_a_hub_killed_between_strike_and_end_says_it_once(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    commit = stage.broker.store.commit
    monkeypatch.setattr(stage.broker.store, "commit", lambda _: (_ for _ in ()).throw(OSError))
    with pytest.raises(OSError):
        stage.cell.finish(grant, made.payload, work_units=10**6)
    monkeypatch.setattr(stage.broker.store, "commit", commit)
    with pytest.raises(ReceiptRefused):
        stage.cell.finish(grant, made.payload, work_units=10**6)
    assert [strike.code for strike in stage.broker.cells.strikes(stage.cell.cell)] == ["work-units-differ"]
    assert [item.verdict for item in chain(stage)] == ["work-units-differ"]


def test_chains_are_their_cells_alone(stage: Scene) -> None:
    thief = HandCell(stage.broker, stage.ids, None, seed=8)
    made = stage.offer()
    grant = stage.cell.lease()
    stage.cell.finish(grant, made.payload)
    for request in (
        lambda: stage.broker.counters(thief.cell, stage.cell.node),
        lambda: stage.broker.counters(thief.cell, stage.cell.cell),
        lambda: stage.broker.counter_of(thief.cell, grant.attempt_id),
    ):
        with pytest.raises(AttemptAbsent):
            request()


def test_two_nodes_of_a_cell_have_a_chain_each(stage: Scene) -> None:
    second = SigningKey(b"\x21" * 32)
    greeting = NodeGreeting(second.public_hex, 2, 8 << 30, 0, {}, 8 << 30)
    nodes = stage.broker.cells.greet(
        stage.broker.cells.cell(stage.cell.cell),  # type: ignore[arg-type]
        [NodeRecord(stage.ids.new("nod"), stage.cell.cell, greeting.node_key, 2, 8 << 30, 0, {}, 8 << 30)],
    )
    other = nodes[0].node
    for seed, changes in ((1, {}), (2, {"node": other, "node_key": second.public_hex, "key": second}), (3, {})):
        made = stage.offer(image=volume(seed))
        stage.cell.finish(stage.cell.lease(), made.payload, **changes)
    assert [item.sequence for item in chain(stage)] == [1, 2]
    assert [item.sequence for item in chain(stage, other)] == [1]
