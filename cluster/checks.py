"""What must hold of a Receipt and its findings before an Attempt is ACCEPTED: *checked*, which is less than *verified*.

The checks are a table, in order; the first that fails gives its code. None of them recomputes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

from bithive.envelope import BadEnvelope, open_all, sealed_size_bytes
from bithive.errors import BadSignature
from bithive.keys import keyed_digest, verify
from bithive.limits import CLOCK_SKEW_S
from bithive.offer import Offer, OfferKeys
from bithive.receipt import Receipt
from cluster.attempt import Attempt
from cluster.cell_record import NodeRecord
from cluster.errors import (
    BundleDiffers,
    DigestDiffers,
    FindingsUnreadable,
    ForeignSignature,
    GeometryDiffers,
    KeyRevoked,
    MeasurementImplausible,
    MemoryImplausible,
    ReceiptRefused,
    ReceiptReplayed,
    WallTimeImplausible,
    WorkUnitsDiffer,
)
from inference.errors import BadFindings
from inference.findings import Findings, announced_shapes

_SLACK_MS = 250
"""Clocks tick in steps and threads start late: what a measurement may exceed its bound by."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A Receipt beside what the network side knows itself.

    Attributes
    ----------
    receipt
        What the cell says.
    offer, attempt
        What was asked for, and under which Lease.
    nodes
        The registered Nodes of the cell that has the Lease.
    arrived_ms
        When the last byte of the findings was here.
    """

    receipt: Receipt
    offer: Offer
    attempt: Attempt
    nodes: tuple[NodeRecord, ...]
    arrived_ms: int

    @property
    def node(self) -> NodeRecord | None:
        """The registered Node that the Receipt names, if key and id belong together.

        A key that was replaced a while ago still is the Node's, for what was begun under it.
        """
        return next((node for node in self._named if self._current(node)), None)

    @property
    def signer(self) -> NodeRecord | None:
        """The registered Node of the cell whose key made the signature, whatever the Receipt names."""
        return next((node for node in self.nodes if _made(node.node_key, self.receipt)), None)

    @property
    def signed(self) -> bool:
        """Whether the Node that it names signed it."""
        return self.node is not None and _made(self.receipt.node_key, self.receipt)

    @property
    def _named(self) -> tuple[NodeRecord, ...]:
        receipt = self.receipt
        return tuple(
            node
            for node in self.nodes
            if (node.node, node.cell) == (receipt.node, receipt.cell)
            and receipt.node_key in (node.node_key, node.former_key)
        )

    def _current(self, node: NodeRecord) -> bool:
        return self.receipt.node_key == node.node_key or self.arrived_ms < node.former_until_ms

    @property
    def revoked(self) -> bool:
        """Whether the key that it names was the Node's, and is not any more."""
        return any(node.revoked_ms or not self._current(node) for node in self._named)


def _made(key: str, receipt: Receipt) -> bool:
    """Whether that key made the signature below a Receipt."""
    try:
        verify(key, receipt.signed_bytes(), receipt.signature)
    except BadSignature:
        return False
    return True


def _same_attempt(claim: Claim) -> bool:
    receipt, attempt = claim.receipt, claim.attempt
    return (receipt.attempt_id, receipt.offer_id, receipt.fencing_token, receipt.cell) == (
        attempt.attempt_id,
        attempt.offer_id,
        attempt.fencing_token,
        attempt.cell,
    )


def _key_stands(claim: Claim) -> bool:
    return not claim.revoked


def _signed(claim: Claim) -> bool:
    return claim.signed


def _same_bundle(claim: Claim) -> bool:
    receipt, offer = claim.receipt, claim.offer
    ran = (receipt.bundle, receipt.bundle_version, receipt.bundle_sha256)
    return ran == (offer.bundle, offer.bundle_version, offer.bundle_sha256)


def _same_input(claim: Claim) -> bool:
    receipt, offer = claim.receipt, claim.offer
    return (receipt.input_digest, receipt.input_size_bytes) == (offer.payload_digest, offer.payload_size_bytes)


def _sealed_sizes(claim: Claim) -> bool:
    receipt = claim.receipt
    if receipt.version < 3:
        return True
    sealed = (sealed_size_bytes(receipt.input_size_bytes), sealed_size_bytes(receipt.output_size_bytes))
    return (receipt.sealed_input_bytes, receipt.sealed_output_bytes) == sealed


def _same_units(claim: Claim) -> bool:
    return claim.receipt.work_units == claim.offer.work_units


def _time_fits(claim: Claim) -> bool:
    receipt = claim.receipt
    leased_ms = claim.arrived_ms - claim.attempt.leased_ms
    skew_ms = CLOCK_SKEW_S * 1000
    begun = claim.attempt.leased_ms - skew_ms <= receipt.started_ms <= claim.arrived_ms + skew_ms
    return begun and 0 < receipt.wall_ms <= leased_ms + _SLACK_MS


def _memory_fits(claim: Claim) -> bool:
    assert claim.node is not None, "the signature is checked before"
    # What the machine has, not what a slot may take: a replica may keep other bundles loaded beside the one that runs.
    machine_bytes = max(claim.node.machine_memory_bytes, claim.node.memory_bytes)
    return claim.receipt.input_size_bytes <= claim.receipt.peak_memory_bytes <= machine_bytes


def _measurement_fits(claim: Claim) -> bool:
    assert claim.node is not None, "the signature is checked before"
    receipt, node = claim.receipt, claim.node
    cpu_ms_max = (receipt.wall_ms + _SLACK_MS) * node.threads
    gpu_ms_max = (receipt.wall_ms + _SLACK_MS) * node.gpus
    return (
        1 <= receipt.threads <= node.threads
        and receipt.cpu_ms <= cpu_ms_max
        and receipt.gpu_ms <= gpu_ms_max
        and (receipt.gpu_memory_bytes == 0 or node.gpus > 0)
        and receipt.gpu_memory_bytes <= _gpu_memory_bytes(node)
    )


def _gpu_memory_bytes(node: NodeRecord) -> int:
    """What its accelerators have in all; no bound where it never said."""
    return node.accelerator.memory_bytes * node.gpus if node.accelerator is not None else 2**53


CHECKS: tuple[tuple[type[ReceiptRefused], Callable[[Claim], bool]], ...] = (
    (ReceiptReplayed, _same_attempt),
    (KeyRevoked, _key_stands),
    (ForeignSignature, _signed),
    (BundleDiffers, _same_bundle),
    (DigestDiffers, _same_input),
    (DigestDiffers, _sealed_sizes),
    (WorkUnitsDiffer, _same_units),
    (WallTimeImplausible, _time_fits),
    (MemoryImplausible, _memory_fits),
    (MeasurementImplausible, _measurement_fits),
)


def check_receipt(claim: Claim) -> None:
    """Every check that needs no findings. Raises a leaf of `ReceiptRefused`."""
    for error, holds in CHECKS:
        if not holds(claim):
            raise error


def check_findings(claim: Claim, keys: OfferKeys, sealed: Iterable[bytes]) -> bytearray:
    """Open the findings and compare them with Receipt and Offer; the plain container.

    Raises
    ------
    FindingsUnreadable
        The envelope does not open under this Offer's key and this Attempt's token, or holds no Findings.
    DigestDiffers
        They are not the bytes that the node signed for.
    GeometryDiffers
        A mask has another number of voxels than the Volume that was sent.
    """
    receipt = claim.receipt
    try:
        plain = open_all(keys.payload_key, claim.attempt.fencing_token, receipt.output_size_bytes, sealed)
        if keyed_digest(keys.digest_key, plain) != receipt.output_digest:
            raise DigestDiffers
        shapes = set(announced_shapes(plain))
        if len(shapes) > 1 or any(prod(shape) != claim.offer.voxels for shape in shapes):
            raise GeometryDiffers
        Findings.from_bytes(plain, next(iter(shapes), (claim.offer.voxels, 1, 1)))
    except (BadEnvelope, BadFindings) as error:
        raise FindingsUnreadable from error
    return plain
