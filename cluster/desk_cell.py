"""What cells ask of the broker."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from bithive.envelope import sealed_size_bytes
from bithive.errors import LimitExceeded
from bithive.limits import FINDINGS_BYTES_MAX
from bithive.log import get
from bithive.receipt import Receipt
from cluster import moves
from cluster.attempt import Attempt, AttemptState
from cluster.cell_record import CellRecord, NodeRecord, Strike
from cluster.checks import Claim, check_findings, check_receipt
from cluster.desk import Desk
from cluster.errors import BadMessage, LeaseLost, ReceiptRefused
from cluster.failures import FAILURES
from cluster.offers import OfferRecord
from cluster.order import choose
from cluster.protocol import Grant, Heartbeat, Hello, Welcome
from cluster.spool import Incoming, findings_name, payload_name

_PAGE = 100


class CellDesk(Desk):
    """One method for each request. `cell` is who asks, by its credential."""

    def hello(self, cell: str, institution: str | None, hello: Hello) -> Welcome:
        """A cell introduces itself and its Nodes.

        Parameters
        ----------
        cell, institution
            The cell's id and whose own cell it is: both from its account, never from what it says.
        hello
            What it says.
        """
        record = CellRecord(
            cell,
            institution,
            hello.operator,
            hello.cell_key,
            hello.data_class_max,
            frozenset(hello.bundles),
            self._clock.now_ms(),
            memory_bytes=max(node.memory_bytes for node in hello.nodes),
        )
        nodes = [
            NodeRecord(
                self._ids.new("nod"),
                cell,
                node.node_key,
                node.threads,
                node.memory_bytes,
                node.gpus,
                node.labels,
                node.machine_memory_bytes,
            )
            for node in hello.nodes
        ]
        kept = self.cells.greet(record, nodes)
        self._cell(cell)
        get().info("cell.greeted", cell=cell, count=len(kept))
        names = {node.node_key: node.node for node in kept}
        return Welcome(cell, names, self.durations.heartbeat_s, self.durations.lease_s)

    def lease(self, cell: str, warm: Collection[str] = ()) -> Grant | None:
        """The most urgent Offer that this cell may receive, now its own for a while; None when there is none.

        Parameters
        ----------
        cell
            Who asks.
        warm
            SHA-256 of each bundle that it has loaded; see `cluster.order`.

        Raises
        ------
        CellUnknown
            It has not said hello.
        """
        record, loaded = self._cell(cell), frozenset(warm)

        def step() -> Grant | None:
            now_ms = self._clock.now_ms()
            chosen = choose(self._waiting(now_ms), record, loaded, now_ms)
            return None if chosen is None else self._grant(chosen, cell, now_ms)

        return self._settle(step)

    def _waiting(self, now_ms: int) -> Iterator[OfferRecord]:
        offset = 0
        while page := self.store.waiting(now_ms, offset, _PAGE):
            yield from page
            offset += len(page)

    def payload(self, cell: str, attempt_id: str, fencing_token: int) -> Path:
        """Where the payload of a leased Offer lies. Raises `LeaseLost`."""
        _, record = self._leased(cell, attempt_id, fencing_token)
        name = payload_name(record.offer.offer_id)
        if self.spool.size_bytes(name) != record.sealed_bytes:
            self.fail(cell, attempt_id, fencing_token, "payload-unreadable")
            raise LeaseLost("the payload is not here (any more)")
        return self.spool.path(name)

    def heartbeat(self, cell: str, attempt_id: str, beat: Heartbeat) -> int:
        """A sign of life: until when the Lease now lasts. Raises `LeaseLost`."""

        def step() -> int:
            attempt, record = self._leased(cell, attempt_id, beat.fencing_token)
            if beat.node not in {node.node for node in self.cells.nodes(cell)}:
                raise BadMessage("the node is not of this cell")
            now_ms = self._clock.now_ms()
            self.presence.touch(cell, now_ms)
            change = moves.renewed(record, attempt, beat.stage, beat.fraction, beat.node, now_ms, self.durations)
            assert change.attempt is not None, "a heartbeat changes the Attempt"
            self._commit(change)
            return change.attempt.expires_ms

        return self._settle(step)

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
        self._leased(cell, attempt_id, fencing_token)
        if not 0 < receipt.output_size_bytes <= FINDINGS_BYTES_MAX:
            raise LimitExceeded("the findings are too large or empty", size_bytes_max=FINDINGS_BYTES_MAX)
        return self.spool.receive(sealed_size_bytes(receipt.output_size_bytes))

    def accept(
        self, cell: str, attempt_id: str, fencing_token: int, receipt: Receipt, incoming: Incoming
    ) -> AttemptState:
        """Check Receipt and findings; the Attempt is ACCEPTED, or REFUSED and its Offer tried again.

        Raises
        ------
        LeaseLost
            It came too late; nothing changes.
        PayloadSizeDiffers
            Not all bytes came; nothing changes.
        ReceiptRefused
            A leaf of it says which check failed. The Attempt has ended, and the Node has a strike.
        """
        arrived_ms, name = self._clock.now_ms(), ""
        try:
            attempt = self._own_attempt(cell, attempt_id)
            if self._accepted_before(attempt, receipt):
                return attempt.state
            attempt, record = self._leased(cell, attempt_id, fencing_token, arrived_ms)
            self._check(attempt, record, receipt, incoming, arrived_ms)
            name = findings_name(attempt_id, receipt.digest)
            incoming.finish(name, durable=True)
            return self._settle(lambda: self._accept(cell, attempt_id, fencing_token, receipt, arrived_ms))
        except LeaseLost:
            if name:
                self.spool.delete(name)
            raise
        finally:
            incoming.discard()

    def fail(self, cell: str, attempt_id: str, fencing_token: int, code: str) -> None:
        """The cell cannot do it. Raises `LeaseLost`, and `BadMessage` for a code that is not in `failures`."""
        if code not in FAILURES:
            raise BadMessage("the code is not one of the fixed table")

        def step() -> None:
            attempt, record = self._leased(cell, attempt_id, fencing_token)
            change = moves.failed(record, attempt, code, self._clock.now_ms(), self.durations)
            self._commit(change)
            self._clear(change)

        self._settle(step)

    def _grant(self, record: OfferRecord, cell: str, now_ms: int) -> Grant:
        change = moves.leased(record, self._ids.new("att"), cell, now_ms, self.durations)
        assert change.attempt is not None, "a Lease makes an Attempt"
        assert record.keys is not None, "an OPEN Offer has its keys"
        self._commit(change)
        attempt = change.attempt
        return Grant(attempt.attempt_id, attempt.fencing_token, attempt.expires_ms, record.offer, record.keys)

    def _check(
        self, attempt: Attempt, record: OfferRecord, receipt: Receipt, incoming: Incoming, arrived_ms: int
    ) -> None:
        assert record.keys is not None, "a leased Offer has its keys"
        claim = Claim(receipt, record.offer, attempt, tuple(self.cells.nodes(attempt.cell)), arrived_ms)
        try:
            check_receipt(claim)
            check_findings(claim, record.keys, incoming.chunks())
        except ReceiptRefused as error:
            node, code = claim.node.node if claim.node else "", error.code
            with suppress(LeaseLost):  # the strike stands even so
                self._settle(lambda: self._refuse(attempt, code, arrived_ms))
            self.cells.strike(Strike(attempt.attempt_id, attempt.cell, node, code, arrived_ms))
            get().warning("receipt.refused", attempt=attempt.attempt_id, cell=attempt.cell, code=code)
            raise

    def _refuse(self, attempt: Attempt, code: str, arrived_ms: int) -> None:
        attempt, record = self._leased(attempt.cell, attempt.attempt_id, attempt.fencing_token, arrived_ms)
        change = moves.refused(record, attempt, code, arrived_ms, self.durations)
        self._commit(change)
        self._clear(change)

    def _accept(
        self, cell: str, attempt_id: str, fencing_token: int, receipt: Receipt, arrived_ms: int
    ) -> AttemptState:
        attempt = self._own_attempt(cell, attempt_id)
        if self._accepted_before(attempt, receipt):
            return attempt.state
        attempt, record = self._leased(cell, attempt_id, fencing_token, arrived_ms)
        self._commit(moves.accepted(record, attempt, receipt, self._cell(cell), arrived_ms))
        return AttemptState.ACCEPTED
