from __future__ import annotations

import json
import threading

import pytest

from bithive.canonical import digest
from bithive.database_sql import Database
from bithive.limits import ENTRY_TRANSFERS_MAX
from economy import epoch as epochs
from economy.check import check
from economy.economy import Economy
from economy.entry import Account, Entry, PeriodClose, Policy, move
from economy.epoch import Epochs, claims_of, open_id
from economy.errors import BadPolicy, LedgerUnavailable
from economy.policies import load
from economy.rewards import Emission, RewardRule, share_out
from economy.statement import RewardState, of_offer
from economy.store_sql import SqlStore
from economy.weights import work_at

DAY = 1_000_000_000_000


def earn(economy, node, units, number, asset="RU"):
    party, net = economy.parties.of("node", node), economy.parties.of("network")
    legs = (move(Account(net, "work-issue", asset), Account(party, "work", asset), units),)
    economy.ledger.post(Entry(f"receipt/{digest([node, number])}", "work.measured", legs))


def btt(economy, node):
    """What a node has earned, held back or not."""
    balance = economy.ledger.balance(Account(economy.parties.of("node", node), "earned", "BTT"))
    return 0 if balance is None else balance.net + balance.credit_pending


def network_btt(economy, code):
    balance = economy.ledger.balance(Account(economy.parties.of("network"), code, "BTT"))
    return 0 if balance is None else balance.net


def test_a_close_pays_the_periods_emission_by_work(economy, clock):
    for number, (node, units) in enumerate((("a", 100), ("b", 200), ("c", 1))):
        earn(economy, node, units, number)
    clock.advance_s(86_400)
    closed = economy.epochs.close()
    assert (closed.number, closed.nodes, closed.units, closed.residue) == (1, 3, 301, 0)
    assert closed.paid == DAY
    assert btt(economy, "a") + btt(economy, "b") + btt(economy, "c") == DAY
    assert btt(economy, "b") == pytest.approx(DAY * 200 / 301, abs=1)
    pool = economy.ledger.balance(Account(economy.parties.of("network"), "pool", "BTT"))
    assert (pool.net, pool.available) == (DAY, 0)
    assert network_btt(economy, "issuance") == -DAY
    work = economy.ledger.balance(Account(economy.parties.of("node", "a"), "work", "RU"))
    assert work.net == 0
    assert closed.seal is not None
    assert closed.seal.to_seq == economy.ledger.get("epoch/1/claims").seq


def test_work_of_before_reward_units_counts_on(economy, clock):
    earn(economy, "a", 3, 1, "WU")
    earn(economy, "a", 10_000, 2)
    earn(economy, "b", 4, 3, "WU")
    clock.advance_s(60)
    closed = economy.epochs.close()
    assert (closed.nodes, closed.units) == (2, 80_000)
    assert btt(economy, "a") == btt(economy, "b") == closed.paid // 2
    for asset in ("RU", "WU"):
        assert economy.ledger.balance(Account(economy.parties.of("node", "a"), "work", asset)).net == 0


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

    def late(self, opened, shares, *, held):
        earn(economy, "a", 5, 2)
        earn(economy, "b", 7, 3)
        pay(self, opened, shares, held=held)

    monkeypatch.setattr(Epochs, "_pay", late)
    assert economy.epochs.close().units == 10
    monkeypatch.setattr(Epochs, "_pay", pay)
    clock.advance_s(60)
    assert economy.epochs.close().units == 12


@pytest.mark.parametrize(
    "stop_before", ["epoch/1/open", "epoch/1/part/0", "epoch/1/part/1", "epoch/1/end", "epoch/1/claims"]
)
def test_an_interrupted_close_is_resumed(economy, clock, monkeypatch, stop_before):
    monkeypatch.setattr(epochs, "PART_TRANSFERS_MAX", 4)
    for number in range(5):
        earn(economy, f"n{number}", 3 + number, number)
    clock.advance_s(60)
    post_all = economy.ledger.post_all

    def failing(entries, bulk=False):
        ids = [entry.entry_id for entry in entries]
        if stop_before in ids:
            post_all(entries[: ids.index(stop_before)], bulk)
            return [LedgerUnavailable()]
        return post_all(entries, bulk)

    monkeypatch.setattr(economy.ledger, "post_all", failing)
    with pytest.raises(LedgerUnavailable):
        economy.epochs.close()
    monkeypatch.setattr(economy.ledger, "post_all", post_all)
    earn(economy, "n0", 50, 99)
    closed = economy.epochs.close()
    late = 50 if stop_before == "epoch/1/open" else 0
    assert (closed.number, closed.nodes, closed.units) == (1, 5, 25 + late)
    assert sum(btt(economy, f"n{number}") for number in range(5)) == closed.paid == DAY * 60 // 86_400
    assert economy.epochs.close().number == 2


def test_many_nodes_in_parts_of_limited_size(economy, clock, monkeypatch):
    assert epochs.PART_TRANSFERS_MAX <= ENTRY_TRANSFERS_MAX
    monkeypatch.setattr(epochs, "PART_TRANSFERS_MAX", 100)
    entries = []
    net = economy.parties.of("network")
    for number in range(123):
        party = economy.parties.of("node", f"n{number}")
        legs = (move(Account(net, "work-issue", "RU"), Account(party, "work", "RU"), 1 + number % 7),)
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
    assert (after.reward_state, after.reward_btt) == (RewardState.HELD, before.reward_btt)
    assert of_offer(economy.ledger, other).reward_btt == pytest.approx(pool / 6, abs=2)
    assert "BTT" in after.reward_text


def test_work_at_a_place_in_the_log(economy):
    earn(economy, "a", 5, 1)
    seq = economy.ledger.get(f"receipt/{digest(['a', 1])}").seq
    earn(economy, "a", 6, 2)
    earn(economy, "b", 7, 3)
    with economy.ledger.store.reading() as snapshot:
        work = work_at(snapshot, seq)
    assert work == {economy.parties.of("node", "a"): (5, 0)}


def test_an_epoch_ends_though_its_period_was_closed_meanwhile(economy, clock, monkeypatch):
    earn(economy, "a", 10, 1)
    clock.advance_s(60)
    with monkeypatch.context() as patch:
        patch.setattr(Epochs, "_end", lambda *_: (_ for _ in ()).throw(LedgerUnavailable()))
        with pytest.raises(LedgerUnavailable):
            economy.epochs.close()
    to_ms = clock.now_ms()
    clock.advance_s(60)
    economy.ledger.post(Entry("period/1", "period.closed", declares=(PeriodClose(to_ms + 1),)))
    closed = economy.epochs.close()
    assert closed.number == 1
    assert json.loads(economy.ledger.get("epoch/1/end").content)["facts"]["value_date_was"] == to_ms
    assert economy.epochs.close().number == 2
    economy.close()


def test_two_hubs_that_close_at_once_close_one_epoch(tmp_path, clock, ids, monkeypatch):
    """Two processes on one database, by two ledgers: both come to the same end, and nobody is paid twice."""
    monkeypatch.setattr(epochs, "PART_TRANSFERS_MAX", 4)
    url = f"sqlite:///{tmp_path}/ledger.db"
    hubs = [Economy.on(SqlStore(Database(url)), tmp_path / "keys", clock, ids, epoch_s=3600) for _ in range(3)]
    for number in range(41):
        earn(hubs[0], f"n{number % 37}", 3 + number, number)
    clock.advance_s(60)
    start, closed = threading.Barrier(len(hubs)), []

    def close(hub):
        start.wait()
        closed.append(hub.epochs.close())

    crowd = [threading.Thread(target=close, args=(hub,)) for hub in hubs]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    numbers = {one.number for one in closed}
    assert len(closed) == 3
    assert numbers in ({1}, {1, 2}, {1, 2, 3}), "who comes late may close the next, which brings nothing"
    assert {(one.nodes, one.paid, one.claims) for one in closed if one.number == 1} == {
        (37, DAY * 60 // 86_400, closed[0].claims)
    }
    assert sum(btt(hubs[1], f"n{number}") for number in range(37)) == DAY * 60 // 86_400
    assert claims_of(hubs[2].ledger.store, 1).root == closed[0].claims
    assert check(hubs[0].ledger.store).findings == []
    for hub in hubs:
        hub.close()


def test_more_units_than_json_holds_as_a_number(economy, clock):
    """A million nodes an hour are beyond 2^53 reward units."""
    for number in range(3):
        earn(economy, f"n{number}", 2**53 - 1, number)
    clock.advance_s(60)
    closed = economy.epochs.close()
    assert closed.units == 3 * (2**53 - 1)
    assert json.loads(economy.ledger.get("epoch/1/end").content)["facts"]["units"] == str(closed.units)


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
    assert rule.paid(100, 30_000_000) == 15
    assert rule.paid(10, 30_000_000) == 10
    assert rule.paid(10, 0) == 0
    for wrong in ({"weight": "luck", "per_1000_work_units_max": 5}, {"weight": "work-units"}):
        with pytest.raises(BadPolicy):
            RewardRule.read(Policy("reward-rule", 2, 0, json.dumps(wrong)))


def test_shares_are_in_the_order_of_parties():
    work = {"b": (1, 0), "a": (0, 2), "c": (0, 0)}
    assert share_out(10, work, {"b": 1, "a": 2, "c": 0}) == [("a", 0, 2, 2, 7), ("b", 1, 0, 1, 3)]
    assert share_out(0, work, {"b": 0, "a": 0, "c": 0}) == [("a", 0, 2, 0, 0), ("b", 1, 0, 0, 0)]
    assert share_out(0, {}, {}) == []


def test_policies_that_ship_are_understood():
    kinds = {policy.kind for policy in load()}
    assert kinds == {"rate-card", "emission", "reward-rule"}
