"""Which cells were heard of lately, and what they said they can run.

In memory, since it is out of date within a minute: after a restart a cell is here again with its next request.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bithive.limits import CELL_SILENCE_S
from cluster.cell_record import CellRecord
from cluster.protocol_node import NodeStanding, NodeState


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
        self._standing: dict[str, dict[str, NodeStanding]] = {}
        self._turns: dict[str, int] = defaultdict(int)
        self._serials: dict[str, int] = {}
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

    def heard(self) -> dict[str, int]:
        """When each cell that is known was last heard of, in milliseconds since the epoch."""
        with self._lock:
            return dict(self._heard_ms)

    def node_states(self) -> dict[str, str]:
        """What cells said last of the state of their Nodes; nothing of cells that fell silent or do not tell."""
        with self._lock:
            return {
                node: str(one.state)
                for cell, nodes in self._standing.items()
                if cell in self._cells
                for node, one in nodes.items()
            }

    def begin(self, cell: str) -> None:
        """A cell has introduced itself: it counts what it says from the beginning."""
        with self._lock:
            self._serials.pop(cell, None)

    def stand(self, cell: str, nodes: Iterable[NodeStanding], *, anew: bool, serial: int = 0) -> int:
        """Note how a cell's Nodes stand now; its turn.

        Parameters
        ----------
        cell, nodes
            Who says it of which: a Node that is not named is not there any more.
        anew
            Whether a request for work that waits is over, whatever it said: the cell asks again. It is over as well when
            the state of any Node has changed.
        serial
            The cell's own count of what it says. What it said before something that is known already changes nothing,
            however late it comes.

        Returns
        -------
        int
            Counts up each time that a waiting request is over; 0 for what came too late.
        """
        said = {standing.node: standing for standing in nodes}
        with self._lock:
            if serial and serial < self._serials.get(cell, 0):
                return 0
            self._serials[cell] = serial
            before = self._standing.get(cell, {})
            self._standing[cell] = said
            if anew or {name: one.state for name, one in before.items()} != {n: one.state for n, one in said.items()}:
                self._turns[cell] += 1
            return self._turns[cell]

    def standing(self, cell: str) -> Mapping[str, NodeStanding]:
        """How each of a cell's Nodes stood when it last said so."""
        with self._lock:
            return dict(self._standing.get(cell, {}))

    def turn(self, cell: str) -> int:
        """What `stand` gave last."""
        with self._lock:
            return self._turns[cell]

    def states(self, now_ms: int) -> dict[str, NodeState]:
        """The state of each Node of the cells that were heard of lately."""
        with self._lock:
            return {
                node: one.state
                for cell, nodes in self._standing.items()
                if cell in self._cells and self._heard_ms[cell] + self._silence_ms >= now_ms
                for node, one in nodes.items()
            }

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
