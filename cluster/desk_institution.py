"""What institutions ask of the broker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bithive.canonical import digest
from bithive.envelope import sealed_size_bytes
from bithive.errors import Forbidden, LimitExceeded
from bithive.ids import is_id
from bithive.limits import OPEN_OFFERS_MAX, PAYLOAD_BYTES_MAX
from bithive.offer import MemoryTooSmall, Offer, OfferKeys
from cluster import moves
from cluster.attempt import Attempt
from cluster.desk import Desk
from cluster.errors import AttemptAbsent, FindingsAbsent, OfferExists, PayloadSizeDiffers, TooManyOffers
from cluster.filters import why_not
from cluster.offers import KEYED, UNFINISHED, OfferRecord, OfferState
from cluster.spool import Incoming, findings_name, payload_name
from cluster.store import Change, Notice, Stale


@dataclass(frozen=True, slots=True)
class SealedFile:
    """Findings that may be fetched: where, and how many plain bytes they hold."""

    path: Path
    plain_size_bytes: int


class InstitutionDesk(Desk):
    """One method for each request. `institution` is who asks, by its credential."""

    def offer(self, institution: str, offer: Offer, keys: OfferKeys, payload_sealed_bytes: int) -> bool:
        """Take an Offer; its payload comes next. Whether it is new.

        Raises
        ------
        Forbidden
            It is made in the name of another institution.
        OfferExists
            Another Offer has its id.
        LimitExceeded, PayloadSizeDiffers
            The payload is too large, or its sealed size does not fit its plain size.
        TooManyOffers
            `OPEN_OFFERS_MAX` of the institution are unfinished.
        MemoryTooSmall
            Live cells could take it, but none has a node with the memory that it needs.
        """
        if offer.institution != institution:
            raise Forbidden("the Offer names another institution")
        if offer.payload_size_bytes > PAYLOAD_BYTES_MAX:
            raise LimitExceeded("the payload is too large", size_bytes_max=PAYLOAD_BYTES_MAX)
        if payload_sealed_bytes != sealed_size_bytes(offer.payload_size_bytes):
            raise PayloadSizeDiffers("the sealed size does not fit the plain size")
        terms = digest({"offer": offer.to_json(), "keys": keys.to_json(), "payload_sealed_bytes": payload_sealed_bytes})
        known = self.store.offer(offer.offer_id)
        if known is None:
            if self.store.unfinished(institution) >= OPEN_OFFERS_MAX:
                raise TooManyOffers(offers_max=OPEN_OFFERS_MAX)
            now_ms = self._clock.now_ms()
            self._check_memory(offer, now_ms)
            record = OfferRecord(offer, keys, terms, payload_sealed_bytes, now_ms, now_ms)
            with suppress(Stale):
                self.store.commit(Change(record))
                return True
            known = self.store.offer(offer.offer_id)
        if known is None or known.terms_digest != terms:
            raise OfferExists
        return False

    def receive_payload(self, institution: str, offer_id: str) -> Incoming | None:
        """Begin to receive a payload; None when it is here already or the Offer has ended: read and drop the bytes."""
        record = self._own_offer(institution, offer_id)
        if record.state is not OfferState.AWAITING_PAYLOAD:
            return None
        return self.spool.receive(record.sealed_bytes)

    def store_payload(self, institution: str, offer_id: str, incoming: Incoming) -> None:
        """The payload has come: the Offer opens. Raises `PayloadSizeDiffers`."""
        incoming.finish(payload_name(offer_id), durable=False)

        def step() -> None:
            record = self._own_offer(institution, offer_id)
            if record.state is OfferState.AWAITING_PAYLOAD:
                self._commit(moves.opened(record, self._clock.now_ms()))
            elif record.state not in UNFINISHED:
                self.spool.delete(payload_name(offer_id))

        self._settle(step)

    def withdraw(self, institution: str, offer_id: str) -> None:
        """Take an Offer back. A cell that works on it learns so with its next heartbeat."""

        def step() -> None:
            record = self._own_offer(institution, offer_id)
            attempt = self._attempt_of(record)
            if record.state in KEYED:
                self._commit(moves.withdrawn(record, attempt, self._clock.now_ms()))
                self._destroy(record, attempt)

        self._settle(step)

    def acknowledge(self, institution: str, offer_id: str) -> None:
        """The findings were taken: payload, findings and keys are destroyed. Raises `IllegalTransition` before."""

        def step() -> None:
            record = self._own_offer(institution, offer_id)
            change = moves.acknowledged(record)
            if record.state is OfferState.ACCEPTED:
                self._commit(change)
                self._destroy(record, self._attempt_of(record))

        self._settle(step)

    def notices(self, institution: str, after: int, limit: int = 100) -> Sequence[Notice]:
        """What happened to the institution's Offers, beyond a place."""
        return self.store.notices(institution, after, limit)

    def findings(self, institution: str, attempt_id: str) -> SealedFile:
        """Where the findings of an accepted Attempt lie. Raises `AttemptAbsent`, `FindingsAbsent`."""
        attempt = self.store.attempt(attempt_id) if is_id(attempt_id, "att") else None
        if attempt is None or attempt.institution != institution:
            raise AttemptAbsent
        if attempt.receipt is None:
            raise FindingsAbsent
        path = self.spool.path(findings_name(attempt_id, attempt.receipt.digest))
        if not path.exists():
            raise FindingsAbsent
        return SealedFile(path, attempt.receipt.output_size_bytes)

    def _check_memory(self, offer: Offer, now_ms: int) -> None:
        """Refuse at once what could only wait for its deadline; without any live cell it waits for one."""
        reasons = {why_not(cell, offer) for cell in self.presence.running(offer.bundle_sha256, now_ms)}
        if MemoryTooSmall.code in reasons and None not in reasons:
            raise MemoryTooSmall(memory_bytes=offer.memory_bytes)

    def _destroy(self, record: OfferRecord, attempt: Attempt | None) -> None:
        self.spool.delete(payload_name(record.offer.offer_id))
        if attempt is not None and attempt.receipt is not None:
            self.spool.delete(findings_name(attempt.attempt_id, attempt.receipt.digest))
