"""What the clinical flow remembers, in the clinic's database."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from bithive.clock import Clock
from bithive.database_sql import Database
from bithive.offer import Urgency
from clinic.refusals import StaleWorkitem, WorkitemAbsent
from clinic.tables_workitem_sql import CURSORS, EVENTS, INBOX, SERIES, WORKITEMS
from clinic.workitem import FINAL, Duty, InputSeries, Measured, Reference, Review, State, Statement, Workitem
from clinic.workitem_store import EVENTS_READ_MAX, Announce, Change, Kind, SeriesWatch, StudyEvent, Which

_COLUMNS = frozenset(column.name for column in WORKITEMS.columns) - {"members"}
_MEMBERS = tuple(item.name for item in fields(Workitem) if item.name not in _COLUMNS)
_LOG_LOCK = 0x62697468
"""Advisory lock of PostgreSQL: numbers of the log become visible in their order."""


class SqlWorkitemStore:
    """The store on SQLite or PostgreSQL.

    Parameters
    ----------
    database
        The clinic's.
    clock
        For the inbox.
    announce
        Told of events once they are durable.
    """

    def __init__(self, database: Database, clock: Clock, announce: Announce | None = None) -> None:
        self._database, self._clock, self._announce = database, clock, announce

    def commit(self, change: Change) -> bool:
        with self._database.write() as connection:
            if change.taken is not None and not self._take(connection, change.taken):
                return False
            for item in change.workitems:
                _put(connection, item)
            for watch in change.series:
                _put_series(connection, watch)
            stored = self._append(connection, change.events)
            if change.cursor is not None:
                institution, seq = change.cursor
                _replace(connection, CURSORS, {"institution": institution}, {"seq": seq})
        if self._announce and stored:
            self._announce(stored)
        return True

    def _take(self, connection: Connection, key: str) -> bool:
        if connection.execute(select(INBOX.c.key).where(INBOX.c.key == key)).first() is not None:
            return False
        connection.execute(insert(INBOX).values(key=key, taken_ms=self._clock.now_ms()))
        return True

    def _append(self, connection: Connection, events: tuple[StudyEvent, ...]) -> list[StudyEvent]:
        if events and not self._database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOG_LOCK})
        stored = []
        for event in events:
            values = asdict(event) | {"kind": str(event.kind), "detail": json.dumps(event.detail)}
            del values["seq"]
            key = connection.execute(insert(EVENTS).values(**values)).inserted_primary_key
            assert key is not None, "an inserted row has a key"
            stored.append(replace(event, seq=key[0]))
        return stored

    def workitem(self, institution: str, workitem_id: str) -> Workitem:
        query = select(WORKITEMS).where(WORKITEMS.c.workitem_id == workitem_id, WORKITEMS.c.institution == institution)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise WorkitemAbsent
        return _workitem(row)

    def find(self, which: Which) -> list[Workitem]:
        query = select(WORKITEMS).order_by(WORKITEMS.c.created_ms, WORKITEMS.c.workitem_id)
        for name in ("institution", "study_uid", "series_uid", "offer_id"):
            if (value := getattr(which, name)) is not None:
                query = query.where(WORKITEMS.c[name] == value)
        if which.owed:
            query = query.where(WORKITEMS.c.duty.is_not(None))
        if which.active:
            query = query.where(WORKITEMS.c.state.in_([str(state) for state in State if state not in FINAL]))
        with self._database.read() as connection:
            return [_workitem(row) for row in connection.execute(query)]

    def watched(self, institution: str | None = None, study_uid: str | None = None) -> list[SeriesWatch]:
        query = select(SERIES).order_by(SERIES.c.due_ms, SERIES.c.series_uid)
        if institution is not None:
            query = query.where(SERIES.c.institution == institution)
        condition = SERIES.c.pending == 1 if study_uid is None else SERIES.c.study_uid == study_uid
        with self._database.read() as connection:
            return [_series(row) for row in connection.execute(query.where(condition))]

    def events_after(self, institution: str, seq: int, study_uid: str | None = None) -> list[StudyEvent]:
        query = select(EVENTS).where(EVENTS.c.institution == institution, EVENTS.c.seq > seq)
        if study_uid is not None:
            query = query.where(EVENTS.c.study_uid == study_uid)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(EVENTS.c.seq).limit(EVENTS_READ_MAX))
            return [_event(row) for row in rows]

    def cursor(self, institution: str) -> int:
        with self._database.read() as connection:
            found = connection.execute(select(CURSORS.c.seq).where(CURSORS.c.institution == institution)).scalar()
        return int(found or 0)


def _put(connection: Connection, item: Workitem) -> None:
    """Write a Workitem if it is the next version of the stored one. Raises `StaleWorkitem`."""
    everything = asdict(item)
    values = {name: everything[name] for name in _COLUMNS}
    values |= {"state": str(item.state), "duty": str(item.duty) if item.duty else None}
    values["members"] = json.dumps({name: everything[name] for name in _MEMBERS})
    if item.version == 1:
        try:
            connection.execute(insert(WORKITEMS).values(**values))
        except IntegrityError:
            raise StaleWorkitem from None
        return
    known = (WORKITEMS.c.workitem_id == item.workitem_id) & (WORKITEMS.c.version == item.version - 1)
    if connection.execute(update(WORKITEMS).where(known).values(**values)).rowcount != 1:
        raise StaleWorkitem


def _put_series(connection: Connection, watch: SeriesWatch) -> None:
    values = asdict(watch)
    key = {"institution": values.pop("institution"), "series_uid": values.pop("series_uid")}
    values |= {
        "one_request": int(watch.one_request),
        "pending": int(watch.pending),
        "unmatched": json.dumps(watch.unmatched),
    }
    _replace(connection, SERIES, key, values)


def _replace(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    same = [table.c[name] == value for name, value in key.items()]
    if connection.execute(update(table).where(*same).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**key, **values))


def _workitem(row: Row[Any]) -> Workitem:
    members = json.loads(row.members)
    members["urgency"] = Urgency(members["urgency"])
    members["review"] = Review(members["review"]) if members["review"] else None
    members["measured"] = tuple(Measured(**item) for item in members["measured"])
    members["references"] = tuple(Reference(**item) for item in members["references"])
    members["statements"] = tuple(Statement(**item) for item in members.get("statements", ()))
    members["remarks"] = tuple(members.get("remarks", ()))
    members["inputs"] = tuple(InputSeries(**item) for item in members.get("inputs", ()))
    columns = {name: getattr(row, name) for name in _COLUMNS}
    columns |= {"state": State(row.state), "duty": Duty(row.duty) if row.duty else None}
    columns["key"] = bytes(row.key) if row.key is not None else None
    return Workitem(**columns, **members)


def _series(row: Row[Any]) -> SeriesWatch:
    values = dict(row._mapping)  # noqa: SLF001 - the public name of SQLAlchemy's row as a mapping
    values |= {"one_request": bool(row.one_request), "pending": bool(row.pending)}
    values["unmatched"] = json.loads(row.unmatched)
    return SeriesWatch(**values)


def _event(row: Row[Any]) -> StudyEvent:
    return StudyEvent(row.institution, row.study_uid, Kind(row.kind), row.at_ms, json.loads(row.detail), row.seq)
