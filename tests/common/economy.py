"""Ledgers and events for the economy's tests."""

from __future__ import annotations

from bithive.canonical import digest
from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.outbox import Event
from economy.entry import Account, Asset, Entry, Party, move
from economy.ledger import Ledger
from economy.store import Store

COIN = Asset("COIN", 2, "test")
OTHER = Asset("OTHER", 0, "test")


class House:
    """A ledger with two assets, an issuer and some members."""

    def __init__(self, store: Store, clock: ManualClock | None = None, members: int = 3) -> None:
        self.clock = clock or ManualClock()
        self.ids = SeededIds(7, self.clock)
        self.store, self.ledger = store, Ledger(store, self.clock)
        self.issuer, *self.members = [self.ids.new("pty") for _ in range(members + 1)]
        parties = [Party(self.issuer, "network"), *(Party(member, "node") for member in self.members)]
        self.ledger.post(Entry("setup/all", "setup.done", declares=(COIN, OTHER, *parties)))

    def wallet(self, member: int, asset: Asset = COIN) -> Account:
        """A limited account."""
        return Account(self.members[member], "credit", asset.code)

    def claim(self, member: int) -> Account:
        """An unlimited account."""
        return Account(self.members[member], "receivable", COIN.code)

    def source(self, asset: Asset = COIN) -> Account:
        """The unlimited account that everything comes from."""
        return Account(self.issuer, "issuance", asset.code)

    def fund(self, member: int, amount: int, entry_id: str = "fund/1") -> None:
        self.ledger.post(Entry(entry_id, "funds.given", (move(self.source(), self.wallet(member), amount),)))

    def net(self, account: Account) -> int:
        balance = self.ledger.balance(account)
        return 0 if balance is None else balance.net

    def available(self, account: Account) -> int:
        balance = self.ledger.balance(account)
        return 0 if balance is None else balance.available


class Network:
    """Makes the network's events."""

    def __init__(self, clock: ManualClock, seed: int = 3) -> None:
        self.clock, self.ids = clock, SeededIds(seed, clock)
        self.institution, self.node, self.cell = (self.ids.new(prefix) for prefix in ("ins", "nod", "cel"))

    def opened(self, offer: str, work_units: int = 1460, deadline_s: float = 600, institution: str = "") -> Event:
        now_ms = self.clock.now_ms()
        body = {
            "offer_id": offer,
            "institution": institution or self.institution,
            "bundle": "intracranial_t1",
            "bundle_version": "1.0.0",
            "work_units": work_units,
            "deadline_ms": now_ms + round(deadline_s * 1000),
            "at_ms": now_ms,
        }
        return Event("offer.opened", offer, body)

    def accepted(self, offer: str, work_units: int = 1460, node: str = "", institution: str = "") -> Event:
        attempt = self.ids.new("att")
        body = {
            "offer_id": offer,
            "attempt_id": attempt,
            "institution": institution or self.institution,
            "cell": self.cell,
            "node": node or self.node,
            "operator": "Dr Jane Roe's basement",
            "bundle": "intracranial_t1",
            "bundle_version": "1.0.0",
            "work_units": work_units,
            "receipt_digest": digest({"attempt": attempt}),
            "at_ms": self.clock.now_ms(),
        }
        return Event("attempt.accepted", attempt, body)

    def closed(self, offer: str, reason: str = "withdrawn") -> Event:
        return Event("offer.closed", offer, {"offer_id": offer, "reason": reason, "at_ms": self.clock.now_ms()})
