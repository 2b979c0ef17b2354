"""Offers, Attempts, notices and the outbox in the network database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from bithive.database_sql import Database
from bithive.offer import Offer, OfferKeys
from bithive.outbox_sql import SqlOutbox
from bithive.receipt import Receipt
from cluster.attempt import LIVE, Attempt, AttemptState
from cluster.chain_store_sql import SqlChainStore
from cluster.offers import UNFINISHED, OfferRecord, OfferState
from cluster.online_store_sql import SqlOnlineStore
from cluster.store import Change, Due, Notice, Stale
from cluster.tables_sql import ATTEMPTS, NOTICES, OFFERS, OUTBOX

# Any number: the one lock under which notices get their places, so that a reader never skips one committed late.
_NOTICES_LOCK = 0x4248_4E4F

_QUEUE = (
    OFFERS.c.urgency_rank,
    OFFERS.c.retry_rank,
    OFFERS.c.deadline_ms,
    OFFERS.c.received_ms,
    OFFERS.c.offer_id,
)


class SqlStore:
    """The store on SQLite or PostgreSQL.

    Parameters
    ----------
    database
        The network database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.outbox = SqlOutbox(database, OUTBOX)
        self.chain, self.online = SqlChainStore(database), SqlOnlineStore(database)

    def offer(self, offer_id: str) -> OfferRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(OFFERS).where(OFFERS.c.offer_id == offer_id)).first()
        return None if row is None else _record(row)

    def attempt(self, attempt_id: str) -> Attempt | None:
        with self._database.read() as connection:
            row = connection.execute(select(ATTEMPTS).where(ATTEMPTS.c.attempt_id == attempt_id)).first()
        return None if row is None else _attempt(row)

    def waiting(self, now_ms: int, offset: int = 0, limit: int = 100) -> Sequence[OfferRecord]:
        query = select(OFFERS).where(OFFERS.c.state == OfferState.OPEN, OFFERS.c.ready_ms <= now_ms)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query.order_by(*_QUEUE).offset(offset).limit(limit))]

    def due(self, now_ms: int, limit: int = 100) -> Due:
        live = [str(state) for state in LIVE]
        attempts = select(ATTEMPTS).where(ATTEMPTS.c.state.in_(live), ATTEMPTS.c.expires_ms <= now_ms)
        attempts = attempts.order_by(ATTEMPTS.c.expires_ms, ATTEMPTS.c.attempt_id).limit(limit)
        idle = [OfferState.OPEN, OfferState.AWAITING_PAYLOAD]
        offers = select(OFFERS).where(OFFERS.c.state.in_(idle), OFFERS.c.deadline_ms <= now_ms)
        offers = offers.order_by(OFFERS.c.deadline_ms, OFFERS.c.offer_id).limit(limit)
        with self._database.read() as connection:
            return Due(
                tuple(_attempt(row) for row in connection.execute(attempts)),
                tuple(_record(row) for row in connection.execute(offers)),
            )

    def unfinished(self, institution: str) -> int:
        query = select(func.count()).where(OFFERS.c.institution == institution, OFFERS.c.state.in_(UNFINISHED))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def flagged(self, node: str, limit: int = 100) -> Sequence[Attempt]:
        query = select(ATTEMPTS).where(ATTEMPTS.c.node == node, ATTEMPTS.c.flag != "")
        query = query.order_by(ATTEMPTS.c.ended_ms.desc(), ATTEMPTS.c.attempt_id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_attempt(row) for row in connection.execute(query)]

    def notices(self, institution: str, after: int, limit: int = 100) -> Sequence[Notice]:
        query = select(NOTICES).where(NOTICES.c.institution == institution, NOTICES.c.seq > after)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(NOTICES.c.seq).limit(limit))
            return [
                Notice(row.institution, row.offer_id, row.topic, row.at_ms, json.loads(row.body), row.seq)
                for row in rows
            ]

    def commit(self, change: Change) -> None:
        try:
            with self._database.write() as connection:
                self._write(connection, change)
        except IntegrityError as error:
            raise Stale from error

    def _write(self, connection: Connection, change: Change) -> None:
        if change.offer is not None:
            if self._database.is_sqlite and change.offer.keys is None:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")  # keys that are destroyed are overwritten
            _put(connection, OFFERS, "offer_id", _offer_values(change.offer))
        for attempt in change.attempts:
            _put(connection, ATTEMPTS, "attempt_id", _attempt_values(attempt))
        self.chain.note(connection, change.noted)
        for event in change.events:
            self.outbox.append(connection, event)
        if change.notices and not self._database.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(_NOTICES_LOCK)))
        for notice in change.notices:
            connection.execute(insert(NOTICES).values(**_notice_values(notice)))


def _put(connection: Connection, table: Table, key: str, values: dict[str, Any]) -> None:
    if values["revision"] == 1:
        connection.execute(insert(table).values(**values))
        return
    same = (table.c[key] == values[key]) & (table.c.revision == values["revision"] - 1)
    if connection.execute(update(table).where(same).values(**values)).rowcount != 1:
        raise Stale


def _offer_values(record: OfferRecord) -> dict[str, Any]:
    urgency_rank, retry_rank, deadline_ms, received_ms, offer_id = record.rank
    return {
        "offer_id": offer_id,
        "institution": record.offer.institution,
        "state": str(record.state),
        "urgency_rank": urgency_rank,
        "retry_rank": retry_rank,
        "deadline_ms": deadline_ms,
        "received_ms": received_ms,
        "ready_ms": record.ready_ms,
        "body": json.dumps(record.offer.to_json()),
        "payload_key": record.keys.payload_key if record.keys else None,
        "digest_key": record.keys.digest_key if record.keys else None,
        "terms_digest": record.terms_digest,
        "sealed_bytes": record.sealed_bytes,
        "fencing_token": record.fencing_token,
        "attempt_id": record.attempt_id,
        "opened": record.opened,
        "revision": record.revision,
    }


def _record(row: Row[Any]) -> OfferRecord:
    return OfferRecord(
        offer=Offer.from_stored(json.loads(row.body)),
        keys=OfferKeys(row.payload_key, row.digest_key) if row.payload_key is not None else None,
        terms_digest=row.terms_digest,
        sealed_bytes=row.sealed_bytes,
        received_ms=row.received_ms,
        ready_ms=row.ready_ms,
        state=OfferState(row.state),
        fencing_token=row.fencing_token,
        attempt_id=row.attempt_id,
        opened=row.opened,
        revision=row.revision,
    )


def _attempt_values(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt_id": attempt.attempt_id,
        "offer_id": attempt.offer_id,
        "institution": attempt.institution,
        "cell": attempt.cell,
        "node": attempt.node,
        "fencing_token": attempt.fencing_token,
        "state": str(attempt.state),
        "leased_ms": attempt.leased_ms,
        "expires_ms": attempt.expires_ms,
        "ended_ms": attempt.ended_ms,
        "stage": attempt.stage,
        "fraction": attempt.fraction,
        "code": attempt.code,
        "receipt": json.dumps(attempt.receipt.to_json()) if attempt.receipt else None,
        "revision": attempt.revision,
        "flag": attempt.flag,
    }


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        attempt_id=row.attempt_id,
        offer_id=row.offer_id,
        institution=row.institution,
        cell=row.cell,
        fencing_token=row.fencing_token,
        leased_ms=row.leased_ms,
        expires_ms=row.expires_ms,
        state=AttemptState(row.state),
        node=row.node,
        ended_ms=row.ended_ms,
        stage=row.stage,
        fraction=row.fraction,
        code=row.code,
        receipt=Receipt.from_stored(json.loads(row.receipt)) if row.receipt else None,
        revision=row.revision,
        flag=row.flag,
    )


def _notice_values(notice: Notice) -> dict[str, Any]:
    return {
        "institution": notice.institution,
        "offer_id": notice.offer_id,
        "topic": notice.topic,
        "at_ms": notice.at_ms,
        "body": json.dumps(notice.body),
    }
