"""Which cells were heard of lately, and what they said they can run.

In memory, since it is out of date within a minute: after a restart a cell is here again with its next request.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator

from bithive.limits import CELL_SILENCE_S
from cluster.cell_record import CellRecord


class Presence:
    """The live cells, by bundle.

    Parameters
    ----------
    silence_s
        After which a cell no longer counts as live.
    """

    def __init__(self, silence_s: float = CELL_SILENCE_S) -> None:
        self._silence_ms = round(silence_s * 1000)
        self._cells: dict[str, CellRecord] = {}
        self._heard_ms: dict[str, int] = {}
        self._running: dict[str, set[str]] = defaultdict(set)
        self._lock = threading.Lock()

    def hear(self, record: CellRecord, now_ms: int) -> None:
        """A cell has asked for something; it is as `record` says."""
        with self._lock:
            self._heard_ms[record.cell] = now_ms
            known = self._cells.get(record.cell)
            if known == record:
                return
            self._forget(known)
            self._cells[record.cell] = record
            for bundle in record.bundles:
                self._running[bundle].add(record.cell)

    def touch(self, cell: str, now_ms: int) -> None:
        """A cell that is known has given a sign of life."""
        with self._lock:
            if cell in self._cells:
                self._heard_ms[cell] = now_ms

    def running(self, bundle_sha256: str, now_ms: int) -> Iterator[CellRecord]:
        """The live cells that can run a bundle; those that fell silent are forgotten on the way."""
        with self._lock:
            cells = list(self._running.get(bundle_sha256, ()))
        for cell in cells:
            with self._lock:
                record = self._cells.get(cell)
                silent = record is not None and self._heard_ms[cell] + self._silence_ms < now_ms
                if silent:
                    self._forget(record)
            if record is not None and not silent:
                yield record

    def _forget(self, record: CellRecord | None) -> None:
        if record is None:
            return
        del self._cells[record.cell]
        for bundle in record.bundles:
            self._running[bundle].discard(record.cell)
            if not self._running[bundle]:
                del self._running[bundle]
