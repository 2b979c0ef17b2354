"""The archive in SQL: SQLite or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, and_, delete, func, insert, select, update

from bithive.database_sql import Database
from bithive.outbox import Event
from bithive.outbox_sql import SqlOutbox
from clinic._query_sql import condition
from clinic.archive import (
    Announce,
    Outcome,
    Release,
    SeriesChange,
    Snapshot,
    Taken,
    by_series,
    decide,
    merged,
    new_series,
    new_study,
    quietly,
)
from clinic.attributes import Level, columns
from clinic.instance import ISSUER, Header, InstanceRow, NewInstance, SeriesRow, StudyRow, first
from clinic.query import Found, Query
from clinic.tables_archive_sql import INSTANCES, OUTBOX, SERIES, STUDIES

_CHUNK = 5000
_LAST = 2**31 - 1
_TABLES = {Level.STUDY: STUDIES, Level.SERIES: SERIES, Level.INSTANCE: INSTANCES}


class SqlArchive:
    """The archive in the clinic database.

    Parameters
    ----------
    database
        The clinic database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.outbox: SqlOutbox = SqlOutbox(database, OUTBOX)

    def add(self, institution: str, instances: Sequence[NewInstance], announce: Announce = quietly) -> list[Outcome]:
        prepared = {id(new): _instance_values(institution, new) for new in instances}
        with self._database.write() as connection:
            self._alone(connection, institution)
            outcomes = decide(_snapshot(connection, institution, instances), instances)
            taken = [new for new, outcome in zip(instances, outcomes, strict=True) if outcome.taken is Taken.STORED]
            changes = [_put_series(connection, institution, group) for group in by_series(taken).values()]
            if taken:
                connection.execute(insert(INSTANCES), [prepared[id(new)] for new in taken])
                for event in announce(changes):
                    self.outbox.append(connection, event)
        return outcomes

    def search(self, institution: str, level: Level, query: Query) -> list[Found]:
        statement = _selection(level).where(_TABLES[level].c.institution == institution)
        for match in query.matches:
            statement = statement.where(condition(match, _TABLES[level], sqlite=self._database.is_sqlite))
        statement = statement.order_by(*_order(level)).offset(query.offset)
        if query.limit is not None:
            statement = statement.limit(query.limit)
        with self._database.read() as connection:
            return [_found(row, level) for row in connection.execute(statement)]

    def series(self, institution: str, series_uid: str) -> list[InstanceRow]:
        statement = (
            select(INSTANCES)
            .where(INSTANCES.c.institution == institution, INSTANCES.c.series_uid == series_uid)
            .order_by(func.coalesce(INSTANCES.c.instance_number, _LAST), INSTANCES.c.sop_uid)
        )
        with self._database.read() as connection:
            return [_instance(row) for row in connection.execute(statement)]

    def study(self, institution: str, study_uid: str) -> StudyRow | None:
        statement = select(STUDIES).where(STUDIES.c.institution == institution, STUDIES.c.study_uid == study_uid)
        with self._database.read() as connection:
            row = connection.execute(statement).first()
        return _study(row) if row else None

    def instance(self, institution: str, sop_uid: str) -> InstanceRow | None:
        statement = select(INSTANCES).where(INSTANCES.c.institution == institution, INSTANCES.c.sop_uid == sop_uid)
        with self._database.read() as connection:
            row = connection.execute(statement).first()
        return _instance(row) if row else None

    def delete_study(self, institution: str, study_uid: str, release: Release, events: Sequence[Event] = ()) -> bool:
        with self._database.write() as connection:
            self._alone(connection, institution)
            of_it = and_(INSTANCES.c.institution == institution, INSTANCES.c.study_uid == study_uid)
            blobs = set(connection.execute(select(INSTANCES.c.blob).where(of_it)).scalars())
            gone = 0
            for table in (INSTANCES, SERIES, STUDIES):
                rows = (table.c.institution == institution, table.c.study_uid == study_uid)
                gone = connection.execute(delete(table).where(*rows)).rowcount
            if not gone:
                return False
            release(sorted(blobs - _referenced(connection, blobs)))
            for event in events:
                self.outbox.append(connection, event)
        return True

    def referenced(self, blobs: Iterable[str]) -> set[str]:
        with self._database.read() as connection:
            return _referenced(connection, blobs)

    def _alone(self, connection: Connection, institution: str) -> None:
        """One writer an institution at a time; SQLite has but one anyway."""
        if not self._database.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(institution, 0))))


def _snapshot(connection: Connection, institution: str, instances: Sequence[NewInstance]) -> Snapshot:
    def among(statement: Select[Any], column: Any, uids: Iterable[str]) -> Iterator[Row[Any]]:
        return _among(connection, statement.where(column.table.c.institution == institution), column, uids)

    held = select(STUDIES.c.study_uid, STUDIES.c.patient_id, STUDIES.c.issuer, STUDIES.c.instances)
    return Snapshot(
        blobs={
            row.sop_uid: row.blob
            for row in among(
                select(INSTANCES.c.sop_uid, INSTANCES.c.blob), INSTANCES.c.sop_uid, (new.sop_uid for new in instances)
            )
        },
        studies={
            row.study_uid: (row.patient_id, row.issuer, row.instances)
            for row in among(held, STUDIES.c.study_uid, (new.study_uid for new in instances))
        },
        series={
            row.series_uid: row.study_uid
            for row in among(
                select(SERIES.c.series_uid, SERIES.c.study_uid),
                SERIES.c.series_uid,
                (new.series_uid for new in instances),
            )
        },
    )


def _referenced(connection: Connection, blobs: Iterable[str]) -> set[str]:
    statement = select(INSTANCES.c.blob).distinct()
    return {row.blob for row in _among(connection, statement, INSTANCES.c.blob, blobs)}


def _among(connection: Connection, statement: Select[Any], column: Any, values: Iterable[str]) -> Iterator[Row[Any]]:
    """Rows whose column is one of many values, asked for in pieces that every database takes."""
    rest = iter(sorted(set(values)))
    while piece := list(islice(rest, _CHUNK)):
        yield from connection.execute(statement.where(column.in_(piece)))


def _put_series(connection: Connection, institution: str, group: Sequence[NewInstance]) -> SeriesChange:
    """Count instances of one series into its rows, which are made when they are new."""
    head = group[0]
    of_series = (SERIES.c.institution == institution, SERIES.c.series_uid == head.series_uid)
    count = connection.execute(select(SERIES.c.instances).where(*of_series)).scalar()
    _put_study(connection, institution, group, is_new_series=count is None)
    total = (count or 0) + len(group)
    if count is None:
        row = new_series(institution, head)
        values = {
            "institution": institution,
            "series_uid": row.series_uid,
            "study_uid": row.study_uid,
            "attributes": _dump(row.attributes),
            "instances": total,
            **columns(head.header, Level.SERIES),
        }
        connection.execute(insert(SERIES).values(**values))
    else:
        connection.execute(update(SERIES).where(*of_series).values(instances=total))
    return SeriesChange(head.study_uid, head.series_uid, len(group), total)


def _put_study(connection: Connection, institution: str, group: Sequence[NewInstance], *, is_new_series: bool) -> None:
    head, modality = group[0], first(group[0].header, "00080060")
    issuer = next((text for new in group if (text := first(new.header, ISSUER))), "")
    of_study = (STUDIES.c.institution == institution, STUDIES.c.study_uid == head.study_uid)
    known = connection.execute(select(STUDIES).where(*of_study)).first()
    if known is None:
        row = new_study(institution, head)
        values = {
            **columns(head.header, Level.STUDY),
            "institution": institution,
            "study_uid": row.study_uid,
            "patient_id": row.patient_id,
            "issuer": issuer,
            "attributes": _dump(row.attributes),
            "modalities": json.dumps(merged((), modality)),
            "series": 1,
            "instances": len(group),
            "created_ms": row.created_ms,
            "changed_ms": group[-1].received_ms,
        }
        connection.execute(insert(STUDIES).values(**values))
        return
    modalities = merged(json.loads(known.modalities), modality) if is_new_series else json.loads(known.modalities)
    values = {
        "issuer": known.issuer or issuer,
        "modalities": json.dumps(modalities),
        "series": known.series + is_new_series,
        "instances": known.instances + len(group),
        "changed_ms": group[-1].received_ms,
    }
    connection.execute(update(STUDIES).where(*of_study).values(**values))


def _instance_values(institution: str, new: NewInstance) -> dict[str, Any]:
    members = {name: getattr(new, name) for name in _MEMBERS}
    return {
        **members,
        **columns(new.header, Level.INSTANCE),
        "institution": institution,
        "own": int(new.own),
        "header": _dump(new.header),
    }


_MEMBERS = tuple(item.name for item in fields(NewInstance) if item.name not in {"header", "own"})


def _dump(header: Header) -> str:
    return json.dumps(header, separators=(",", ":"), allow_nan=False)


def _selection(level: Level) -> Select[Any]:
    if level is Level.STUDY:
        return select(STUDIES)
    in_study = and_(SERIES.c.institution == STUDIES.c.institution, SERIES.c.study_uid == STUDIES.c.study_uid)
    if level is Level.SERIES:
        return select(STUDIES, SERIES).join_from(STUDIES, SERIES, in_study)
    in_series = and_(INSTANCES.c.institution == SERIES.c.institution, INSTANCES.c.series_uid == SERIES.c.series_uid)
    return select(STUDIES, SERIES, INSTANCES).join_from(STUDIES, SERIES, in_study).join(INSTANCES, in_series)


def _order(level: Level) -> list[Any]:
    keys: list[Any] = [STUDIES.c.created_ms.desc(), STUDIES.c.study_uid]
    if level >= Level.SERIES:
        keys += [func.coalesce(SERIES.c.series_number, _LAST), SERIES.c.series_uid]
    if level is Level.INSTANCE:
        keys += [func.coalesce(INSTANCES.c.instance_number, _LAST), INSTANCES.c.sop_uid]
    return keys


def _found(row: Row[Any], level: Level) -> Found:
    return Found(
        _study(row),
        _series(row) if level >= Level.SERIES else None,
        _instance(row) if level is Level.INSTANCE else None,
    )


def _study(row: Row[Any]) -> StudyRow:
    of = _reader(row, STUDIES)
    return StudyRow(
        institution=of("institution"),
        study_uid=of("study_uid"),
        patient_id=of("patient_id"),
        issuer=of("issuer"),
        attributes=json.loads(of("attributes")),
        modalities=tuple(json.loads(of("modalities"))),
        series=of("series"),
        instances=of("instances"),
        created_ms=of("created_ms"),
        changed_ms=of("changed_ms"),
    )


def _series(row: Row[Any]) -> SeriesRow:
    of = _reader(row, SERIES)
    return SeriesRow(
        of("institution"), of("study_uid"), of("series_uid"), json.loads(of("attributes")), of("instances")
    )


def _instance(row: Row[Any]) -> InstanceRow:
    of = _reader(row, INSTANCES)
    members = {name: of(name) for name in _MEMBERS}
    header = json.loads(of("header"))
    return InstanceRow(**members, header=header, own=bool(of("own")), institution=of("institution"))


def _reader(row: Row[Any], table: Table) -> Callable[[str], Any]:
    mapping, cells = row._mapping, table.c  # noqa: SLF001 - the documented way to read a joined row by its columns
    return lambda name: mapping[cells[name]]
