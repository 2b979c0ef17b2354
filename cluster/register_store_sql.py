"""Registrations and invites in the network database."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from bithive.database_sql import Database
from cluster.data_classes import Terms
from cluster.register import InviteRecord, Registration
from cluster.tables_sql import INVITES, REGISTRATIONS


class SqlRegister:
    """The register on SQLite or PostgreSQL.

    Parameters
    ----------
    database
        The network database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def registration(self, cell: str) -> Registration | None:
        with self._database.read() as connection:
            row = connection.execute(select(REGISTRATIONS).where(REGISTRATIONS.c.cell == cell)).first()
        return None if row is None else _registration(row)

    def bind(self, registration: Registration) -> Registration:
        known = self.registration(registration.cell)
        if known is not None:
            return known
        try:
            with self._database.write() as connection:
                connection.execute(insert(REGISTRATIONS).values(**_values(registration)))
        except IntegrityError:  # another request was faster
            return self.bind(registration)
        return registration

    def amend(self, after: Registration, before: Registration) -> bool:
        changed = update(REGISTRATIONS).where(_is(before)).values(**_values(after))
        with self._database.write() as connection:
            return connection.execute(changed).rowcount == 1

    def forget(self, registration: Registration) -> None:
        with self._database.write() as connection:
            connection.execute(delete(REGISTRATIONS).where(_is(registration)))

    def issue(self, invite: InviteRecord) -> None:
        values = {
            "digest": invite.digest,
            "cell": invite.cell,
            "account": invite.account,
            "terms": json.dumps(invite.terms.to_json()),
            "operator": invite.operator,
            "expires_ms": invite.expires_ms,
            "cell_key": invite.cell_key,
        }
        with self._database.write() as connection:
            connection.execute(delete(INVITES).where(INVITES.c.cell == invite.cell))
            connection.execute(insert(INVITES).values(**values))

    def redeem(self, digest: str, cell_key: str, now_ms: int) -> InviteRecord | None:
        mine = (INVITES.c.digest == digest) & (INVITES.c.expires_ms > now_ms) & INVITES.c.cell_key.in_(("", cell_key))
        with self._database.write() as connection:
            row = connection.execute(select(INVITES).where(mine)).first()
            if row is None or connection.execute(update(INVITES).where(mine).values(cell_key=cell_key)).rowcount != 1:
                return None
        terms = Terms.from_json(json.loads(row.terms))
        return InviteRecord(row.digest, row.cell, row.account, terms, row.operator, row.expires_ms, row.cell_key)


def _is(registration: Registration) -> ColumnElement[bool]:
    columns = REGISTRATIONS.c
    return and_(
        columns.cell == registration.cell,
        columns.cell_key == registration.cell_key,
        columns.bound_ms == registration.bound_ms,
        columns.revoked_ms == registration.revoked_ms,
    )


def _values(registration: Registration) -> dict[str, Any]:
    terms = registration.terms
    return {
        "cell": registration.cell,
        "cell_key": registration.cell_key,
        "terms": None if terms is None else json.dumps(terms.to_json()),
        "bound_ms": registration.bound_ms,
        "revoked_ms": registration.revoked_ms,
        "operator": registration.operator,
    }


def _registration(row: Row[Any]) -> Registration:
    terms = None if row.terms is None else Terms.from_json(json.loads(row.terms))
    return Registration(row.cell, row.cell_key, terms, row.bound_ms, row.revoked_ms, row.operator)
