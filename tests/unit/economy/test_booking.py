from __future__ import annotations

import itertools
import json
import threading
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from bithive.outbox import Event, MemoryOutbox, Relay
from economy.booking import Booking
from economy.charges import Flag, charge_id, hold_id
from economy.entry import Account, Entry, Policy, move
from economy.errors import LedgerUnavailable
from economy.measures import receipt_id
from economy.policies import load
from economy.rates import Rates
from economy.statement import RewardState, State, of_offer

HOLD = 80_000 + 1460 * 60
LINE = 10_000_000_000


def credit(economy, network):
    party = economy.parties.of("institution", network.institution)
    return economy.ledger.balance(Account(party, "credit", "EUR"))


def owed(economy, network):
    party = economy.parties.of("institution", network.institution)
    balance = economy.ledger.balance(Account(party, "receivable", "EUR"))
    return 0 if balance is None else -balance.net


def spend_credit(economy, network, left=0):
    """Leave the institution with almost nothing."""
    party = economy.parties.of("institution", network.institution)
    net = economy.parties.of("network")
    economy.booking._payers(network.institution, Rates(load()).at(0))
    legs = (move(Account(party, "credit", "EUR"), Account(net, "clearing", "EUR"), LINE - left),)
    economy.ledger.post(Entry("test/spend", "test.spent", legs))


def test_a_study_is_held_charged_and_split(economy, network, offer):
    economy.booking.take(network.opened(offer))
    statement = of_offer(economy.ledger, offer)
    assert (statement.state, statement.hold, statement.charge) == (State.HELD, HOLD, None)
    assert credit(economy, network).available == LINE - HOLD
    economy.booking.take(network.accepted(offer, work_units=1000))
    statement = of_offer(economy.ledger, offer)
    assert (statement.state, statement.charge, statement.flag) == (State.SETTLED, 140_000, None)
    assert [(share.label, share.amount) for share in statement.split] == [
        ("node", 98_000),
        ("operator", 14_000),
        ("hub", 14_000),
        ("protocol", 14_000),
    ]
    assert statement.work_units == 1000
    assert statement.text(statement.charge) == "0.14 EUR"
    assert credit(economy, network).available == LINE - 140_000
    assert owed(economy, network) == 0


def test_the_hold_outlives_deadline_and_lease(economy, network, clock, offer):
    economy.booking.take(network.opened(offer, deadline_s=100))
    clock.advance_s(100 + 15 + 60)
    economy.booking.take(network.accepted(offer))
    assert of_offer(economy.ledger, offer).flag is None


def test_an_actual_after_the_hold_expired_is_owed_and_flagged(economy, network, clock, offer):
    economy.booking.take(network.opened(offer, deadline_s=100))
    clock.advance_s(100 + 15 + 60 + 2)
    economy.ledger.expire()
    assert of_offer(economy.ledger, offer).state is State.EXPIRED
    economy.booking.take(network.accepted(offer))
    statement = of_offer(economy.ledger, offer)
    assert (statement.state, statement.flag) == (State.SETTLED, Flag.HOLD_EXPIRED)
    assert owed(economy, network) == statement.charge == sum(share.amount for share in statement.split)
    assert credit(economy, network).available == LINE


def test_an_actual_above_the_hold_is_owed_for_the_difference(economy, network, offer):
    economy.booking.take(network.opened(offer, work_units=1000))
    economy.booking.take(network.accepted(offer, work_units=1500))
    statement = of_offer(economy.ledger, offer)
    assert (statement.charge, statement.flag) == (170_000, Flag.ABOVE_HOLD)
    assert owed(economy, network) == 30_000
    assert credit(economy, network).available == LINE - 140_000


def test_lack_of_funds_delays_nothing(economy, network, offer):
    spend_credit(economy, network, left=HOLD - 1)
    economy.booking.take(network.opened(offer))
    assert of_offer(economy.ledger, offer).state is State.UNSECURED
    economy.booking.take(network.accepted(offer))
    statement = of_offer(economy.ledger, offer)
    assert (statement.state, statement.flag, statement.hold) == (State.SETTLED, Flag.INSUFFICIENT_FUNDS, None)
    assert owed(economy, network) == HOLD


def test_an_actual_before_its_offer_is_charged_to_the_credit(economy, network, offer):
    opened, accepted = network.opened(offer), network.accepted(offer)
    economy.booking.take(accepted)
    assert of_offer(economy.ledger, offer).flag == Flag.BEFORE_HOLD
    economy.booking.take(opened)
    assert economy.ledger.find(hold_id(offer)) is None
    assert credit(economy, network).available == LINE - HOLD


def test_an_actual_before_its_offer_and_without_funds_is_owed(economy, network, offer):
    spend_credit(economy, network)
    economy.booking.take(network.accepted(offer))
    assert of_offer(economy.ledger, offer).flag == Flag.INSUFFICIENT_FUNDS
    assert owed(economy, network) == HOLD


def test_a_closed_offer_costs_nothing(economy, network, offer):
    economy.booking.take(network.opened(offer))
    economy.booking.take(network.closed(offer, "exhausted"))
    assert of_offer(economy.ledger, offer).state is State.RELEASED
    assert credit(economy, network).available == LINE


def test_an_actual_of_a_closed_offer_is_still_paid(economy, network, offer):
    economy.booking.take(network.opened(offer))
    economy.booking.take(network.closed(offer))
    economy.booking.take(network.accepted(offer))
    assert of_offer(economy.ledger, offer).flag == Flag.HOLD_RELEASED
    assert owed(economy, network) == HOLD


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_any_number_of_times(economy, network, offer, order):
    events = [network.opened(offer), network.accepted(offer), network.closed(offer)]
    for _ in range(2):
        for index in order:
            economy.booking.take(events[index])
    balance = credit(economy, network)
    assert balance.debit_pending == 0
    assert LINE - balance.available + owed(economy, network) == HOLD
    assert of_offer(economy.ledger, offer).charge == HOLD
    assert of_offer(economy.ledger, offer).work_units == 1460


def test_a_hold_that_comes_after_the_charge_is_released(economy, network, offer):
    """Two takers at once: the one that opens had looked before the other charged."""
    economy.booking.take(network.accepted(offer))
    blind = Booking(economy.ledger, load(), economy.parties)
    blind._find = lambda entry_id: None if entry_id == charge_id(offer) else economy.ledger.find(entry_id)
    blind.take(network.opened(offer))
    assert credit(economy, network).debit_pending == HOLD
    economy.booking.take(network.opened(offer))
    assert credit(economy, network).debit_pending == 0
    assert credit(economy, network).available == LINE - HOLD


def test_many_takers_of_the_same_events(economy, network):
    offers = [network.ids.new("off") for _ in range(6)]
    events = [make(offer) for offer in offers for make in (network.opened, network.accepted, network.closed)]

    def take(start):
        for index in range(len(events)):
            event, taken = events[(start + index * 5) % len(events)], False
            while not taken:
                with suppress(LedgerUnavailable):
                    economy.booking.take(event)
                    taken = True

    crowd = [threading.Thread(target=take, args=(start,)) for start in range(6)]
    with capture_logs():
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
    balance = credit(economy, network)
    assert balance.debit_pending == 0
    assert LINE - balance.available + owed(economy, network) == 6 * HOLD
    node = economy.parties.of("node", network.node)
    assert economy.ledger.balance(Account(node, "work", "RU")).net == 6 * 1460 * 10_000


def test_a_second_receipt_of_an_offer_earns_and_costs_nothing_more(economy, network, offer):
    first, second = network.accepted(offer), network.accepted(offer, work_units=900)
    economy.booking.take(first)
    economy.booking.take(second)
    node = economy.parties.of("node", network.node)
    assert economy.ledger.balance(Account(node, "work", "RU")).net == (1460 + 900) * 10_000
    assert of_offer(economy.ledger, offer).charge == HOLD


def test_the_price_is_that_of_the_hold(economy, network, clock, offer):
    economy.booking.take(network.opened(offer))
    content = json.loads(next(policy.content for policy in load() if policy.kind == "rate-card"))
    content["prices"] = {"*": {"fixed": 1, "per_1000_work_units": 0}}
    dearer = Policy("rate-card", 2, clock.now_ms() + 1, json.dumps(content))
    booking = Booking(economy.ledger, [*load(), dearer], economy.parties)
    clock.advance_s(1)
    booking.take(network.accepted(offer))
    assert of_offer(economy.ledger, offer).charge == HOLD
    other = network.ids.new("off")
    booking.take(network.opened(other))
    booking.take(network.accepted(other))
    assert of_offer(economy.ledger, other).charge == 1


def test_free_work_is_booked_too(economy, network, clock, offer):
    free = {
        "currency": "EUR",
        "credit_line": 0,
        "prices": {"*": {"fixed": 0, "per_1000_work_units": 0}},
        "split_bp": {"node": 10000, "operator": 0, "hub": 0, "protocol": 0},
    }
    booking = Booking(economy.ledger, [*load(), Policy("rate-card", 9, 0, json.dumps(free))], economy.parties)
    booking.take(network.opened(offer))
    booking.take(network.accepted(offer))
    statement = of_offer(economy.ledger, offer)
    assert (statement.charge, statement.split, statement.work_units) == (0, (), 1460)


@pytest.mark.parametrize(
    "change",
    [
        {"offer_id": "1.2.840.10008"},
        {"work_units": 0},
        {"work_units": 1.5},
        {"work_units": 10**15},
        {"at_ms": -1},
        {"bundle": "Jane Roe"},
        {"institution": "Demonstration Hospital"},
        {"deadline_ms": None},
    ],
)
def test_a_malformed_event_is_recorded_as_such_and_holds_up_no_other(economy, network, offer, change):
    event = network.opened(offer)
    bad = Event(event.topic, event.key, event.body | change)
    economy.booking.take(bad)
    economy.booking.take(bad)
    with economy.ledger.store.reading() as snapshot:
        (row,) = snapshot.log(kind="event.rejected")
    assert str(next(iter(change.values()))) not in json.loads(row.content)["facts"].values()
    economy.booking.take(Event("offer.opened", "other", {}))
    economy.booking.take(event)
    assert of_offer(economy.ledger, offer).state is State.HELD


def test_other_topics_are_not_ours(economy):
    economy.booking.take(Event("cell.seen", "x", {}))


def test_a_stopped_ledger_is_asked_again(economy, network, offer):
    outbox, taken = MemoryOutbox(), []
    outbox.append(network.opened(offer))

    def take(event):
        if not taken:
            taken.append(event)
            raise LedgerUnavailable
        economy.booking.take(event)

    with capture_logs():
        assert Relay(outbox, take).drain() == 0
    assert Relay(outbox, take).drain() == 1
    assert of_offer(economy.ledger, offer).state is State.HELD


def test_a_closed_ledger_raises_unavailable(economy, network, offer):
    economy.ledger.close()
    with pytest.raises(LedgerUnavailable):
        economy.booking.take(network.opened(offer))


def test_work_units_are_booked_under_the_receipts_digest(economy, network, offer):
    event = network.accepted(offer)
    economy.booking.take(event)
    row = economy.ledger.get(receipt_id(event.body["receipt_digest"]))
    assert row.kind == "work.measured"
    statement = of_offer(economy.ledger, offer)
    assert statement.receipt == event.body["receipt_digest"]
    assert statement.reward_state is RewardState.ACCRUED


def test_an_offer_that_is_not_booked(economy, network, offer):
    assert of_offer(economy.ledger, offer).state is State.NONE
    economy.booking.take(network.closed(offer))
    assert of_offer(economy.ledger, offer).state is State.RELEASED


def test_the_networks_own_work_is_its_own_expense(economy, network, offer):
    economy.booking.own_work = network.institution
    economy.booking.take(network.opened(offer))
    economy.booking.take(network.accepted(offer, work_units=1000))
    own = economy.parties.of("network")
    expense = economy.ledger.balance(Account(own, "expense", "EUR"))
    assert expense is not None
    assert -expense.net == of_offer(economy.ledger, offer).charge == 140_000
    assert [share.amount for share in of_offer(economy.ledger, offer).split] == [98_000, 14_000, 14_000, 14_000]
    assert economy.parties.find("institution", network.institution) is None


def test_the_networks_own_work_that_nobody_did_costs_nothing(economy, network, offer):
    economy.booking.own_work = network.institution
    economy.booking.take(network.opened(offer))
    economy.booking.take(network.closed(offer))
    own = economy.parties.of("network")
    expense = economy.ledger.balance(Account(own, "expense", "EUR"))
    assert expense is None or (expense.net, expense.available) == (0, 0)
