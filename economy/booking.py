"""Takes the network's events into the ledger: any number of times, in any order.

Each event ends in the same entries whatever came before it, because every entry's id comes from the Offer or the
Receipt and a decision once recorded is found again instead of being made anew. When the ledger cannot take entries,
`LedgerUnavailable` reaches the relay, which asks again later; nothing else waits for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bithive.log import get
from bithive.outbox import Event
from economy.book import EntryRow, facts_of
from economy.charges import (
    Payers,
    charge_id,
    charges,
    close_id,
    closes,
    credit_id,
    grant,
    hold_id,
    holds,
    surplus,
)
from economy.entry import AMOUNT_MAX, Entry, Policy
from economy.errors import (
    EntryDiffers,
    EntryRunning,
    InsufficientFunds,
    LedgerUnavailable,
    PendingResolved,
    PendingUnknown,
    PeriodClosed,
)
from economy.events import AttemptAccepted, BadEvent, NodeCaught, NodeOnline, OfferClosed, OfferOpened
from economy.ledger import Ledger
from economy.measures import caught, caught_id, online, online_id, receipt_id, work
from economy.parties import HUB, NETWORK, PROTOCOL, Parties
from economy.policies import in_force
from economy.rates import RateCard, Rates
from economy.rewards import RewardRule

_NOT_THIS_WAY = (InsufficientFunds, PendingResolved, PendingUnknown)


class Booking:
    """Holds, charges and what is measured of nodes, from events.

    Parameters
    ----------
    ledger
        Where entries go.
    policies
        Rate cards and reward rules of all times.
    parties
        Who stands for whom.

    Attributes
    ----------
    own_work
        The institution id under which the network offers work of its own: the network itself pays for it.
    """

    def __init__(self, ledger: Ledger, policies: Sequence[Policy], parties: Parties) -> None:
        self._ledger, self._policies, self._parties = ledger, policies, parties
        self._rates = Rates(policies)
        self._granted: set[str] = set()
        self.own_work = ""
        self._takers: dict[str, Callable[[dict[str, Any]], None]] = {
            "offer.opened": lambda body: self._opened(OfferOpened.read(body)),
            "attempt.accepted": lambda body: self._accepted(AttemptAccepted.read(body)),
            "offer.closed": lambda body: self._closed(OfferClosed.read(body)),
            "node.online": lambda body: self._online(NodeOnline.read(body)),
            "node.caught": lambda body: self._caught(NodeCaught.read(body)),
        }

    def take(self, event: Event) -> None:
        """Book one event; other topics are passed over.

        A malformed event is recorded as such (`event.rejected`) and never asked for again: it must not hold up others.

        Raises
        ------
        LedgerUnavailable
            Try the same event again later.
        """
        taker = self._takers.get(event.topic)
        if taker is None:
            return
        try:
            taker(event.body)
        except BadEvent as error:
            digest = hashlib.sha256(f"{event.topic}\x00{event.key}".encode()).hexdigest()
            facts = {"topic": event.topic, "reason": error.detail}
            self._first([Entry(f"event/{digest}", "event.rejected", facts=facts)])

    def _opened(self, event: OfferOpened) -> None:
        card = self._rates.at(event.at_ms)
        _check_price(card, event)
        payers = self._payers(event.institution, card)
        if self._find(charge_id(event.offer_id)) is None and self._find(close_id(event.offer_id)) is None:
            self._first(holds(event, card, payers))
        self._release_surplus(event.offer_id)

    def _accepted(self, event: AttemptAccepted) -> None:
        network = self._parties.of(NETWORK)
        recipients = {
            "node": self._parties.of("node", event.node),
            "operator": self._parties.of("operator", event.operator),
            "hub": self._parties.of(HUB),
            "protocol": self._parties.of(PROTOCOL),
        }
        held = self._find(hold_id(event.offer_id))
        card = self._rates.version(facts_of(held)["rate_card"]) if held else self._rates.at(event.at_ms)
        _check_price(card, event)
        if self._find(receipt_id(event.receipt_digest)) is None:
            rule = RewardRule.read(in_force(self._policies, "reward-rule", event.at_ms))
            self._first([work(event, recipients["node"], recipients["operator"], network, rule)])
        amount = None if held is None else _held_amount(held)
        closed = self._find(close_id(event.offer_id)) is not None
        payers = self._payers(event.institution, card)
        self._first(charges(event, card, payers, recipients, amount, closed=closed))
        self._release_surplus(event.offer_id)

    def _closed(self, event: OfferClosed) -> None:
        self._first(closes(event))
        self._release_surplus(event.offer_id)

    def _online(self, event: NodeOnline) -> None:
        node = self._parties.of("node", event.node)
        if self._find(online_id(node, event.from_ms)) is None:
            self._first([online(event, node, self._parties.of("operator", event.operator))])

    def _caught(self, event: NodeCaught) -> None:
        if self._find(caught_id(event.attempt_id)) is None:
            node, operator = self._parties.of("node", event.node), self._parties.of("operator", event.operator)
            self._first([caught(event, node, operator)])

    def _payers(self, institution: str, card: RateCard) -> Payers:
        network = self._parties.of(NETWORK)
        if institution == self.own_work:
            return Payers.own(network, card.currency)
        party = self._parties.of("institution", institution)
        if party not in self._granted:
            if self._find(credit_id(party)) is None:
                self._first([grant(party, network, card)])
            self._granted.add(party)
        return Payers.of(party, network, card.currency)

    def _release_surplus(self, offer_id: str) -> None:
        """Whichever of two events comes second, a hold does not outlive the Offer's end."""
        ended = self._find(charge_id(offer_id)) or self._find(close_id(offer_id))
        held = self._find(hold_id(offer_id))
        if ended is not None and held is not None and _held_amount(held):
            try:
                self._post(surplus(offer_id))
            except PendingResolved:
                return

    def _first(self, ways: Sequence[Entry]) -> None:
        """Record the first way that the ledger takes, unless one is recorded already."""
        if self._find(ways[0].entry_id) is not None:
            return
        for entry in ways:
            try:
                self._post(entry)
            except _NOT_THIS_WAY:
                if entry is ways[-1]:
                    raise
            except EntryDiffers:
                get().warning("entry.differs", entry=entry.entry_id)
                return
            else:
                return

    def _post(self, entry: Entry) -> None:
        """Record an entry; what comes after its period was closed, with the value date of today.

        Raises
        ------
        LedgerUnavailable
            Also when somebody else is recording the same entry: in a moment it is known whether that was done.
        """
        try:
            self._ledger.post(entry)
        except EntryRunning as error:
            raise LedgerUnavailable from error
        except PeriodClosed:
            facts = {**entry.facts, "value_date_was": entry.effective_ms}
            self._ledger.post(replace(entry, facts=facts, effective_ms=None))

    def _find(self, entry_id: str) -> EntryRow | None:
        return self._ledger.find(entry_id)


def _held_amount(row: EntryRow) -> int:
    return int(facts_of(row)["amount"]) if row.kind == "charge.held" else 0


def _check_price(card: RateCard, event: OfferOpened | AttemptAccepted) -> None:
    if card.price(event.bundle, event.bundle_version, event.work_units) > AMOUNT_MAX:
        raise BadEvent("the price is out of range")
