"""Which of the waiting Offers a cell gets: the one place where the broker prefers one to another.

The order of `OfferRecord.rank` is final but for one thing: a cell would rather run what it has loaded, and another cell
that has the first Offer's bundle loaded may still come for it. So an Offer may be passed over in its first
`WARM_PREFERENCE_S` for one that is as urgent and whose bundle is warm at the cell that asks. After that it never is, nor
one that has lost an Attempt: what the preference can cost an Offer is that time and the Attempts begun within it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from bithive.limits import WARM_PREFERENCE_S
from cluster.cell_record import CellRecord, NodeRecord
from cluster.filters import why_not
from cluster.offers import OfferRecord

_AHEAD_MAX = 100


def choose(
    waiting: Iterable[OfferRecord],
    cell: CellRecord,
    warm: frozenset[str],
    now_ms: int,
    nodes: Sequence[NodeRecord] = (),
) -> OfferRecord | None:
    """The Offer that a cell gets, or None.

    Parameters
    ----------
    waiting
        In the order of their rank; read no further than needed.
    cell
        Who asks.
    warm
        SHA-256 of each bundle that it has loaded.
    now_ms
        Offers whose deadline is over by then are left to housekeeping.
    nodes
        The machines that are free; one of them at least must be allowed what is chosen. The cell as a whole when empty.
    """
    machines: tuple[NodeRecord | None, ...] = tuple(nodes) or (None,)
    queue = iter(waiting)
    first = next((item for item in queue if _possible(item, cell, machines, now_ms)), None)
    if first is None or not warm or first.offer.bundle_sha256 in warm or not _may_be_passed(first, now_ms):
        return first
    for item in islice(queue, _AHEAD_MAX):
        if item.offer.urgency is not first.offer.urgency:
            break
        if item.offer.bundle_sha256 in warm and _possible(item, cell, machines, now_ms):
            return item
    return first


def _possible(record: OfferRecord, cell: CellRecord, nodes: tuple[NodeRecord | None, ...], now_ms: int) -> bool:
    # The deadline may be over though housekeeping has not come by yet.
    return record.offer.deadline_ms > now_ms and any(
        why_not(cell, record.offer, node, now_ms) is None for node in nodes
    )


def _may_be_passed(record: OfferRecord, now_ms: int) -> bool:
    return record.fencing_token == 0 and now_ms - record.received_ms < WARM_PREFERENCE_S * 1000
