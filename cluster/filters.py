"""Which cell may receive which Offer. Asked by the broker before a Lease, and again by the cell's agent."""

from __future__ import annotations

from bithive.offer import ANYBODY, ATTESTED, VETTED, MemoryTooSmall, Offer
from cluster.cell_record import CellRecord, NodeRecord
from cluster.data_classes import Terms, refusal, within
from cluster.labels import Tier

__all__ = ["admits", "reached", "terms_of", "why_not", "within"]

NOT_ADDRESSED = "not-addressed"


def why_not(cell: CellRecord, offer: Offer, node: NodeRecord | None = None, now_ms: int = 0) -> str | None:
    """Why the cell may not receive the Offer, or None when it may.

    Memory comes last, so that `memory-too-small` says that the cell could have it but for that.

    Parameters
    ----------
    cell, offer
        Who would receive what.
    node
        The machine that would run it, where it is known: what it says of itself can only take something away.
    now_ms
        Evidence of attestation counts until it runs out.
    """
    if offer.bundle_sha256 not in cell.bundles:
        return "bundle-unknown"
    terms = terms_of(cell, node)
    attested = cell.attested_ms > now_ms
    if not reached(terms, offer, attested=attested):
        return NOT_ADDRESSED
    reason = refusal(offer.data_class, offer.institution, terms, attested=attested, countries=offer.residency)
    if reason is not None:
        return reason
    if offer.memory_bytes > (cell.memory_bytes if node is None else node.memory_bytes):
        return MemoryTooSmall.code
    return None


def reached(terms: Terms, offer: Offer, *, attested: bool) -> bool:
    """Whether an Offer is addressed to such a cell: its institution has said to whom and where, whatever its class allows.

    This is the first of the three gates as it reaches the broker: it knows nothing of classes and their table.
    """
    if offer.residency and terms.residency not in offer.residency:
        return False
    if not offer.audience or ANYBODY in offer.audience:
        return True
    if terms.tier is Tier.HOME:
        return False
    names = {terms.institution, VETTED if terms.vetted else None, ATTESTED if terms.vetted and attested else None}
    return not names.isdisjoint(offer.audience)


def terms_of(cell: CellRecord, node: NodeRecord | None = None) -> Terms:
    """What counts of a cell: what its account says, narrowed by its own words and its machine's."""
    tier = cell.tier if cell.tier is not None else _untold(cell)
    terms = Terms(cell.institution, cell.vetted, tier, cell.residency, cell.data_class_max)
    return terms if node is None else terms.narrowed(node.tier, node.residency)


def admits(terms: Terms, offer: Offer, *, attested: bool = False) -> str | None:
    """The agent's own check of a Grant, by what its own folder says of it: why it must not run, or None.

    It is asked of what the cell was told when it joined, never of what came with the Grant.
    """
    return refusal(offer.data_class, offer.institution, terms, attested=attested, countries=offer.residency)


def _untold(cell: CellRecord) -> Tier:
    """The tier of a cell whose account says none, as those of before there were tiers: what its other standing implies."""
    if cell.institution is not None:
        return Tier.HOSPITAL
    return Tier.WORKSTATION if cell.vetted else Tier.HOME
