from __future__ import annotations

import json

import pytest

from bithive.canonical import digest
from bithive.limits import ENTRY_TRANSFERS_MAX
from economy import epoch as epochs
from economy.entry import Account, Entry, Policy, move
from economy.epoch import Epochs, open_id, work_at
from economy.errors import BadPolicy, LedgerUnavailable
from economy.policies import load
from economy.rewards import Emission, RewardRule, share_out
from economy.statement import RewardState, of_offer

DAY = 1_000_000_000_000


def earn(economy, node, units, number):
    party, net = economy.parties.of("node", node), economy.parties.of("network")
    legs = (move(Account(net, "work-issue", "WU"), Account(party, "work", "WU"), units),)
    economy.ledger.post(Entry(f"receipt/{digest([node, number])}", "work.measured", legs))


def btt(economy, node):
    balance = economy.ledger.balance(Account(economy.parties.of("node", node), "earned", "BTT"))
    return 0 if balance is None else balance.net


def network_btt(economy, code):
    balance = economy.ledger.balance(Account(economy.parties.of("network"), code, "BTT"))
    return 0 if balance is None else balance.net


def test_a_close_pays_the_periods_emission_by_work(economy, clock):
    for number, (node, units) in enumerate((("a", 100), ("b", 200), ("c", 1))):
        earn(economy, node, units, number)
    clock.advance_s(86_400)
    closed = economy.epochs.close()
    assert (closed.number, closed.nodes, closed.work_units, closed.residue) == (1, 3, 301, 0)
    assert closed.paid == DAY
    assert btt(economy, "a") + btt(economy, "b") + btt(economy, "c") == DAY
    assert btt(economy, "b") == pytest.approx(DAY * 200 / 301, abs=1)
    assert network_btt(economy, "pool") == 0
    assert network_btt(economy, "issuance") == -DAY
    work = economy.ledger.balance(Account(economy.parties.of("node", "a"), "work", "WU"))
    assert work.net == 0
    assert closed.seal is not None
    assert closed.seal.to_seq == economy.ledger.get("epoch/1/end").seq


def test_periods_touch_and_sum_to_the_schedule(economy, clock):
    earn(economy, "a", 10, 1)
    paid = 0
    for number in range(5):
        clock.advance_s(17.123)
        earn(economy, "a", 10, number + 10)
        paid += economy.epochs.close().paid
    assert paid == pytest.approx(DAY * 17.123 * 5 / 86_400, abs=1)
    assert network_btt(economy, "issuance") == -paid
    with economy.ledger.store.reading() as snapshot:
        assert [row.entry_id for row in snapshot.log(kind="epoch.closed")] == [f"epoch/{n}/end" for n in range(1, 6)]


def test_no_work_pays_nobody(economy, clock):
    clock.advance_s(86_400)
    closed = economy.epochs.close()
    assert (closed.paid, closed.residue, closed.nodes) == (0, DAY, 0)
    assert network_btt(economy, "reserve") == DAY


def test_a_close_at_once_pays_nothing_and_is_no_trouble(economy):
    earn(economy, "a", 10, 1)
    closed = economy.epochs.close()
    assert (closed.paid, closed.nodes) == (0, 1)
    economy.epochs.close()


def test_work_that_comes_during_the_close_waits_for_the_next(economy, clock, monkeypatch):
    earn(economy, "a", 10, 1)
    clock.advance_s(60)
    pay = Epochs._pay

    def late(self, opened, shares):
        earn(economy, "a", 5, 2)
        earn(economy, "b", 7, 3)
        pay(self, opened, shares)

    monkeypatch.setattr(Epochs, "_pay", late)
    assert economy.epochs.close().work_units == 10
    monkeypatch.setattr(Epochs, "_pay", pay)
    clock.advance_s(60)
    assert economy.epochs.close().work_units == 12


@pytest.mark.parametrize("stop_before", ["epoch/1/open", "epoch/1/part/0", "epoch/1/part/1", "epoch/1/end"])
def test_an_interrupted_close_is_resumed(economy, clock, monkeypatch, stop_before):
    monkeypatch.setattr(epochs, "NODES_PER_PART", 2)
    for number in range(5):
        earn(economy, f"n{number}", 3 + number, number)
    clock.advance_s(60)
    post_all = economy.ledger.post_all

    def failing(entries):
        ids = [entry.entry_id for entry in entries]
        if stop_before in ids:
            post_all(entries[: ids.index(stop_before)])
            return [LedgerUnavailable()]
        return post_all(entries)

    monkeypatch.setattr(economy.ledger, "post_all", failing)
    with pytest.raises(LedgerUnavailable):
        economy.epochs.close()
    monkeypatch.setattr(economy.ledger, "post_all", post_all)
    earn(economy, "n0", 50, 99)
    closed = economy.epochs.close()
    late = 50 if stop_before == "epoch/1/open" else 0
    assert (closed.number, closed.nodes, closed.work_units) == (1, 5, 25 + late)
    assert sum(btt(economy, f"n{number}") for number in range(5)) == closed.paid == DAY * 60 // 86_400
    assert economy.epochs.close().number == 2


def test_many_nodes_in_parts_of_limited_size(economy, clock, monkeypatch):
    assert epochs.NODES_PER_PART * 2 <= ENTRY_TRANSFERS_MAX
    monkeypatch.setattr(epochs, "NODES_PER_PART", 50)
    entries = []
    net = economy.parties.of("network")
    for number in range(123):
        party = economy.parties.of("node", f"n{number}")
        legs = (move(Account(net, "work-issue", "WU"), Account(party, "work", "WU"), 1 + number % 7),)
        entries.append(Entry(f"receipt/{number}", "work.measured", legs))
    economy.ledger.post_all(entries)
    clock.advance_s(60)
    closed = economy.epochs.close()
    assert closed.nodes == 123
    with economy.ledger.store.reading() as snapshot:
        parts = snapshot.log(kind="epoch.paid")
        assert len(parts) == 3
        assert all(len(json.loads(row.content)["transfers"]) <= 100 for row in parts)


def test_tick_closes_when_the_period_ends(economy, clock):
    left_s = economy.epochs.tick()
    assert 0 < left_s <= 3600
    assert economy.ledger.find(open_id(1)) is None
    clock.advance_s(left_s)
    assert economy.epochs.tick() == 3600
    assert economy.ledger.find(open_id(1)) is not None
    assert economy.epochs.tick() == 3600
    assert economy.ledger.find(open_id(2)) is None
    clock.advance_s(3 * 3600)
    economy.epochs.tick()
    economy.epochs.tick()
    assert economy.ledger.find(open_id(2)) is not None
    assert economy.ledger.find(open_id(3)) is None


def test_tick_finishes_what_was_interrupted(economy, clock, monkeypatch):
    clock.advance_s(10)
    with monkeypatch.context() as patch:
        patch.setattr(Epochs, "_end", lambda *_: (_ for _ in ()).throw(LedgerUnavailable()))
        with pytest.raises(LedgerUnavailable):
            economy.epochs.close()
    economy.epochs.tick()
    assert economy.ledger.find("epoch/1/end") is not None


def test_a_statement_says_what_was_earned(economy, network, clock, offer):
    other = network.ids.new("off")
    economy.booking.take(network.accepted(offer, work_units=1000))
    economy.booking.take(network.accepted(other, work_units=500))
    economy.booking.take(network.accepted(network.ids.new("off"), work_units=1500, node=network.ids.new("nod")))
    clock.advance_s(60)
    before = of_offer(economy.ledger, offer)
    pool = DAY * 60 // 86_400
    assert (before.reward_state, before.epoch) == (RewardState.ACCRUED, 1)
    assert before.reward_btt == pytest.approx(pool / 3, abs=2)
    economy.epochs.close()
    after = of_offer(economy.ledger, offer)
    assert (after.reward_state, after.reward_btt) == (RewardState.PAID, before.reward_btt)
    assert of_offer(economy.ledger, other).reward_btt == pytest.approx(pool / 6, abs=2)
    assert "BTT" in after.reward_text


def test_work_at_a_place_in_the_log(economy):
    earn(economy, "a", 5, 1)
    seq = economy.ledger.get(f"receipt/{digest(['a', 1])}").seq
    earn(economy, "a", 6, 2)
    earn(economy, "b", 7, 3)
    with economy.ledger.store.reading() as snapshot:
        work = work_at(snapshot, seq)
    assert work == {economy.parties.of("node", "a"): 5, economy.parties.of("node", "b"): 0}


def emission(*steps):
    content = {"asset": "BTT", "steps": [{"from_ms": start, "per_day": amount} for start, amount in steps]}
    return Policy("emission", 1, 0, json.dumps(content))


def test_emission_in_steps():
    schedule = Emission.read(emission((0, 86_400_000), (1000, 43_200_000)))
    assert [schedule.until(ms) for ms in (0, 1, 1000, 1001, 1002)] == [0, 1, 1000, 1000, 1001]
    assert sum(schedule.between(ms, ms + 7) for ms in range(0, 2100, 7)) == schedule.until(2100)


@pytest.mark.parametrize("steps", [(), ((5, 1), (0, 1)), ((0, -1),)])
def test_a_malformed_schedule_is_refused(steps):
    with pytest.raises(BadPolicy):
        Emission.read(emission(*steps))


def test_a_reward_can_be_capped():
    rule = RewardRule.read(
        Policy("reward-rule", 2, 0, json.dumps({"weight": "work-units", "per_1000_work_units_max": 5}))
    )
    assert rule.paid(100, 3000) == 15
    assert rule.paid(10, 3000) == 10
    assert rule.paid(10, 0) == 0
    for wrong in ({"weight": "luck", "per_1000_work_units_max": 5}, {"weight": "work-units"}):
        with pytest.raises(BadPolicy):
            RewardRule.read(Policy("reward-rule", 2, 0, json.dumps(wrong)))


def test_shares_are_in_the_order_of_parties():
    assert share_out(10, {"b": 1, "a": 2, "c": 0}) == [("a", 2, 7), ("b", 1, 3)]
    assert share_out(0, {}) == []


def test_policies_that_ship_are_understood():
    kinds = {policy.kind for policy in load()}
    assert kinds == {"rate-card", "emission", "reward-rule"}
