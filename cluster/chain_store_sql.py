"""Counter-receipts and findings seen before, in the network database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from bithive.database_sql import Database
from cluster.chain import Head
from cluster.chain_store import Noted
from cluster.counter import CounterReceipt
from cluster.duplicates import Sighting
from cluster.tables_receipts_sql import COUNTER_RECEIPTS, SIGHTINGS


class SqlChainStore:
    """Both on SQLite or PostgreSQL.

    Parameters
    ----------
    database
        The network database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def head(self, subject: str) -> Head:
        query = select(COUNTER_RECEIPTS.c.sequence, COUNTER_RECEIPTS.c.digest)
        query = query.where(COUNTER_RECEIPTS.c.subject == subject).order_by(COUNTER_RECEIPTS.c.sequence.desc())
        with self._database.read() as connection:
            row = connection.execute(query.limit(1)).first()
        return Head(row.sequence, row.digest) if row is not None else Head()

    def counters(self, subject: str, after: int = 0, limit: int = 100) -> Sequence[CounterReceipt]:
        query = select(COUNTER_RECEIPTS.c.body)
        query = query.where(COUNTER_RECEIPTS.c.subject == subject, COUNTER_RECEIPTS.c.sequence > after)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(COUNTER_RECEIPTS.c.sequence).limit(limit))
            return [_counter(row.body) for row in rows]

    def of_attempt(self, attempt_id: str) -> Sequence[CounterReceipt]:
        query = select(COUNTER_RECEIPTS.c.body).where(COUNTER_RECEIPTS.c.attempt_id == attempt_id)
        with self._database.read() as connection:
            found = [_counter(row.body) for row in connection.execute(query)]
        return sorted(found, key=lambda counter: (counter.arrived_ms, counter.sequence))

    def twin(self, sighting: Sighting) -> Sighting | None:
        query = select(SIGHTINGS).where(
            SIGHTINGS.c.bundle_sha256 == sighting.bundle_sha256,
            SIGHTINGS.c.findings == sighting.findings,
            SIGHTINGS.c.input_part != sighting.input_part,
        )
        with self._database.read() as connection:
            row = connection.execute(query.order_by(SIGHTINGS.c.at_ms, SIGHTINGS.c.attempt_id).limit(1)).first()
        return None if row is None else Sighting(**row._asdict())

    def forget(self, period: int) -> None:
        with self._database.write() as connection:
            if self._database.is_sqlite:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
            connection.execute(delete(SIGHTINGS).where(SIGHTINGS.c.period != period))

    def note(self, connection: Connection, noted: Noted) -> None:
        """Write it in the caller's transaction; `IntegrityError` if somebody took the place in the chain."""
        counter, sighting = noted.counter, noted.sighting
        if counter is not None:
            row = {
                "subject": counter.subject,
                "sequence": counter.sequence,
                "attempt_id": counter.attempt_id,
                "verdict": counter.verdict,
                "digest": counter.digest,
                "body": json.dumps(counter.to_json()),
            }
            connection.execute(insert(COUNTER_RECEIPTS).values(**row))
        if sighting is not None:
            adding = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(SIGHTINGS)
            connection.execute(adding.values(**asdict(sighting)).on_conflict_do_nothing())


def _counter(body: str) -> CounterReceipt:
    return CounterReceipt.from_json(json.loads(body))
