from __future__ import annotations

import json

import pytest

from bithive.outbox import Event
from economy import epoch as epochs
from economy.check import check
from economy.corrections import correct
from economy.entry import Account
from economy.errors import LedgerUnavailable
from economy.measures import receipt_id
from economy.settlement import Settled, Settlements, settled_id
from economy.statement import RewardState, of_offer

HOURS = 3600


def earned(economy, node):
    return economy.ledger.balance(Account(economy.parties.of("node", node), "earned", "BTT"))


def pool(economy, code):
    balance = economy.ledger.balance(Account(economy.parties.of("network"), code, "BTT"))
    return 0 if balance is None else balance.net


def attempts(economy, network, node, count=1, **more):
    offers = [network.ids.new("off") for _ in range(count)]
    for offer in offers:
        economy.booking.take(network.accepted(offer, node=node, **more))
    return offers


def caught(network, node, attempt=""):
    body = {
        "node": node,
        "operator": "Dr Jane Roe's basement",
        "attempt_id": attempt or network.ids.new("att"),
        "reason": "disagrees",
        "at_ms": network.clock.now_ms(),
    }
    return Event("node.caught", body["attempt_id"], body)


def epoch(economy, clock, seconds=60):
    clock.advance_s(seconds)
    return economy.epochs.close()


@pytest.fixture
def nodes(network):
    return [network.ids.new("nod") for _ in range(3)]


def test_a_reward_is_held_back_for_72_hours(economy, network, clock, nodes):
    (offer,) = attempts(economy, network, nodes[0])
    closed = epoch(economy, clock)
    assert of_offer(economy.ledger, offer).reward_state is RewardState.HELD
    clock.advance_s(72 * HOURS - 0.001)
    assert economy.settlements.settle() == Settled()
    assert (earned(economy, nodes[0]).net, earned(economy, nodes[0]).credit_pending) == (0, closed.paid)
    clock.advance_s(0.001)
    assert economy.settlements.settle() == Settled(settled=1)
    assert (earned(economy, nodes[0]).net, earned(economy, nodes[0]).credit_pending) == (closed.paid, 0)
    assert of_offer(economy.ledger, offer).reward_state is RewardState.PAID
    assert economy.ledger.find(settled_id(1)) is not None
    assert economy.settlements.settle() == Settled()


def test_a_hundred_further_attempts_settle_earlier(economy, network, clock, nodes):
    attempts(economy, network, nodes[0], 5)
    attempts(economy, network, nodes[1], 150)
    epoch(economy, clock)
    attempts(economy, network, nodes[0], 99)
    assert economy.settlements.settle() == Settled()
    attempts(economy, network, nodes[0])
    assert economy.settlements.settle() == Settled(settled=1)
    assert earned(economy, nodes[0]).net > 0
    assert earned(economy, nodes[1]).net == 0, "attempts before the epoch's end are not further ones"
    assert economy.ledger.find(settled_id(1)) is None
    clock.advance_s(72 * HOURS)
    assert economy.settlements.settle() == Settled(settled=1)
    assert economy.ledger.find(settled_id(1)) is not None


def test_a_node_that_is_caught_forfeits_what_is_held_back(economy, network, clock, nodes):
    for node in nodes[:2]:
        attempts(economy, network, node)
    first = epoch(economy, clock)
    attempts(economy, network, nodes[0])
    second = epoch(economy, clock)
    event = caught(network, nodes[0])
    economy.booking.take(event)
    economy.booking.take(event)
    attempts(economy, network, nodes[1])
    held = earned(economy, nodes[0]).credit_pending
    assert held == pytest.approx(first.paid / 2 + second.paid, abs=1)
    assert economy.settlements.settle() == Settled(voided=2)
    assert (earned(economy, nodes[0]).net, earned(economy, nodes[0]).credit_pending) == (0, 0)
    assert pool(economy, "reserve") == held
    with economy.ledger.store.reading() as snapshot:
        rows = snapshot.log(kind="reward.voided")
    assert [json.loads(row.content)["facts"]["epoch"] for row in rows] == [1, 2]
    assert {json.loads(row.content)["facts"]["reason"] for row in rows} == {"disagrees"}
    clock.advance_s(80 * HOURS)
    assert economy.settlements.settle() == Settled(settled=1)
    assert economy.ledger.find(settled_id(2)) is not None


def test_in_the_epoch_in_which_it_is_caught_a_node_earns_nothing(economy, network, clock, nodes):
    attempts(economy, network, nodes[0], 3)
    attempts(economy, network, nodes[1])
    economy.booking.take(caught(network, nodes[0]))
    closed = epoch(economy, clock)
    assert earned(economy, nodes[0]) is None
    assert earned(economy, nodes[1]).credit_pending == closed.paid
    work = economy.ledger.balance(Account(economy.parties.of("node", nodes[0]), "work", "RU"))
    assert work.net == 0
    attempts(economy, network, nodes[0])
    epoch(economy, clock)
    assert earned(economy, nodes[0]).credit_pending > 0, "afterwards it may work again"


def test_all_who_worked_were_caught(economy, network, clock, nodes):
    attempts(economy, network, nodes[0])
    economy.booking.take(caught(network, nodes[0]))
    closed = epoch(economy, clock)
    assert (closed.paid, closed.nodes) == (0, 1)
    assert pool(economy, "reserve") == closed.residue > 0


def test_what_is_settled_is_not_taken_back(economy, network, clock, nodes):
    attempts(economy, network, nodes[0])
    closed = epoch(economy, clock)
    clock.advance_s(72 * HOURS)
    economy.settlements.settle()
    economy.booking.take(caught(network, nodes[0]))
    assert economy.settlements.settle() == Settled()
    assert earned(economy, nodes[0]).net == closed.paid


def test_nothing_is_settled_while_a_close_is_half_done(economy, network, clock, nodes, monkeypatch):
    attempts(economy, network, nodes[0])
    clock.advance_s(60)
    with monkeypatch.context() as patch:
        patch.setattr(epochs.Epochs, "_end", lambda *_: (_ for _ in ()).throw(LedgerUnavailable()))
        with pytest.raises(LedgerUnavailable):
            economy.epochs.close()
    economy.booking.take(caught(network, nodes[0]))
    clock.advance_s(80 * HOURS)
    assert economy.settlements.settle() == Settled()
    economy.epochs.close()
    assert economy.settlements.settle() == Settled(voided=1)


def test_two_that_settle_at_once_settle_once(economy, network, clock, nodes, monkeypatch):
    monkeypatch.setattr(epochs, "PART_TRANSFERS_MAX", 4)
    for node in nodes:
        attempts(economy, network, node)
    closed = epoch(economy, clock)
    clock.advance_s(72 * HOURS)
    other = Settlements(economy.ledger, economy.parties, economy.rules, clock)
    part = other._part

    def late(*place):
        """Between its reading and its writing, the other one settles it all."""
        found = part(*place)
        monkeypatch.setattr(other, "_part", part)
        economy.settlements.settle()
        return found

    monkeypatch.setattr(other, "_part", late)
    assert other.settle() == Settled()
    assert sum(earned(economy, node).net for node in nodes) == closed.paid


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_an_interrupted_settlement_is_taken_up(economy, network, clock, nodes, monkeypatch, stop_at):
    monkeypatch.setattr(epochs, "PART_TRANSFERS_MAX", 2)
    for node in nodes:
        attempts(economy, network, node)
    closed = epoch(economy, clock)
    economy.booking.take(caught(network, nodes[1]))
    clock.advance_s(72 * HOURS)
    post_all, calls = economy.ledger.post_all, []

    def failing(entries, bulk=False):
        calls.append(entries)
        return [LedgerUnavailable()] if len(calls) == stop_at else post_all(entries, bulk)

    monkeypatch.setattr(economy.ledger, "post_all", failing)
    with pytest.raises(LedgerUnavailable):
        economy.settlements.settle()
    monkeypatch.setattr(economy.ledger, "post_all", post_all)
    economy.settlements.settle()
    assert sum(earned(economy, node).net for node in nodes) + pool(economy, "reserve") == closed.paid
    assert earned(economy, nodes[1]).net == 0
    assert all(earned(economy, node).credit_pending == 0 for node in nodes)
    assert check(economy.ledger.store).findings == []


def test_tick_looks_once_a_period(economy, network, clock, nodes):
    attempts(economy, network, nodes[0])
    epoch(economy, clock)
    assert economy.settlements.tick() == 600
    clock.advance_s(599)
    assert economy.settlements.tick() == 1
    clock.advance_s(72 * HOURS)
    assert economy.settlements.tick() == 600
    assert earned(economy, nodes[0]).net > 0


def test_a_correction_of_work_does_not_stop_settlements(economy, network, clock, nodes):
    attempts(economy, network, nodes[0])
    closed = epoch(economy, clock)
    accepted = network.accepted(network.ids.new("off"), node=nodes[0])
    economy.booking.take(accepted)
    correct(economy.ledger, receipt_id(accepted.body["receipt_digest"]), "measured twice")
    assert economy.settlements.settle() == Settled()
    clock.advance_s(72 * HOURS)
    assert economy.settlements.settle() == Settled(settled=1)
    assert earned(economy, nodes[0]).net == closed.paid


def test_a_settlement_says_how_far_it_looked(economy, network, clock, nodes, monkeypatch):
    """Caught between the look and the entry: what was decided before stands, and the log says so."""
    attempts(economy, network, nodes[0])
    closed = epoch(economy, clock)
    clock.advance_s(72 * HOURS)
    settle_part, looked = Settlements._settle_part, economy.ledger.get("epoch/1/claims").seq

    def late(*arguments, **named):
        economy.booking.take(caught(network, nodes[0]))
        return settle_part(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Settlements, "_settle_part", late)
        assert economy.settlements.settle() == Settled(settled=1)
    row = economy.ledger.get("epoch/1/settle/0/0")
    facts = json.loads(row.content)["facts"]
    assert facts == {"epoch": 1, "part": 0, "reason": "time", "at_seq": looked}
    assert looked < row.seq
    assert economy.settlements.settle() == Settled()
    assert earned(economy, nodes[0]).net == closed.paid
