"""Findings and Receipts as they come in: checked, accepted or refused, and answered with a counter-receipt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from bithive.envelope import BadEnvelope, sealed_size_bytes
from bithive.errors import LimitExceeded
from bithive.keys import SigningKey
from bithive.limits import COUNTER_RECEIPTS_MAX, FINDINGS_BYTES_MAX
from bithive.log import get
from bithive.receipt import Receipt
from cluster import moves
from cluster.attempt import Attempt, AttemptState
from cluster.cell_record import Strike
from cluster.chain_store import Noted
from cluster.checks import Claim, check_findings, check_receipt
from cluster.counter import ACCEPTED, CounterReceipt
from cluster.desk import Desk
from cluster.duplicates import SUBSTANCE_BITS_MIN, Sighting, SightingKeys, findings_digest, input_digest
from cluster.errors import AttemptAbsent, LeaseLost, ReceiptRefused
from cluster.offers import OfferRecord
from cluster.spool import Incoming, findings_name, payload_name
from cluster.store import Change
from cluster.strikes_words import culprit, is_caught
from inference.substance import substance_bits


class ReceiptDesk(Desk):
    """What a cell hands in.

    Attributes
    ----------
    network_key
        What the network side signs counter-receipts with.
    sighting_keys
        Under what findings are remembered.
    """

    network_key: SigningKey
    sighting_keys: SightingKeys

    def receive_findings(self, cell: str, attempt_id: str, fencing_token: int, receipt: Receipt) -> Incoming | None:
        """Begin to receive findings; None when these were accepted before: read and drop the bytes.

        Raises
        ------
        LeaseLost, LimitExceeded
            Before any byte is taken.
        """
        attempt = self._own_attempt(cell, attempt_id)
        if self._accepted_before(attempt, receipt):
            return None
        try:
            self._leased(cell, attempt_id, fencing_token)
        except LeaseLost:
            self._late(attempt, receipt, self._clock.now_ms())
            raise
        if not 0 < receipt.output_size_bytes <= FINDINGS_BYTES_MAX:
            raise LimitExceeded("the findings are too large or empty", size_bytes_max=FINDINGS_BYTES_MAX)
        return self.spool.receive(sealed_size_bytes(receipt.output_size_bytes))

    def accept(
        self, cell: str, attempt_id: str, fencing_token: int, receipt: Receipt, incoming: Incoming
    ) -> AttemptState:
        """Check Receipt and findings; the Attempt is ACCEPTED, or REFUSED and its Offer tried again.

        Either way the answer is a counter-receipt: see `counter_of`.

        Raises
        ------
        LeaseLost
            It came too late; nothing changes but that it is noted.
        PayloadSizeDiffers
            Not all bytes came; nothing changes.
        ReceiptRefused
            A leaf of it says which check failed. The Attempt has ended, and the Node has a strike.
        """
        arrived_ms, name = self._clock.now_ms(), ""
        attempt = self._own_attempt(cell, attempt_id)
        try:
            if self._accepted_before(attempt, receipt):
                return attempt.state
            attempt, record = self._leased(cell, attempt_id, fencing_token, arrived_ms)
            sighting = self._check(self._claim(attempt, record, receipt, arrived_ms), record, incoming)
            name = findings_name(attempt_id, receipt.digest)
            incoming.finish(name, durable=True)
            return self._settle(lambda: self._accept(cell, attempt_id, fencing_token, receipt, arrived_ms, sighting))
        except LeaseLost:
            if name:
                self.spool.delete(name)
            self._late(attempt, receipt, arrived_ms)
            raise
        finally:
            incoming.discard()

    def counter_of(self, cell: str, attempt_id: str) -> CounterReceipt | None:
        """The last word on an Attempt of a cell; None before there is any. Raises `AttemptAbsent`."""
        self._own_attempt(cell, attempt_id)
        return next(reversed(self.store.chain.of_attempt(attempt_id)), None)

    def counters(self, cell: str, subject: str, after: int = 0, limit: int = 100) -> Sequence[CounterReceipt]:
        """Counter-receipts of a cell, or of one of its Nodes, beyond a sequence number.

        Raises
        ------
        AttemptAbsent
            If the subject is neither the cell nor one of its Nodes.
        """
        if subject != cell and subject not in {node.node for node in self.cells.nodes(cell)}:
            raise AttemptAbsent("no such node is this cell's")
        return self.store.chain.counters(subject, after, min(limit, COUNTER_RECEIPTS_MAX))

    def _claim(self, attempt: Attempt, record: OfferRecord, receipt: Receipt, arrived_ms: int) -> Claim:
        return Claim(receipt, record.offer, attempt, tuple(self.cells.nodes(attempt.cell)), arrived_ms)

    def _check(self, claim: Claim, record: OfferRecord, incoming: Incoming) -> Sighting | None:
        """Every check, and what is to be remembered of the findings. Raises a leaf of `ReceiptRefused`."""
        assert record.keys is not None, "a leased Offer has its keys"
        try:
            check_receipt(claim)
            plain = check_findings(claim, record.keys, incoming.chunks())
        except ReceiptRefused as error:
            self._refused(claim, error.code)
            raise
        if substance_bits(plain) < SUBSTANCE_BITS_MIN:
            return None
        period, key = self.sighting_keys.at(claim.arrived_ms)
        try:
            with self.spool.path(payload_name(claim.offer.offer_id)).open("rb") as sealed:
                part = input_digest(key, claim.offer, record.keys.payload_key, sealed)
        except (OSError, BadEnvelope):
            return None  # nobody can say which input it was
        found = findings_digest(key, claim.offer.bundle_sha256, plain)
        return Sighting(claim.offer.bundle_sha256, found, part, claim.attempt.attempt_id, period, claim.arrived_ms)

    def _refused(self, claim: Claim, code: str) -> None:
        """Note that it does not hold. The strike comes first: whoever is killed in between is handed it again."""
        attempt, node = claim.attempt, culprit(claim) or claim.node
        before = [item for item in self.cells.strikes(attempt.cell) if item.attempt_id != attempt.attempt_id]
        at_ms = claim.arrived_ms
        self.cells.strike(Strike(attempt.attempt_id, attempt.cell, node.node if node else "", code, at_ms))
        caught = is_caught(claim, code, before)
        try:
            self._settle(lambda: self._refuse(claim, code, caught=caught))
        except LeaseLost:  # it was lost meanwhile: what was said is noted even so
            self._note(claim, code)
        get().warning("receipt.refused", attempt=attempt.attempt_id, cell=attempt.cell, code=code)

    def _refuse(self, claim: Claim, code: str, *, caught: bool) -> None:
        attempt, at_ms = claim.attempt, claim.arrived_ms
        attempt, record = self._leased(attempt.cell, attempt.attempt_id, attempt.fencing_token, at_ms)
        change = moves.refused(record, attempt, code, at_ms, self.durations)
        node = culprit(claim)
        if caught and node is not None:
            told = moves.caught(attempt, node.node, self._cell(attempt.cell).operator, code, at_ms)
            change = replace(change, events=(*change.events, told))
        self._commit(replace(change, noted=Noted(self._counter(claim, code))))
        self._clear(change)

    def _accept(
        self,
        cell: str,
        attempt_id: str,
        fencing_token: int,
        receipt: Receipt,
        arrived_ms: int,
        sighting: Sighting | None,
    ) -> AttemptState:
        attempt = self._own_attempt(cell, attempt_id)
        if self._accepted_before(attempt, receipt):
            return attempt.state
        attempt, record = self._leased(cell, attempt_id, fencing_token, arrived_ms)
        change = moves.accepted(record, attempt, receipt, self._cell(cell), arrived_ms)
        counter = self._counter(self._claim(attempt, record, receipt, arrived_ms), ACCEPTED)
        change = replace(change, noted=Noted(counter, sighting))
        twin = self.store.chain.twin(sighting) if sighting is not None else None
        first = self.store.attempt(twin.attempt_id) if twin is not None else None
        if first is not None:
            change = moves.repeated(change, first, arrived_ms)
            get().warning("findings.repeated", attempt=attempt_id, first=first.attempt_id)
        self._commit(change)
        return AttemptState.ACCEPTED

    def _late(self, attempt: Attempt, receipt: Receipt, now_ms: int) -> None:
        """Note, once, an answer that came after its Lease had run out: a fact about speed, not about honesty."""
        attempt = self._own_attempt(attempt.cell, attempt.attempt_id)
        over = attempt.state is AttemptState.EXPIRED or (attempt.live and attempt.expires_ms <= now_ms)
        record = self.store.offer(attempt.offer_id)
        if not over or record is None:
            return
        claim = self._claim(attempt, record, receipt, now_ms)
        if not claim.signed or (receipt.attempt_id, receipt.cell) != (attempt.attempt_id, attempt.cell):
            return
        self.cells.strike(Strike(attempt.attempt_id, attempt.cell, receipt.node, LeaseLost.code, now_ms))
        self._note(claim, LeaseLost.code)

    def _note(self, claim: Claim, verdict: str) -> None:
        """A counter-receipt alone, unless this was said of the Attempt before."""

        def step() -> None:
            said = self.store.chain.of_attempt(claim.attempt.attempt_id)
            if verdict not in {counter.verdict for counter in said}:
                self._commit(Change(noted=Noted(self._counter(claim, verdict))))

        with suppress(AttemptAbsent):
            self._settle(step)

    def _counter(self, claim: Claim, verdict: str) -> CounterReceipt:
        attempt, offer = claim.attempt, claim.offer
        node = culprit(claim)
        subject = node.node if node is not None else attempt.cell
        head = self.store.chain.head(subject)
        return CounterReceipt(
            subject=subject,
            sequence=head.sequence + 1,
            previous=head.digest,
            receipt_digest=claim.receipt.digest,
            attempt_id=attempt.attempt_id,
            cell=attempt.cell,
            node=node.node if node is not None else "",
            leased_ms=attempt.leased_ms,
            arrived_ms=claim.arrived_ms,
            interval_ms=max(claim.arrived_ms - attempt.leased_ms, 0),
            work_units=offer.work_units if verdict == ACCEPTED else 0,
            verdict=verdict,
            network_key=self.network_key.public_hex,
        ).sign(self.network_key)
