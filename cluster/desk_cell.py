"""What cells ask of the broker."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from bithive.log import get
from bithive.offer import OfferKeys
from cluster import moves
from cluster.attestation import Evidence
from cluster.cell_record import CellRecord
from cluster.data_classes import least
from cluster.desk import WORK
from cluster.desk_receipts import ReceiptDesk
from cluster.errors import BadMessage, KeyRevoked, LeaseLost, SignatureRefused, SignatureRequired
from cluster.failures import FAILURES
from cluster.filters import terms_of
from cluster.key_release import WrappedKeys, must_wrap, releasable, released
from cluster.offers import OfferRecord
from cluster.order import choose
from cluster.protocol import Grant, Heartbeat, Hello, Welcome
from cluster.register import Registration
from cluster.register_nodes import admitted, node_record
from cluster.spool import payload_name

_PAGE = 100


class CellDesk(ReceiptDesk):
    """One method for each request. `cell` is who asks, by its credential."""

    def hello(self, cell: str, institution: str | None, hello: Hello, signed_by: str = "") -> Welcome:
        """A cell introduces itself and its Nodes.

        Parameters
        ----------
        cell, institution
            The cell's id and whose own cell it is: both from its account, never from what it says.
        hello
            What it says.
        signed_by
            The key that signed the request; empty where none did (version 1).

        Raises
        ------
        SignatureRefused
            Another key signed than the one that it names, or than the one that it is registered with.
        KeyRevoked, KeyUnproven
            Its key was revoked; or that of each of its Nodes, or they come without proof.
        """
        now_ms = self._clock.now_ms()
        registration = self._registered(cell, hello, signed_by, now_ms)
        terms = registration.terms if registration is not None else None
        record = CellRecord(
            cell,
            institution,
            (registration.operator if registration is not None else "") or hello.operator,
            hello.cell_key,
            hello.data_class_max if terms is None else least(hello.data_class_max, terms.data_class_max),
            frozenset(hello.bundles),
            now_ms,
            memory_bytes=max(node.memory_bytes for node in hello.nodes),
            tier=None if terms is None else terms.tier,
            residency="" if terms is None else terms.residency,
        )
        nodes = admitted(hello, self.cells.nodes(cell), proof_needed=bool(signed_by))
        known = self.cells.cell(cell)
        if known is not None and known.attested_ms:  # who says hello may be another process, without the key it named
            self.cells.attest(cell, "", 0)
        kept = self.cells.greet(record, [node_record(self._ids.new("nod"), cell, node) for node in nodes])
        if terms is not None and terms.vetted:
            self.cells.vet(cell, True)
        self.presence.begin(cell)
        told = terms_of(self._cell(cell))
        get().info("cell.greeted", cell=cell, count=len(kept))
        names = {node.node_key: node.node for node in kept}
        network_key = getattr(getattr(self, "network_key", None), "public_hex", "")
        return Welcome(cell, names, self.durations.heartbeat_s, self.durations.lease_s, told, network_key)

    def challenge(self, cell: str) -> str:
        """A nonce that evidence of this cell must name. Raises `CellUnknown`."""
        self._cell(cell)
        return self.verifier.challenge(cell)

    def attest(self, cell: str, evidence: Evidence) -> int:
        """Judge a cell's evidence; until when it counts (milliseconds since the epoch).

        What the cell had shown before is void, whatever comes of it.

        Raises
        ------
        CellUnknown, SignatureRequired
            It has not said hello, or has no key of its own.
        EvidenceRefused
            The evidence does not hold.
        """
        self._cell(cell)
        self.cells.attest(cell, "", 0)
        registration = self.register.registration(cell)
        if registration is None:
            raise SignatureRequired
        attested = self.verifier.judge(evidence, cell, registration.cell_key)
        self.cells.attest(cell, evidence.box_key, attested.until_ms)
        get().info("cell.attested", cell=cell, kind=evidence.attester)
        self.bell.ring(WORK)
        return attested.until_ms

    def _registered(self, cell: str, hello: Hello, signed_by: str, now_ms: int) -> Registration | None:
        registration = self.register.registration(cell)
        if signed_by:
            # The first signed hello of a cell whose account alone admitted it says which key is its own from now on.
            registration = registration or self.register.bind(Registration(cell, signed_by, None, now_ms))
            if not signed_by == hello.cell_key == registration.cell_key:
                raise SignatureRefused
        elif registration is not None:
            raise SignatureRequired
        if registration is not None and registration.revoked_ms:
            raise KeyRevoked
        return registration

    def lease(self, cell: str, warm: Collection[str] = ()) -> Grant | None:
        """The most urgent Offer that this cell may receive, now its own for a while; None when there is none.

        Version 1 has no words for wrapped keys: what is released wrapped only is passed over.

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
            plain = (one for one in self._waiting(now_ms, record) if not must_wrap(one.offer, record))
            chosen = choose(plain, record, loaded, now_ms)
            return None if chosen is None else self._grant(chosen, record, now_ms)

        return self._settle(step)

    def _waiting(self, now_ms: int, cell: CellRecord) -> Iterator[OfferRecord]:
        """What is open, in order, but for the network's own work where the cell is an institution's own.

        What is released to attested cells only does not wait for any other.
        """
        offset, passed = 0, "" if cell.institution is None else self.own_work
        while page := self.store.waiting(now_ms, offset, _PAGE):
            yield from (
                record
                for record in page
                if (not passed or record.offer.institution != passed) and releasable(record.offer, cell, now_ms)
            )
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

    def _grant(self, record: OfferRecord, cell: CellRecord, now_ms: int, nodes: tuple[str, ...] = ()) -> Grant:
        change = moves.leased(record, self._ids.new("att"), cell.cell, now_ms, self.durations)
        assert change.attempt is not None, "a Lease makes an Attempt"
        assert record.keys is not None, "an OPEN Offer has its keys"
        keys: OfferKeys | WrappedKeys = record.keys
        if must_wrap(record.offer, cell):
            keys = released(record.offer, record.keys, change.attempt.attempt_id, cell, now_ms, self._ids)
        self._commit(change)
        attempt, offer = change.attempt, record.offer.untraced
        if cell.institution != offer.institution:  # whose it is, a stranger need not know
            offer = offer.veiled(self._ids.new("ins"))
        return Grant(attempt.attempt_id, attempt.fencing_token, attempt.expires_ms, offer, keys, nodes)
