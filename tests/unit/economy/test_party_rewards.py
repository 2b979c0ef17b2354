"""Every unit of a reward down to Receipts."""

from __future__ import annotations

import pytest

from bithive.outbox import Event
from economy.entry import Account
from economy.money import BTT
from economy.party_rewards import Standing, rewards
from economy.party_statement import open_statement
from economy.statement_period import Period


def accepted(economy, network, node=0, work_units=1000, operator="op", **more):
    """An accepted Attempt of one of several nodes; its Receipt's digest."""
    event = network.accepted(network.ids.new("off"), work_units=work_units, node=nodes(network)[node])
    economy.booking.take(Event(event.topic, event.key, event.body | {"operator": operator} | more))
    return event.body["receipt_digest"]


def nodes(network):
    if not hasattr(network, "many"):
        network.many = [network.ids.new("nod") for _ in range(4)]
    return network.many


def tell(economy, topic, key, **body):
    economy.booking.take(Event(topic, key, body | {"at_ms": economy.ledger.clock.now_ms()}))


def found(economy, kind, ref, period=None):
    party, now_ms = economy.parties.find(kind, ref), economy.ledger.clock.now_ms()
    statement = open_statement(economy.ledger.store, party, period or Period.month_of(now_ms), now_ms)
    return list(rewards(economy.ledger.store, statement))


def earned(economy, node):
    balance = economy.ledger.balance(Account(economy.parties.find("node", node), "earned", BTT.code))
    return 0 if balance is None else balance.credit_posted + balance.credit_pending


@pytest.fixture
def epoch(economy, network, clock):
    digests = [accepted(economy, network, node=number % 3, work_units=1000 + 13 * number) for number in range(11)]
    clock.advance_s(1000)
    economy.epochs.close()
    return digests


def test_a_reward_is_the_sum_of_its_receipts_to_the_unit(economy, network, epoch):
    seen, total = [], 0
    for node in nodes(network)[:3]:
        (reward,) = found(economy, "node", node)
        assert reward.amount == earned(economy, node) > 0
        assert sum(part.amount for part in reward.receipts) == reward.amount
        assert sum(part.units for part in reward.receipts) == reward.units == reward.weight
        assert all(part.units == part.work_units * 10_000 for part in reward.receipts)
        assert reward.state is Standing.HELD
        seen += [part.receipt for part in reward.receipts]
        total += reward.units
        assert reward.factor_bp == 10_000
        whole = reward.total_units
    assert sorted(seen) == sorted(epoch)
    assert whole == total


def test_an_operator_sees_the_rewards_of_its_nodes_alone(economy, network, clock):
    for node, operator in ((0, "one"), (1, "one"), (2, "two"), (0, "one")):
        accepted(economy, network, node=node, operator=operator)
    clock.advance_s(1000)
    economy.epochs.close()
    one, two = found(economy, "operator", "one"), found(economy, "operator", "two")
    assert [len(reward.receipts) for reward in one] in ([2, 1], [1, 2])
    assert {reward.node for reward in one} == {economy.parties.find("node", node) for node in nodes(network)[:2]}
    assert [reward.node for reward in two] == [economy.parties.find("node", nodes(network)[2])]
    assert sum(reward.amount for reward in one) == earned(economy, nodes(network)[0]) + earned(
        economy, nodes(network)[1]
    )


def test_work_between_the_close_and_its_parts_belongs_to_the_next_epoch(economy, network, clock, epoch):
    late = accepted(economy, network, node=0)
    clock.advance_s(4000)
    economy.epochs.close()
    first, second = found(economy, "node", nodes(network)[0])
    assert late not in [part.receipt for part in first.receipts]
    assert [part.receipt for part in second.receipts] == [late]
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.amount + second.amount == earned(economy, nodes(network)[0])


def test_speed_quality_and_online_time_are_said(economy, network, clock):
    accepted(economy, network, node=0, work_units=1000, interval_ms=800, quality_bp=9_000)
    accepted(economy, network, node=1, work_units=1000)
    now_ms = clock.now_ms()
    window = {"from_ms": now_ms - 1000, "to_ms": now_ms, "declared_ms": 1000, "kept_ms": 400}
    tell(economy, "node.online", "online-1", node=nodes(network)[0], operator="op", **window)
    clock.advance_s(1000)
    economy.epochs.close()
    (reward,) = found(economy, "node", nodes(network)[0])
    (part,) = reward.receipts
    assert (part.quality_bp, part.speed_bp > 10_000) == (9_000, True)
    assert part.units == 1000 * 9_000 * part.speed_bp // 10_000
    assert reward.factor_bp < 10_000
    assert reward.weight == reward.units * reward.factor_bp // 10_000
    assert part.amount == reward.amount == earned(economy, nodes(network)[0])
    assert reward.amount < found(economy, "node", nodes(network)[1])[0].amount


def test_what_is_settled_and_what_is_voided_is_said(economy, network, clock, epoch):
    caught, honest = nodes(network)[0], nodes(network)[1]
    tell(
        economy,
        "node.caught",
        "caught-1",
        node=caught,
        operator="op",
        attempt_id=network.ids.new("att"),
        reason="recomputed",
    )
    clock.advance_s(80 * 3600)
    for _ in range(6):
        economy.settlements.tick()
    period = Period.month_of(clock.now_ms() - 80 * 3_600_000)
    (voided,), (settled,) = found(economy, "node", caught, period), found(economy, "node", honest, period)
    assert (voided.state, settled.state) == (Standing.VOIDED, Standing.SETTLED)
    assert voided.amount > 0
    assert sum(part.amount for part in voided.receipts) == voided.amount


def test_work_of_a_node_that_was_caught_before_is_retired_unpaid(economy, network, clock):
    accepted(economy, network, node=0)
    accepted(economy, network, node=1)
    tell(
        economy,
        "node.caught",
        "c",
        node=nodes(network)[0],
        operator="op",
        attempt_id=network.ids.new("att"),
        reason="recomputed",
    )
    clock.advance_s(1000)
    economy.epochs.close()
    (reward,) = found(economy, "node", nodes(network)[0])
    assert (reward.state, reward.amount, reward.weight) == (Standing.UNPAID, 0, 0)
    assert [part.amount for part in reward.receipts] == [0]
    assert reward.units > 0


def test_others_and_other_periods_have_none(economy, network, clock, epoch):
    for kind, ref in (("institution", network.institution), ("hub", ""), ("network", "")):
        assert found(economy, kind, ref) == []
    now = Period.month_of(clock.now_ms())
    for other in (now.after(), now.before(), Period.parse("1999")):
        assert found(economy, "node", nodes(network)[0], other) == []
