"""Cells, Nodes and strikes in the network database."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from bithive.database_sql import Database
from bithive.offer import DataClass
from cluster.cell_record import CellRecord, NodeRecord, Strike
from cluster.labels import Tier
from cluster.protocol_node import Accelerator
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

    def amend(self, node: NodeRecord) -> None:
        with self._database.write() as connection:
            connection.execute(update(NODES).where(NODES.c.node == node.node).values(**_node_values(node)))

    def vet(self, cell: str, vetted: bool) -> None:
        with self._database.write() as connection:
            connection.execute(update(CELLS).where(CELLS.c.cell == cell).values(vetted=vetted))

    def attest(self, cell: str, box_key: str, until_ms: int) -> None:
        values = {"attested_ms": until_ms, "box_key": box_key}
        with self._database.write() as connection:
            connection.execute(update(CELLS).where(CELLS.c.cell == cell).values(**values))

    def nodes(self, cell: str) -> Sequence[NodeRecord]:
        with self._database.read() as connection:
            rows = connection.execute(select(NODES).where(NODES.c.cell == cell).order_by(NODES.c.node))
            return [_node(row) for row in rows]

    def node(self, node: str) -> NodeRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(NODES).where(NODES.c.node == node)).first()
        return None if row is None else _node(row)

    def strike(self, strike: Strike) -> None:
        values = {
            "attempt_id": strike.attempt_id,
            "cell": strike.cell,
            "node": strike.node,
            "code": strike.code,
            "at_ms": strike.at_ms,
        }
        same = (
            (STRIKES.c.cell == strike.cell)
            & (STRIKES.c.attempt_id == strike.attempt_id)
            & (STRIKES.c.code == strike.code)
        )
        with self._database.write() as connection:
            if connection.execute(select(STRIKES.c.seq).where(same)).first() is None:
                connection.execute(insert(STRIKES).values(**values))

    def strikes(self, cell: str) -> Sequence[Strike]:
        query = select(STRIKES).where(STRIKES.c.cell == cell).order_by(STRIKES.c.seq)
        with self._database.read() as connection:
            return [
                Strike(row.attempt_id, row.cell, row.node, row.code, row.at_ms) for row in connection.execute(query)
            ]


def _keep(connection: Connection, node: NodeRecord) -> NodeRecord:
    same = (NODES.c.cell == node.cell) & (NODES.c.node_key == node.node_key)
    known = connection.execute(select(NODES).where(same)).first()
    if known is None:
        connection.execute(insert(NODES).values(**_node_values(node)))
        return node
    node = node.kept(_node(known))
    connection.execute(update(NODES).where(same).values(**_node_values(node)))
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
        "tier": cell.tier and str(cell.tier),
        "residency": cell.residency,
        "revoked_ms": cell.revoked_ms,
    }


def _node_values(node: NodeRecord) -> dict[str, Any]:
    told = {name: read(node) for name, read in _TOLD.items()}
    return {
        "node": node.node,
        "cell": node.cell,
        "node_key": node.node_key,
        "threads": node.threads,
        "memory_bytes": node.memory_bytes,
        "gpus": node.gpus,
        "labels": json.dumps(node.labels),
        "machine_memory_bytes": node.machine_memory_bytes,
        "told": json.dumps(told),
        "former_key": node.former_key,
        "former_until_ms": node.former_until_ms,
        "revoked_ms": node.revoked_ms,
    }


_TOLD: dict[str, Callable[[NodeRecord], Any]] = {
    "tier": lambda node: node.tier,
    "residency": lambda node: node.residency,
    "accelerator": lambda node: node.accelerator and [node.accelerator.name, node.accelerator.memory_bytes],
    "timetable": lambda node: node.timetable,
    "caps": lambda node: node.caps,
    "slots": lambda node: node.slots,
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
        tier=None if row.tier is None else Tier(row.tier),
        residency=row.residency,
        revoked_ms=row.revoked_ms,
        attested_ms=row.attested_ms,
        box_key=row.box_key,
    )


def _node(row: Row[Any]) -> NodeRecord:
    told = json.loads(row.told)
    accelerator = told.get("accelerator")
    return NodeRecord(
        node=row.node,
        cell=row.cell,
        node_key=row.node_key,
        threads=row.threads,
        memory_bytes=row.memory_bytes,
        gpus=row.gpus,
        labels=json.loads(row.labels),
        machine_memory_bytes=row.machine_memory_bytes,
        tier=told.get("tier", ""),
        residency=told.get("residency", ""),
        accelerator=Accelerator(*accelerator) if accelerator else None,
        timetable=told.get("timetable", {}),
        caps=told.get("caps", {}),
        slots=told.get("slots", 1),
        former_key=row.former_key,
        former_until_ms=row.former_until_ms,
        revoked_ms=row.revoked_ms,
    )
