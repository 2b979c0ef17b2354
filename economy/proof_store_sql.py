# ruff: noqa: S608 - statements are put together from this file's own constants; every value is a parameter
"""Leaves, subtrees, seals and cosignatures in SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Table, bindparam, text
from sqlalchemy.dialects import postgresql, sqlite

from bithive.database_sql import Database
from economy import tables_sql as tables
from economy.book import KeyRow, Seal
from economy.proof_store import Cosignature, Subtree, Window

_PAGE = 5_000
_SEAL = f"SELECT id, {', '.join(Seal._fields[1:])} FROM seal"
_LEAVES = text("SELECT leaf_hash FROM entry WHERE seq > :after ORDER BY seq LIMIT :limit")
_COSIGNATURES = f"SELECT {', '.join(Cosignature._fields)} FROM cosignature"
_STATE = text(
    """SELECT '{"account":"' || party.code || ':' || account.code || ':' || asset.code
    || '","credit_pending":"' || credit_pending || '","credit_posted":"' || credit_posted
    || '","debit_pending":"' || debit_pending || '","debit_posted":"' || debit_posted || '"}'
    FROM account JOIN party ON party.id = party_id JOIN asset ON asset.id = asset_id
    WHERE account.id > :after ORDER BY account.id LIMIT :limit"""
)
_ORDER = "ORDER BY seal_id, public_key"
_OF_SEALS = text(f"{_COSIGNATURES} WHERE seal_id IN :seals {_ORDER}").bindparams(bindparam("seals", expanding=True))
_KEYS = text("SELECT public_key, purpose, party, declared_seq, revoked_seq FROM signing_key")


class SqlProofSnapshot:
    """A snapshot's part of it."""

    _connection: Connection

    def leaves(self, after_seq: int, limit: int) -> list[bytes]:
        rows = self._connection.execute(_LEAVES, {"after": after_seq, "limit": limit}).fetchall()
        return [bytes.fromhex(row[0]) for row in rows]

    def state_leaves(self, after_id: int, limit: int) -> list[bytes]:
        rows = self._connection.execute(_STATE, {"after": after_id, "limit": limit}).fetchall()
        return [row[0].encode() for row in rows]

    def subtrees(self, windows: Sequence[Window]) -> dict[tuple[int, int], bytes]:
        if not windows:
            return {}
        parts = (
            f"SELECT height, place, hash FROM subtree WHERE height = :h{number} AND place >= :f{number} AND place < :e{number}"
            for number in range(len(windows))
        )
        values = {
            f"{name}{number}": value
            for number, window in enumerate(windows)
            for name, value in zip("hfe", window, strict=True)
        }
        rows = self._connection.execute(text(" UNION ALL ".join(parts)), values).fetchall()
        return {(row[0], row[1]): bytes.fromhex(row[2]) for row in rows}

    def subtree_count(self, height: int) -> int:
        query = text("SELECT COALESCE(MAX(place) + 1, 0) FROM subtree WHERE height = :height")
        return int(self._connection.execute(query, {"height": height}).scalar_one())

    def seal(self, seal_id: int) -> Seal | None:
        return self._seal("WHERE id = :value", seal_id)

    def last_seal(self) -> Seal | None:
        return self._seal("ORDER BY id DESC LIMIT :value", 1)

    def seal_of_size(self, size: int) -> Seal | None:
        return self._seal("WHERE to_seq = :value", size)

    def seal_covering(self, seq: int) -> Seal | None:
        return self._seal("WHERE to_seq >= :value ORDER BY to_seq LIMIT 1", seq)

    def _seal(self, where: str, value: int) -> Seal | None:
        row = self._connection.execute(text(f"{_SEAL} {where}"), {"value": value}).fetchone()
        return None if row is None else Seal(*row)

    def seals_after(self, seal_id: int = 0, limit: int = 1_000) -> list[Seal]:
        query = text(f"{_SEAL} WHERE id > :after ORDER BY id LIMIT :limit")
        return [Seal(*row) for row in self._connection.execute(query, {"after": seal_id, "limit": limit})]

    def cosignatures(self, seal_ids: Collection[int] | None = None) -> list[Cosignature]:
        if seal_ids is None:
            rows = self._connection.execute(text(f"{_COSIGNATURES} {_ORDER}"))
        else:
            rows = self._connection.execute(_OF_SEALS, {"seals": list(seal_ids)})
        return [Cosignature(*row) for row in rows]

    def signing_keys(self) -> dict[str, KeyRow]:
        return {row[0]: KeyRow(*row) for row in self._connection.execute(_KEYS)}


class SqlProofs:
    """A store's part of it."""

    _database: Database

    def _translated(self) -> AbstractContextManager[None]:
        """The store's own: a database's errors as the ledger's."""
        raise NotImplementedError

    def add_subtrees(self, subtrees: Sequence[Subtree]) -> None:
        for start in range(0, len(subtrees), _PAGE):
            rows = [item._asdict() for item in subtrees[start : start + _PAGE]]
            with self._translated(), self._database.write() as connection:
                connection.execute(_insert_new(connection, tables.SUBTREE), rows)

    def add_cosignature(self, cosignature: Cosignature) -> bool:
        with self._translated(), self._database.write() as connection:
            row = cosignature._asdict()
            return connection.execute(_insert_new(connection, tables.COSIGNATURE).values(row)).rowcount == 1


def _insert_new(connection: Connection, table: Table) -> Any:
    """An INSERT that leaves a row that is there as it is."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()
