"""Where Offers, Attempts and notices are kept: the port, and the store in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bithive.outbox import Event, MemoryOutbox, Outbox
from cluster.attempt import LIVE, Attempt
from cluster.chain_store import ChainStore, MemoryChainStore, Noted
from cluster.offers import UNFINISHED, OfferRecord, OfferState
from cluster.online_store import MemoryOnlineStore, OnlineStore


class Stale(Exception):
    """Somebody else changed the record first: read it again and decide anew."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an institution is told about one of its Offers.

    Attributes
    ----------
    institution, offer_id
        Whose, and which.
    topic, at_ms
        What happened, and when.
    body
        Further members: `attempt_id`, `cell`, `node`, `stage`, `fraction`, `code`, `receipt`.
    seq
        Its place among all notices; 0 before it is stored.
    """

    institution: str
    offer_id: str
    topic: str
    at_ms: int
    body: dict[str, Any] = field(default_factory=dict)
    seq: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the institution receives it."""
        return {"seq": self.seq, "topic": self.topic, "at_ms": self.at_ms, "offer_id": self.offer_id, **self.body}


@dataclass(frozen=True, slots=True)
class Change:
    """What is written in one transaction, or not at all.

    Attributes
    ----------
    offer, attempt
        The records as they shall be. Revision 1 is a new record; any other replaces the revision before it.
    events
        For the outbox, from where the ledger hears of them.
    notices
        For the institution.
    noted
        A counter-receipt and what goes with it.
    others
        Further Attempts as they shall be.
    """

    offer: OfferRecord | None = None
    attempt: Attempt | None = None
    events: tuple[Event, ...] = ()
    notices: tuple[Notice, ...] = ()
    noted: Noted = field(default_factory=Noted)
    others: tuple[Attempt, ...] = ()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every Attempt that it changes."""
        return (*((self.attempt,) if self.attempt is not None else ()), *self.others)


@dataclass(frozen=True, slots=True)
class Due:
    """What the clock has ended: live Attempts whose Lease is over, Offers that nobody has and whose deadline passed."""

    attempts: tuple[Attempt, ...]
    offers: tuple[OfferRecord, ...]


class Store(Protocol):
    """Offers, Attempts, notices and the outbox, in one database."""

    @property
    def outbox(self) -> Outbox:
        """Events for the ledger."""

    @property
    def chain(self) -> ChainStore:
        """Counter-receipts, and findings seen before."""

    @property
    def online(self) -> OnlineStore:
        """Who was there."""

    def offer(self, offer_id: str) -> OfferRecord | None:
        """One Offer."""

    def attempt(self, attempt_id: str) -> Attempt | None:
        """One Attempt."""

    def waiting(self, now_ms: int, offset: int = 0, limit: int = 100) -> Sequence[OfferRecord]:
        """OPEN Offers that are ready by now, in the order of `OfferRecord.rank`."""

    def due(self, now_ms: int, limit: int = 100) -> Due:
        """What ends by now, the oldest first."""

    def unfinished(self, institution: str) -> int:
        """How many Offers of that institution wait or are leased."""

    def flagged(self, node: str, limit: int = 100) -> Sequence[Attempt]:
        """Attempts of a Node that are to be recomputed for certain, newest first."""

    def notices(self, institution: str, after: int, limit: int = 100) -> Sequence[Notice]:
        """Its notices beyond a place, in order. A notice is never stored before one that was read already."""

    def commit(self, change: Change) -> None:
        """Write all of it durably, or nothing. Raises `Stale`."""


class MemoryStore:
    """Everything in dictionaries: for tests and simulations."""

    def __init__(self) -> None:
        self.outbox = MemoryOutbox()
        self.chain, self.online = MemoryChainStore(), MemoryOnlineStore()
        self._offers: dict[str, OfferRecord] = {}
        self._open: dict[str, OfferRecord] = {}
        self._attempts: dict[str, Attempt] = {}
        self._live: dict[str, Attempt] = {}
        self._notices: list[Notice] = []
        self._lock = threading.Lock()

    def offer(self, offer_id: str) -> OfferRecord | None:
        return self._offers.get(offer_id)

    def attempt(self, attempt_id: str) -> Attempt | None:
        return self._attempts.get(attempt_id)

    def waiting(self, now_ms: int, offset: int = 0, limit: int = 100) -> Sequence[OfferRecord]:
        with self._lock:
            ready = [record for record in self._open.values() if record.ready_ms <= now_ms]
        return sorted(ready, key=lambda record: record.rank)[offset : offset + limit]

    def due(self, now_ms: int, limit: int = 100) -> Due:
        with self._lock:
            attempts = [item for item in self._live.values() if item.expires_ms <= now_ms]
            waiting = (OfferState.OPEN, OfferState.AWAITING_PAYLOAD)
            offers = [
                item for item in self._offers.values() if item.state in waiting and item.offer.deadline_ms <= now_ms
            ]
        attempts.sort(key=lambda item: (item.expires_ms, item.attempt_id))
        offers.sort(key=lambda item: (item.offer.deadline_ms, item.offer.offer_id))
        return Due(tuple(attempts[:limit]), tuple(offers[:limit]))

    def unfinished(self, institution: str) -> int:
        with self._lock:
            return sum(
                item.state in UNFINISHED and item.offer.institution == institution for item in self._offers.values()
            )

    def flagged(self, node: str, limit: int = 100) -> Sequence[Attempt]:
        with self._lock:
            found = [item for item in self._attempts.values() if item.flag and item.node == node]
        return sorted(found, key=lambda item: (item.ended_ms, item.attempt_id), reverse=True)[:limit]

    def notices(self, institution: str, after: int, limit: int = 100) -> Sequence[Notice]:
        with self._lock:
            return [item for item in self._notices[max(0, after) :] if item.institution == institution][:limit]

    def commit(self, change: Change) -> None:
        with self._lock:
            _check_revision(change.offer, self._offers.get(change.offer.offer.offer_id) if change.offer else None)
            for attempt in change.attempts:
                _check_revision(attempt, self._attempts.get(attempt.attempt_id))
            if not self.chain.fits(change.noted):
                raise Stale
            if change.offer is not None:
                self._place_offer(change.offer)
            for attempt in change.attempts:
                self._place_attempt(attempt)
            self.chain.note(change.noted)
            for event in change.events:
                self.outbox.append(event)
            for notice in change.notices:
                self._notices.append(replace(notice, seq=len(self._notices) + 1))

    def _place_offer(self, record: OfferRecord) -> None:
        self._offers[record.offer.offer_id] = record
        if record.state is OfferState.OPEN:
            self._open[record.offer.offer_id] = record
        else:
            self._open.pop(record.offer.offer_id, None)

    def _place_attempt(self, attempt: Attempt) -> None:
        self._attempts[attempt.attempt_id] = attempt
        if attempt.state in LIVE:
            self._live[attempt.attempt_id] = attempt
        else:
            self._live.pop(attempt.attempt_id, None)


def _check_revision(new: OfferRecord | Attempt | None, stored: OfferRecord | Attempt | None) -> None:
    if new is not None and new.revision != (stored.revision if stored is not None else 0) + 1:
        raise Stale
