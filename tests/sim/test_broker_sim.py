"""A network in one process: the real broker, a clock that jumps, cells that crash, answer late, repeat themselves and lie.

Whatever they do, every Offer ends accepted or exhausted exactly once, and nobody receives what it may not.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bithive.offer import DataClass, Urgency
from bithive.receipt import Receipt
from cluster.broker import Broker, Durations
from cluster.cell_store import MemoryCellStore
from cluster.chain import verify_chain
from cluster.counter import CounterReceipt
from cluster.errors import LeaseLost, ReceiptRefused
from cluster.failures import FAILURES
from cluster.filters import why_not
from cluster.offers import OfferState
from cluster.protocol import Grant
from cluster.spool import Spool
from tests.common.network import HandCell, Made, Scene, make_offer, put_offer, scene, volume

LIES = ({"work_units": 10**6}, {"output_digest": "0" * 64}, {"wall_ms": 10**7}, {"threads": 99}, {"attempt_id": "x"})


@dataclass
class World:
    """What the simulation knows."""

    stage: Scene
    chance: random.Random
    cells: list[HandCell]
    institutions: list[str]
    folder: Path
    made: dict[str, Made] = field(default_factory=dict)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    late: list[tuple[HandCell, Grant, Receipt, bytes]] = field(default_factory=list)
    withdrawn: set[str] = field(default_factory=set)

    @property
    def broker(self) -> Broker:
        return self.cells[0].broker

    def arrive(self) -> None:
        stage, chance = self.stage, self.chance
        made = make_offer(
            stage.ids,
            stage.clock,
            chance.choice(self.institutions),
            volume(0, (2, 3, 4)),
            urgency=chance.choice(list(Urgency)),
            data_class=chance.choice(list(DataClass)),
            deadline_ms=stage.clock.now_ms() + chance.randrange(60_000, 600_000),
        )
        self.made[made.offer.offer_id] = made
        put_offer(self.broker, made)
        if chance.random() < 0.05:
            put = self.broker.receive_payload(made.offer.institution, made.offer.offer_id)
            assert put is None

    def work(self, cell: HandCell) -> None:
        grant = self.broker.lease(cell.cell)
        if grant is None:
            return
        known = self.broker.cells.cell(cell.cell)
        assert known is not None
        assert why_not(known, grant.offer) is None
        self.tokens.setdefault(grant.offer.offer_id, []).append(grant.fencing_token)
        BEHAVIOURS[self.chance.choice(list(BEHAVIOURS))](self, cell, grant)

    def restart(self) -> None:
        """The hub is killed and started again on what it had stored."""
        old = self.broker
        broker = Broker(
            old.store,
            self.stage.clock,
            self.stage.ids,
            Spool(self.folder),
            cells=old.cells,
            durations=old.durations,
            network_key=old.network_key,
        )
        broker.recover()
        for cell in self.cells:
            cell.broker = cell.network.broker = broker
        for offer_id, made in self.made.items():
            record = broker.store.offer(offer_id)
            assert record is not None
            if record.state is OfferState.AWAITING_PAYLOAD:
                put_offer(broker, made)


def honest(world: World, cell: HandCell, grant: Grant) -> None:
    payload = world.made[grant.offer.offer_id].payload
    cell.beat(grant, "downloading", 0.0)
    world.stage.clock.advance_s(world.chance.random() * 10)
    cell.beat(grant)
    cell.finish(grant, payload)


def crash(world: World, cell: HandCell, grant: Grant) -> None:
    if world.chance.random() < 0.5:
        cell.beat(grant)


def late(world: World, cell: HandCell, grant: Grant) -> None:
    findings = cell.findings(grant, world.made[grant.offer.offer_id].payload)
    world.late.append((cell, grant, cell.receipt(grant, world.made[grant.offer.offer_id].payload, findings), findings))


def repeat(world: World, cell: HandCell, grant: Grant) -> None:
    payload = world.made[grant.offer.offer_id].payload
    findings = cell.findings(grant, payload)
    receipt = cell.receipt(grant, payload, findings)
    for _ in range(3):
        cell.post(grant, receipt, findings)


def lie(world: World, cell: HandCell, grant: Grant) -> None:
    with pytest.raises(ReceiptRefused):
        cell.finish(grant, world.made[grant.offer.offer_id].payload, **world.chance.choice(LIES))


def fail(world: World, cell: HandCell, grant: Grant) -> None:
    code = world.chance.choice(list(FAILURES))
    world.broker.fail(cell.cell, grant.attempt_id, grant.fencing_token, code)
    if code == "payload-unreadable":
        record = world.broker.store.offer(grant.offer.offer_id)
        assert record is not None
        if record.state is OfferState.AWAITING_PAYLOAD:
            put_offer(world.broker, world.made[grant.offer.offer_id])


def withdraw(world: World, cell: HandCell, grant: Grant) -> None:
    made = world.made[grant.offer.offer_id].offer
    world.broker.withdraw(made.institution, made.offer_id)
    world.withdrawn.add(grant.offer.offer_id)
    with pytest.raises(LeaseLost):
        cell.beat(grant)


BEHAVIOURS: dict[str, Callable[[World, HandCell, Grant], None]] = {
    "honest": honest,
    "honest too": honest,
    "honest as well": honest,
    "crash": crash,
    "late": late,
    "repeat": repeat,
    "lie": lie,
    "fail": fail,
    "withdraw": withdraw,
}


def simulate(seed: int, folder: Path, offers: int) -> World:
    chance = random.Random(seed)
    stage = scene(folder, seed, Durations())
    institutions = [stage.institution, stage.ids.new("ins"), stage.ids.new("ins")]
    cells = [stage.cell]
    cells += [HandCell(stage.broker, stage.ids, chance.choice([*institutions, None]), 20 + n) for n in range(8)]
    for cell in cells[1:]:
        cell.greet(data_class_max=chance.choice(list(DataClass)))
    world = World(stage, chance, cells, institutions, folder)
    while len(world.made) < offers or not finished(world):
        if len(world.made) < offers:
            world.arrive()
        for cell in chance.sample(cells, 3):
            world.work(cell)
        if world.late and chance.random() < 0.3:
            answer_late(world)
        if chance.random() < 0.01:
            world.restart()
        stage.clock.advance_s(chance.random() * 4)
        world.broker.expire()
    while world.late:
        answer_late(world)
    return world


def answer_late(world: World) -> None:
    cell, grant, receipt, findings = world.late.pop(world.chance.randrange(len(world.late)))
    attempt = world.broker.store.attempt(grant.attempt_id)
    assert attempt is not None
    if attempt.live and attempt.expires_ms > world.stage.clock.now_ms():
        cell.post(grant, receipt, findings)
    else:
        with pytest.raises(LeaseLost):
            cell.post(grant, receipt, findings)


def finished(world: World) -> bool:
    return all(world.broker.store.unfinished(institution) == 0 for institution in world.institutions)


def chains_of(world: World, cell: HandCell) -> list[CounterReceipt]:
    """Every counter-receipt of a cell and its node; each chain verified."""
    key, said = world.broker.network_key.public_hex, []
    for subject in (cell.cell, cell.node):
        chain = world.broker.counters(cell.cell, subject, limit=1_000)
        assert verify_chain(chain, key).holds
        said += chain
    return said


@pytest.mark.parametrize("seed", range(12))
def test_every_offer_ends_once(seed: int, tmp_path: Path) -> None:
    world = simulate(seed, tmp_path, offers=120)
    store = world.broker.store
    states = {}
    for offer_id in world.made:
        record = store.offer(offer_id)
        assert record is not None
        states[offer_id] = record.state
        assert (record.keys is None) == (record.state is not OfferState.ACCEPTED)
        tokens = world.tokens.get(offer_id, [])
        assert tokens == sorted(set(tokens)), "fencing tokens grow"
        assert len(tokens) <= world.broker.durations.attempts_max
    assert set(states.values()) <= {OfferState.ACCEPTED, OfferState.EXHAUSTED, OfferState.WITHDRAWN}
    ends = Counter[str]()
    for institution in world.institutions:
        after = 0
        while page := store.notices(institution, after):
            after = page[-1].seq
            for notice in page:
                assert world.made[notice.offer_id].offer.institution == institution
                if notice.topic in ("attempt.accepted", "offer.exhausted", "offer.withdrawn"):
                    ends[notice.offer_id] += 1
    assert ends == dict.fromkeys(world.made, 1)
    booked = Counter(event.topic for event in store.outbox.waiting(10_000))
    caught = booked.pop("node.caught", 0)
    accepted = sum(state is OfferState.ACCEPTED for state in states.values())
    assert booked == {
        "offer.opened": len(world.made),
        "attempt.accepted": accepted,
        "offer.closed": len(world.made) - accepted,
    }
    assert accepted > len(world.made) // 3
    said = [counter for cell in world.cells for counter in chains_of(world, cell)]
    assert sum(counter.accepted for counter in said) == accepted
    replays = Counter(counter.node for counter in said if counter.verdict == "receipt-replayed")
    assert caught == sum(max(0, count - 2) for count in replays.values()), (
        "the third replay of a node, and each after it"
    )
    files = {path.name.partition(".")[2].rpartition(".")[2] for path in tmp_path.iterdir()}
    assert files == {"payload", "findings"} or not accepted
    assert len(list(tmp_path.iterdir())) == 2 * accepted
    assert isinstance(world.broker.cells, MemoryCellStore)
