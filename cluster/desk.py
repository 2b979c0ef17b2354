"""What every part of the broker stands on: read, decide, commit, and read again when somebody else was faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from bithive.clock import Clock
from bithive.ids import Ids, is_id
from bithive.log import get
from bithive.receipt import Receipt
from cluster.attempt import Attempt
from cluster.attestation import NOBODY, Verifier
from cluster.bell import Bell
from cluster.cell_record import CellRecord
from cluster.cell_store import CellStore
from cluster.errors import AttemptAbsent, BrokerBusy, CellUnknown, LeaseLost, OfferAbsent
from cluster.moves import Durations
from cluster.offers import OfferRecord, OfferState
from cluster.presence import Presence
from cluster.protocol_node import NodeState
from cluster.register_store import MemoryRegister, RegisterStore
from cluster.signing_seen import Seen
from cluster.spool import Spool, payload_name
from cluster.store import Change, Stale, Store

WORK = "work"
"""The name under which the bell rings when an Offer may be leased."""

_TRIES = 50

T = TypeVar("T")

Watcher = Callable[[Change], None]
"""Sees every change of an Offer or Attempt once it is stored: counters and traces. It decides nothing."""

Attendant = Callable[[str, Mapping[str, NodeState], int], None]
"""Hears from which cell it was heard that its Nodes are in which state, and when (milliseconds since the epoch)."""


class Desk:
    """Stores, clock and bell, and how they are used.

    Attributes
    ----------
    own_work
        The institution id under which the network offers work of its own; empty where it offers none.
    """

    def __init__(
        self, store: Store, cells: CellStore, clock: Clock, ids: Ids, spool: Spool, durations: Durations
    ) -> None:
        self.store, self.cells, self.spool, self.bell = store, cells, spool, Bell()
        self.durations, self.presence = durations, Presence()
        self._clock, self._ids = clock, ids
        self.own_work = ""
        self.register: RegisterStore = MemoryRegister()
        self.seen = Seen(clock)
        self.verifier = Verifier(NOBODY, clock, ids)
        self.watchers: list[Watcher] = []
        self.attendants: list[Attendant] = []

    def _settle(self, step: Callable[[], T]) -> T:
        for _ in range(_TRIES):
            with suppress(Stale):
                return step()
        raise BrokerBusy

    def _commit(self, change: Change) -> None:
        self.store.commit(change)
        for watcher in self.watchers:
            _tell(watcher, change)
        for institution in {notice.institution for notice in change.notices}:
            self.bell.ring(institution)
        if change.offer is not None and change.offer.state is OfferState.OPEN:
            self.bell.ring(WORK)

    def _own_offer(self, institution: str, offer_id: str) -> OfferRecord:
        record = self.store.offer(offer_id) if is_id(offer_id, "off") else None
        if record is None or record.offer.institution != institution:
            raise OfferAbsent
        return record

    def _own_attempt(self, cell: str, attempt_id: str) -> Attempt:
        attempt = self.store.attempt(attempt_id) if is_id(attempt_id, "att") else None
        if attempt is None or attempt.cell != cell:
            raise AttemptAbsent
        return attempt

    def _leased(
        self, cell: str, attempt_id: str, fencing_token: int, at_ms: int | None = None
    ) -> tuple[Attempt, OfferRecord]:
        """The Attempt if its Lease holds at that time (now), with its Offer. Raises `LeaseLost`."""
        attempt = self._own_attempt(cell, attempt_id)
        now_ms = self._clock.now_ms() if at_ms is None else at_ms
        if not attempt.live or attempt.fencing_token != fencing_token or attempt.expires_ms <= now_ms:
            raise LeaseLost
        record = self.store.offer(attempt.offer_id)
        assert record is not None, "an Attempt has an Offer"
        if record.attempt_id != attempt_id:
            raise Stale  # between our two reads it went to another
        return attempt, record

    def _attempt_of(self, record: OfferRecord) -> Attempt | None:
        return self.store.attempt(record.attempt_id) if record.attempt_id else None

    def _cell(self, cell: str) -> CellRecord:
        record = self.cells.cell(cell)
        if record is None:
            raise CellUnknown
        self.presence.hear(record, self._clock.now_ms())
        return record

    def _accepted_before(self, attempt: Attempt, receipt: Receipt) -> bool:
        return attempt.receipt is not None and attempt.receipt.digest == receipt.digest

    def _clear(self, change: Change) -> None:
        """Delete the payload when the change has ended its Offer, or found it no good."""
        gone = (OfferState.EXHAUSTED, OfferState.AWAITING_PAYLOAD)
        if change.offer is not None and change.offer.state in gone:
            self.spool.delete(payload_name(change.offer.offer.offer_id))


def _tell(watcher: Watcher, change: Change) -> None:
    """What looks on never hinders what it looks at."""
    try:
        watcher(change)
    except Exception as error:  # noqa: BLE001 - the change is stored, whatever a watcher makes of it
        get().error("watcher.failed", exc_info=error)
