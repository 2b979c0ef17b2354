"""Cells, Nodes and strikes in the network database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from bithive.database_sql import Database
from bithive.offer import DataClass
from cluster.cell_record import CellRecord, NodeRecord, Strike
from cluster.tables_sql import CELLS, NODES, STRIKES


class SqlCellStore:
    """The register on SQLite or PostgreSQL.

    Parameters
    ----------
    database
        The network database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def cell(self, cell: str) -> CellRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(CELLS).where(CELLS.c.cell == cell)).first()
        return None if row is None else _cell(row)

    def greet(self, cell: CellRecord, nodes: Sequence[NodeRecord]) -> Sequence[NodeRecord]:
        try:
            return self._greet(cell, nodes)
        except IntegrityError:  # the same cell said hello twice at once: now it is known
            return self._greet(cell, nodes)

    def _greet(self, cell: CellRecord, nodes: Sequence[NodeRecord]) -> Sequence[NodeRecord]:
        with self._database.write() as connection:
            values = _cell_values(cell)
            found = connection.execute(update(CELLS).where(CELLS.c.cell == cell.cell).values(**values))
            if found.rowcount == 0:
                connection.execute(insert(CELLS).values(vetted=False, **values))
            return [_keep(connection, node) for node in nodes]

    def vet(self, cell: str, vetted: bool) -> None:
        with self._database.write() as connection:
            connection.execute(update(CELLS).where(CELLS.c.cell == cell).values(vetted=vetted))

    def nodes(self, cell: str) -> Sequence[NodeRecord]:
        with self._database.read() as connection:
            rows = connection.execute(select(NODES).where(NODES.c.cell == cell).order_by(NODES.c.node))
            return [_node(row) for row in rows]

    def strike(self, strike: Strike) -> None:
        values = {
            "attempt_id": strike.attempt_id,
            "cell": strike.cell,
            "node": strike.node,
            "code": strike.code,
            "at_ms": strike.at_ms,
        }
        with self._database.write() as connection:
            connection.execute(insert(STRIKES).values(**values))

    def strikes(self, cell: str) -> Sequence[Strike]:
        query = select(STRIKES).where(STRIKES.c.cell == cell).order_by(STRIKES.c.seq)
        with self._database.read() as connection:
            return [
                Strike(row.attempt_id, row.cell, row.node, row.code, row.at_ms) for row in connection.execute(query)
            ]


def _keep(connection: Connection, node: NodeRecord) -> NodeRecord:
    same = (NODES.c.cell == node.cell) & (NODES.c.node_key == node.node_key)
    known = connection.execute(select(NODES.c.node).where(same)).scalar_one_or_none()
    node = replace(node, node=known or node.node)
    values = {
        "node": node.node,
        "cell": node.cell,
        "node_key": node.node_key,
        "threads": node.threads,
        "memory_bytes": node.memory_bytes,
        "gpus": node.gpus,
        "labels": json.dumps(node.labels),
        "machine_memory_bytes": node.machine_memory_bytes,
    }
    connection.execute(update(NODES).where(same).values(**values) if known else insert(NODES).values(**values))
    return node


def _cell_values(cell: CellRecord) -> dict[str, Any]:
    return {
        "cell": cell.cell,
        "institution": cell.institution,
        "operator": cell.operator,
        "cell_key": cell.cell_key,
        "data_class_max": str(cell.data_class_max),
        "bundles": json.dumps(sorted(cell.bundles)),
        "seen_ms": cell.seen_ms,
        "memory_bytes": cell.memory_bytes,
    }


def _cell(row: Row[Any]) -> CellRecord:
    return CellRecord(
        cell=row.cell,
        institution=row.institution,
        operator=row.operator,
        cell_key=row.cell_key,
        data_class_max=DataClass(row.data_class_max),
        bundles=frozenset(json.loads(row.bundles)),
        seen_ms=row.seen_ms,
        vetted=row.vetted,
        memory_bytes=row.memory_bytes,
    )


def _node(row: Row[Any]) -> NodeRecord:
    return NodeRecord(
        node=row.node,
        cell=row.cell,
        node_key=row.node_key,
        threads=row.threads,
        memory_bytes=row.memory_bytes,
        gpus=row.gpus,
        labels=json.loads(row.labels),
        machine_memory_bytes=row.machine_memory_bytes,
    )
