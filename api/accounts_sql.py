"""Accounts in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from api.accounts import Account, Credential, Kind
from api.errors import AccountExists
from api.tables_accounts_sql import ACCOUNT, CREDENTIAL, SITE
from bithive.database_sql import Database


class SqlAccountStore:
    """Accounts in one database, SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, account: Account) -> None:
        values = {
            "account_id": account.account_id,
            "name": account.name,
            "role": account.role,
            "institution": account.institution,
            "cell": account.cell,
            "disabled": account.disabled,
        }
        try:
            with self._database.write() as connection:
                connection.execute(insert(ACCOUNT).values(**values))
        except IntegrityError as error:
            raise AccountExists from error

    def accounts(self) -> Sequence[Account]:
        with self._database.read() as connection:
            return [_account(row) for row in connection.execute(select(ACCOUNT).order_by(ACCOUNT.c.number))]

    def disable(self, account_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(update(ACCOUNT).where(ACCOUNT.c.account_id == account_id).values(disabled=True))

    def give(self, credential: Credential, now_ms: int, *, only: bool = False) -> None:
        expired = and_(CREDENTIAL.c.expires_ms > 0, CREDENTIAL.c.expires_ms <= now_ms)
        others = and_(CREDENTIAL.c.kind == credential.kind, CREDENTIAL.c.account_id == credential.account_id)
        values = {
            "digest": credential.digest,
            "kind": str(credential.kind),
            "account_id": credential.account_id,
            "expires_ms": credential.expires_ms,
            "used": 0,
        }
        with self._database.write() as connection:
            connection.execute(delete(CREDENTIAL).where(or_(expired, others) if only else expired))
            connection.execute(insert(CREDENTIAL).values(**values))

    def holder(self, kind: Kind, digest: str, now_ms: int) -> Account | None:
        with self._database.read() as connection:
            return _holder(connection, kind, digest, now_ms)

    def consume(self, kind: Kind, digest: str, now_ms: int) -> Account | None:
        with self._database.write() as connection:
            account = _holder(connection, kind, digest, now_ms)
            first = update(CREDENTIAL).where(CREDENTIAL.c.digest == digest, CREDENTIAL.c.used == 0).values(used=1)
            if account is None or connection.execute(first).rowcount != 1:
                return None
            return account

    def institution(self, proposed: str) -> str:
        with self._database.read() as connection:
            known = connection.scalar(select(SITE.c.institution))
        if known is None:
            try:
                with self._database.write() as connection:
                    connection.execute(insert(SITE).values(one=1, institution=proposed))
                    return proposed
            except IntegrityError:
                return self.institution(proposed)
        return str(known)


def _holder(connection: Connection, kind: Kind, digest: str, now_ms: int) -> Account | None:
    query = (
        select(ACCOUNT)
        .join(CREDENTIAL, CREDENTIAL.c.account_id == ACCOUNT.c.account_id)
        .where(
            CREDENTIAL.c.digest == digest,
            CREDENTIAL.c.kind == str(kind),
            CREDENTIAL.c.used == 0,
            or_(CREDENTIAL.c.expires_ms == 0, CREDENTIAL.c.expires_ms > now_ms),
            ACCOUNT.c.disabled.is_(False),
        )
    )
    row = connection.execute(query).first()
    return None if row is None else _account(row)


def _account(row: Row[Any]) -> Account:
    return Account(row.account_id, row.name, row.role, row.institution, row.cell, bool(row.disabled))
