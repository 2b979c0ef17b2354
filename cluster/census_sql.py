"""Counts and lists of the network database."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import JSON, ColumnElement, Row, Select, cast, false, func, literal, or_, select, true, type_coerce

from bithive.database_sql import Database
from bithive.receipt import Receipt
from cluster.attempt import LIVE
from cluster.census import (
    AttemptLine,
    CellLine,
    EndLine,
    LeaseLine,
    NodeLine,
    OfferLine,
    Quality,
    Queue,
    StrikeLine,
    Whose,
)
from cluster.offers import KEYED
from cluster.tables_sql import ATTEMPTS, CELLS, NODES, OFFERS, OUTBOX, STRIKES

_LIVE = [str(state) for state in LIVE]
_KEPT = [str(state) for state in KEYED]


class SqlCensus:
    """The census of a network database.

    Parameters
    ----------
    database
        The network database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def cells(self, whose: Whose, limit: int = 100) -> tuple[Sequence[CellLine], int]:
        query = select(CELLS).where(_own_cells(whose)).order_by(CELLS.c.seen_ms.desc(), CELLS.c.cell).limit(limit)
        count = select(func.count()).select_from(CELLS).where(_own_cells(whose))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            return [_cell(row) for row in rows], int(connection.execute(count).scalar_one())

    def node(self, whose: Whose, node: str) -> tuple[CellLine, NodeLine] | None:
        found = self._read(select(NODES).where(NODES.c.node == node))
        cells = self._read(select(CELLS).where(CELLS.c.cell == found[0].cell, _own_cells(whose))) if found else ()
        return (_cell(cells[0]), _node(found[0])) if cells else None

    def nodes(self, cells: Collection[str] | None) -> Sequence[NodeLine]:
        query = select(NODES).where(_of(NODES.c.cell, cells)).order_by(NODES.c.node)
        return [_node(row) for row in self._read(query)]

    def leases(self, whose: Whose, limit: int = 100) -> Sequence[LeaseLine]:
        query = select(ATTEMPTS, OFFERS.c.body).join(OFFERS, OFFERS.c.offer_id == ATTEMPTS.c.offer_id)
        query = query.where(ATTEMPTS.c.state.in_(_LIVE), _own_attempts(whose))
        return [_lease(row) for row in self._read(query.order_by(ATTEMPTS.c.leased_ms).limit(limit))]

    def attempts(self, node: NodeLine, limit: int = 25) -> Sequence[AttemptLine]:
        query = select(ATTEMPTS, OFFERS.c.body).join(OFFERS, OFFERS.c.offer_id == ATTEMPTS.c.offer_id)
        query = query.where(ATTEMPTS.c.cell == node.cell, ATTEMPTS.c.node == node.node)
        return [_attempt(row) for row in self._read(query.order_by(ATTEMPTS.c.leased_ms.desc()).limit(limit))]

    def quality(self, cells: Collection[str] | None, since_ms: int) -> Quality:
        return Quality(tuple(self._ends(cells, since_ms)), tuple(self._strikes(cells)))

    def _ends(self, cells: Collection[str] | None, since_ms: int) -> Sequence[EndLine]:
        group = (ATTEMPTS.c.cell, ATTEMPTS.c.node, ATTEMPTS.c.state, ATTEMPTS.c.code)
        query = select(*group, func.count(), func.max(ATTEMPTS.c.ended_ms))
        query = query.where(
            ATTEMPTS.c.node.in_(_named(cells)),
            ATTEMPTS.c.ended_ms >= max(since_ms, 1),
            _of(ATTEMPTS.c.cell, cells),
        ).group_by(*group)
        return [EndLine(*tuple(row)) for row in self._read(query.order_by(*group))]

    def _strikes(self, cells: Collection[str] | None) -> Sequence[StrikeLine]:
        group = (STRIKES.c.cell, STRIKES.c.node, STRIKES.c.code)
        query = select(*group, func.count(), func.max(STRIKES.c.at_ms)).where(_of(STRIKES.c.cell, cells))
        return [StrikeLine(*tuple(row)) for row in self._read(query.group_by(*group).order_by(*group))]

    def queue(self) -> Queue:
        events = select(func.count()).select_from(OUTBOX).where(OUTBOX.c.taken == 0)
        return Queue(tuple(self._offers()), int(self._read(events)[0][0]))

    def _offers(self) -> Sequence[OfferLine]:
        told = (self._member("urgency").label("urgency"), self._member("data_class").label("data_class"))
        rows = select(OFFERS.c.state, *told, OFFERS.c.sealed_bytes, OFFERS.c.received_ms)
        kept = rows.where(OFFERS.c.state.in_(_KEPT)).subquery()
        group = (kept.c.state, kept.c.urgency, kept.c.data_class)
        query = select(*group, func.count(), func.sum(kept.c.sealed_bytes), func.min(kept.c.received_ms))
        return [
            OfferLine(state, urgency, data_class, int(count), int(size_bytes), int(oldest_ms))
            for state, urgency, data_class, count, size_bytes, oldest_ms in map(
                tuple, self._read(query.group_by(*group).order_by(*group))
            )
        ]

    def _member(self, name: str) -> ColumnElement[str]:
        """A member of an Offer's body. SQLite keeps JSON as text; PostgreSQL wants to be told that it is some."""
        body = type_coerce(OFFERS.c.body, JSON) if self._database.is_sqlite else cast(OFFERS.c.body, JSON)
        member: ColumnElement[str] = body[name].as_string()
        return member

    def _read(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self._database.read() as connection:
            return connection.execute(query).all()


def _own_cells(whose: Whose) -> ColumnElement[bool]:
    if whose.everything:
        return true()
    if whose.institution is not None:
        return CELLS.c.institution == whose.institution
    return CELLS.c.cell == whose.cell if whose.cell is not None else false()


def _own_attempts(whose: Whose) -> ColumnElement[bool]:
    if whose.everything:
        return true()
    if whose.institution is not None:
        own = select(CELLS.c.cell).where(CELLS.c.institution == whose.institution)
        return or_(ATTEMPTS.c.institution == whose.institution, ATTEMPTS.c.cell.in_(own))
    return ATTEMPTS.c.cell == whose.cell if whose.cell is not None else false()


def _of(column: ColumnElement[str], cells: Collection[str] | None) -> ColumnElement[bool]:
    return true() if cells is None else column.in_(sorted(cells))


def _named(cells: Collection[str] | None) -> Select[tuple[str]]:
    """Every Node of these Cells, and the name of those that no Attempt named: what the index of ends begins with."""
    return select(NODES.c.node).where(_of(NODES.c.cell, cells)).union_all(select(literal("")))  # type: ignore[return-value]


def _cell(row: Row[Any]) -> CellLine:
    return CellLine(
        row.cell,
        row.institution,
        row.operator,
        row.tier or "",
        row.residency,
        row.data_class_max,
        bool(row.vetted),
        row.seen_ms,
        row.revoked_ms,
    )


def _node(row: Row[Any]) -> NodeLine:
    told = json.loads(row.told)
    accelerator = told.get("accelerator") or [""]
    return NodeLine(
        row.node,
        row.cell,
        told.get("tier", ""),
        told.get("residency", ""),
        row.threads,
        row.machine_memory_bytes or row.memory_bytes,
        row.gpus,
        accelerator[0],
        told.get("slots", 1),
        row.revoked_ms,
    )


def _lease(row: Row[Any]) -> LeaseLine:
    offer = json.loads(row.body)
    return LeaseLine(
        row.attempt_id,
        row.cell,
        row.node,
        offer["bundle"],
        offer["urgency"],
        offer["data_class"],
        row.stage,
        row.fraction,
        row.fencing_token,
        row.leased_ms,
        row.expires_ms,
    )


def _attempt(row: Row[Any]) -> AttemptLine:
    offer = json.loads(row.body)
    receipt = Receipt.from_stored(json.loads(row.receipt)) if row.receipt else None
    return AttemptLine(
        row.attempt_id,
        offer["bundle"],
        offer["data_class"],
        row.state,
        row.code,
        offer["work_units"],
        row.leased_ms,
        row.ended_ms,
        receipt.wall_ms if receipt else 0,
        receipt.digest if receipt else "",
    )
