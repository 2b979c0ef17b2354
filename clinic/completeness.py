"""Whether a series has arrived whole. DICOM's push has no last instance, so this is a judgement, and revocable.

A series counts as whole at once when all of it came in one request, its slices lie without a gap, and no request that
may bring more of its study is open; otherwise when nothing has come for a while. An instance that comes later
supersedes what was started.
"""

from __future__ import annotations

from clinic.workitem_store import SeriesWatch

RECEIVING_PAUSE_S = 0.25


def wait_s(watch: SeriesWatch, gap_free: bool, receiving: bool, now_ms: int) -> float:
    """How long to wait before the series counts as whole; 0 when it does now.

    Parameters
    ----------
    watch
        What is known of its arrival.
    gap_free
        Whether its instances form one even block.
    receiving
        Whether a request that may bring more is open.
    now_ms
        Milliseconds since the epoch.
    """
    left_s = (watch.due_ms - now_ms) / 1000
    if left_s <= 0:
        return RECEIVING_PAUSE_S if receiving else 0.0
    if watch.one_request and gap_free:
        return RECEIVING_PAUSE_S if receiving else 0.0
    return left_s
