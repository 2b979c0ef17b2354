"""What the broker does between requests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from bithive.ids import is_id
from bithive.log import get
from cluster import moves
from cluster.desk import WORK, Desk
from cluster.duplicates import SightingKeys
from cluster.errors import LeaseLost
from cluster.offers import OfferState
from cluster.online import Attendance
from cluster.spool import findings_name, payload_name
from cluster.store import Stale

_PAGE = 100
_WITH_PAYLOAD = (OfferState.OPEN, OfferState.LEASED, OfferState.ACCEPTED)
_ALL = 2**31
_FAR_MS = 2**53


class Housekeeping(Desk):
    """Ends what the clock has ended; puts things right after a restart.

    Attributes
    ----------
    attendance
        Who was there.
    sighting_keys
        Under what findings are remembered.
    """

    attendance: Attendance
    sighting_keys: SightingKeys
    _period = -1

    def expire(self) -> int:
        """End what the clock has ended, and wake cells when an Offer may be leased; how many ended."""
        count, now_ms = 0, self._clock.now_ms()
        while True:
            due = self.store.due(now_ms, _PAGE)
            for attempt in due.attempts:
                count += self._settle_one(partial(self._expire, attempt.attempt_id, now_ms))
            for record in due.offers:
                count += self._settle_one(partial(self._overdue, record.offer.offer_id, now_ms))
            if len(due.attempts) + len(due.offers) < _PAGE:
                break
        if self.store.waiting(now_ms, 0, 1):
            self.bell.ring(WORK)
        self.attendance.tick(now_ms)
        self._forget(now_ms)
        return count

    def _forget(self, now_ms: int) -> None:
        """Once a period: the key of the last one is gone, and with it go the rows that nobody can compare any more."""
        period, _ = self.sighting_keys.at(now_ms)
        if period != self._period:
            self.store.chain.forget(period)
            self._period = period

    def recover(self) -> None:
        """Once at start: spare Leases that nobody could renew, ask again for lost payloads, sweep the spool."""
        now_ms, horizon_ms = self._clock.now_ms(), _FAR_MS
        for attempt in self.store.due(horizon_ms, _ALL).attempts:
            record = self.store.offer(attempt.offer_id)
            assert record is not None, "an Attempt has an Offer"
            self.store.commit(moves.spared(record, attempt, now_ms, self.durations))
        for record in self.store.waiting(horizon_ms, 0, _ALL):
            if self.spool.size_bytes(payload_name(record.offer.offer_id)) != record.sealed_bytes:
                self._commit(moves.payload_lost(record, now_ms))
        self.spool.sweep(self._wanted)

    def _settle_one(self, step: Callable[[], int]) -> int:
        """A step of housekeeping: whoever was faster has done it."""
        with suppress(Stale, LeaseLost):
            return step()
        return 0

    def _expire(self, attempt_id: str, now_ms: int) -> int:
        attempt = self.store.attempt(attempt_id)
        assert attempt is not None, "it was listed"
        record = self.store.offer(attempt.offer_id)
        assert record is not None, "an Attempt has an Offer"
        if not attempt.live or attempt.expires_ms > now_ms:
            return 0
        change = moves.expired(record, attempt, now_ms, self.durations)
        self._commit(change)
        self._clear(change)
        get().info("attempt.expired", attempt=attempt_id, cell=attempt.cell)
        return 1

    def _overdue(self, offer_id: str, now_ms: int) -> int:
        record = self.store.offer(offer_id)
        assert record is not None, "it was listed"
        if record.state not in (OfferState.OPEN, OfferState.AWAITING_PAYLOAD):
            return 0
        change = moves.overdue(record, now_ms)
        self._commit(change)
        self._clear(change)
        return 1

    def _wanted(self, name: str) -> bool:
        identifier, _, kind = name.partition(".")
        if kind == "payload" and is_id(identifier, "off"):
            record = self.store.offer(identifier)
            return record is not None and record.state in _WITH_PAYLOAD
        if is_id(identifier, "att"):
            attempt = self.store.attempt(identifier)
            if attempt is None or attempt.receipt is None or name != findings_name(identifier, attempt.receipt.digest):
                return False
            record = self.store.offer(attempt.offer_id)
            return record is not None and record.state is OfferState.ACCEPTED
        return False
