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

        A Node is known by its key within its Cell: its first id stays for ever, and so does the history of its key.
        `vetted` is not changed, nor is what `attest` noted.
        """

    def amend(self, node: NodeRecord) -> None:
        """Replace what is kept of one Node, found by its id: after a rotation or revocation of its key."""

    def vet(self, cell: str, vetted: bool) -> None:
        """Note whether the network has vetted a Cell's operator."""

    def attest(self, cell: str, box_key: str, until_ms: int) -> None:
        """Note until when a Cell's evidence counts, and the key that it names; "" and 0 take both away."""

    def nodes(self, cell: str) -> Sequence[NodeRecord]:
        """Every Node that the Cell ever named, oldest first."""

    def node(self, node: str) -> NodeRecord | None:
        """One Node, whosever it is."""

    def strike(self, strike: Strike) -> None:
        """Record a Receipt that did not hold. An Attempt has each code once, however often it is handed in."""

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
            if known is not None:
                cell = replace(cell, vetted=known.vetted, attested_ms=known.attested_ms, box_key=known.box_key)
            self._cells[cell.cell] = (
                cell if known is not None else replace(cell, vetted=False, attested_ms=0, box_key="")
            )
            kept = []
            for node in nodes:
                assert node.cell == cell.cell, "a node of another cell"
                before = self._nodes.get((node.cell, node.node_key))
                kept.append(node.kept(before) if before is not None else node)
                self._nodes[node.cell, node.node_key] = kept[-1]
        return kept

    def amend(self, node: NodeRecord) -> None:
        with self._lock:
            self._nodes = {place: known for place, known in self._nodes.items() if known.node != node.node}
            self._nodes[node.cell, node.node_key] = node

    def vet(self, cell: str, vetted: bool) -> None:
        with self._lock:
            self._cells[cell] = replace(self._cells[cell], vetted=vetted)

    def attest(self, cell: str, box_key: str, until_ms: int) -> None:
        with self._lock:
            self._cells[cell] = replace(self._cells[cell], attested_ms=until_ms, box_key=box_key)

    def nodes(self, cell: str) -> Sequence[NodeRecord]:
        with self._lock:
            return [node for node in self._nodes.values() if node.cell == cell]

    def node(self, node: str) -> NodeRecord | None:
        with self._lock:
            return next((known for known in self._nodes.values() if known.node == node), None)

    def strike(self, strike: Strike) -> None:
        with self._lock:
            if (strike.attempt_id, strike.code) not in {(item.attempt_id, item.code) for item in self._strikes}:
                self._strikes.append(strike)

    def strikes(self, cell: str) -> Sequence[Strike]:
        with self._lock:
            return [strike for strike in self._strikes if strike.cell == cell]
