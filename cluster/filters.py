"""Which cell may receive which Offer. Asked by the broker before a Lease, and again by the cell's agent."""

from __future__ import annotations

from bithive.offer import DataClass, MemoryTooSmall, Offer
from cluster.cell_record import CellRecord

_RANK = {DataClass.P0: 0, DataClass.P1: 1, DataClass.P2: 2, DataClass.P3: 3}


def within(data_class: DataClass, maximum: DataClass) -> bool:
    """Whether a class is at most as sensitive as another."""
    return _RANK[data_class] <= _RANK[maximum]


def why_not(cell: CellRecord, offer: Offer) -> str | None:
    """Why the cell may not receive the Offer, or None when it may.

    P0 goes anywhere. P1 goes to vetted operators and to the institution's own cells. P2 and P3 go to the institution's
    own cells only: until cells can be attested there is no other way for P2. Memory comes last, so that
    `memory-too-small` says that the cell could have it but for that.
    """
    own = cell.institution is not None and cell.institution == offer.institution
    if offer.bundle_sha256 not in cell.bundles:
        return "bundle-unknown"
    if not within(offer.data_class, cell.data_class_max):
        return "data-class-refused"
    if offer.data_class is DataClass.P1 and not (own or cell.vetted):
        return "operator-not-vetted"
    if offer.data_class in (DataClass.P2, DataClass.P3) and not own:
        return "foreign-institution"
    if offer.memory_bytes > cell.memory_bytes:
        return MemoryTooSmall.code
    return None
