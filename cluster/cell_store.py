"""Where Cells, Nodes and strikes are kept: the port, and the store in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from cluster.cell_record import CellRecord, NodeRecord, Strike


class CellStore(Protocol):
    """The register of who may work."""

    def cell(self, cell: str) -> CellRecord | None:
        """One Cell."""

    def greet(self, cell: CellRecord, nodes: Sequence[NodeRecord]) -> Sequence[NodeRecord]:
        """Store a Cell and Nodes of it as they describe themselves now; the Nodes under the ids that are kept.

        A Node is known by its key within its Cell: its first id stays for ever. `vetted` is not changed.
        """

    def vet(self, cell: str, vetted: bool) -> None:
        """Note whether the network has vetted a Cell's operator."""

    def nodes(self, cell: str) -> Sequence[NodeRecord]:
        """Every Node that the Cell ever named, oldest first."""

    def strike(self, strike: Strike) -> None:
        """Record a Receipt that did not hold."""

    def strikes(self, cell: str) -> Sequence[Strike]:
        """All of a Cell's, oldest first."""


class MemoryCellStore:
    """The register in dictionaries: for tests and simulations."""

    def __init__(self) -> None:
        self._cells: dict[str, CellRecord] = {}
        self._nodes: dict[tuple[str, str], NodeRecord] = {}
        self._strikes: list[Strike] = []
        self._lock = threading.Lock()

    def cell(self, cell: str) -> CellRecord | None:
        return self._cells.get(cell)

    def greet(self, cell: CellRecord, nodes: Sequence[NodeRecord]) -> Sequence[NodeRecord]:
        with self._lock:
            known = self._cells.get(cell.cell)
            self._cells[cell.cell] = replace(cell, vetted=known is not None and known.vetted)
            kept = []
            for node in nodes:
                assert node.cell == cell.cell, "a node of another cell"
                before = self._nodes.get((node.cell, node.node_key))
                kept.append(replace(node, node=before.node) if before is not None else node)
                self._nodes[node.cell, node.node_key] = kept[-1]
        return kept

    def vet(self, cell: str, vetted: bool) -> None:
        with self._lock:
            self._cells[cell] = replace(self._cells[cell], vetted=vetted)

    def nodes(self, cell: str) -> Sequence[NodeRecord]:
        with self._lock:
            return [node for node in self._nodes.values() if node.cell == cell]

    def strike(self, strike: Strike) -> None:
        with self._lock:
            self._strikes.append(strike)

    def strikes(self, cell: str) -> Sequence[Strike]:
        with self._lock:
            return [strike for strike in self._strikes if strike.cell == cell]
