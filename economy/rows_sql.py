# ruff: noqa: S608 - statements are put together from this file's own constants; every value is a parameter
"""Rows of the ledger's tables, in and out, by the set: one statement however many.

PostgreSQL takes them by COPY and by arrays, SQLite by one prepared statement: what each of them is fastest at.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Table, text

from economy.book import Balance, KeyRow
from economy.chart import Limit
from economy.entry import Account, Asset, Policy

HEAD = """
    SELECT COALESCE((SELECT MAX(seq) FROM entry), 0),
           COALESCE((SELECT recorded_us FROM entry ORDER BY seq DESC LIMIT 1), 0),
           COALESCE((SELECT MAX(id) FROM account), 0),
           COALESCE((SELECT MAX(id) FROM asset), 0),
           COALESCE((SELECT MAX(id) FROM party), 0),
           COALESCE((SELECT MAX(closed_until_ms) FROM period), 0)
"""
_ACCOUNT = """
    SELECT account.id, party.code, account.code, asset.code, asset_id, limit_mode,
           debit_pending, debit_posted, credit_pending, credit_posted, version
    FROM account JOIN party ON party.id = party_id JOIN asset ON asset.id = asset_id
"""
_TOTALS = ("debit_pending", "debit_posted", "credit_pending", "credit_posted")
_LIMITS = {int(limit): limit for limit in Limit}
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NULL = "\\N"


def members(connection: Connection, kind: str, name: str = "items") -> str:
    """A set given as a JSON array: one parameter, however large."""
    if connection.dialect.name == "sqlite":
        return f"(SELECT value FROM json_each(:{name}))"
    return f"(SELECT CAST(value AS {kind}) FROM jsonb_array_elements_text(CAST(:{name} AS jsonb)))"


def insert(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows, each in the order of the table's columns."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(table.columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", list(map(tuple, rows)))
        return
    names = ", ".join(column.name for column in table.columns)
    if all(isinstance(column.type, Integer) for column in table.columns):
        lines, null = ["\t".join(map(str, row)) for row in rows], "None"
    else:
        lines, null = [_line(row) for row in rows], _NULL
    _copy(connection, f"COPY {table.name} ({names}) FROM STDIN WITH (NULL '{null}')", "\n".join(lines) + "\n")


def _copy(connection: Connection, statement: str, lines: str) -> None:
    """PostgreSQL's COPY, which SQLAlchemy has no word for."""
    driver = connection.connection.driver_connection
    assert driver is not None, "a connection in use is connected"
    cursor = driver.cursor()
    try:
        cursor.execute(statement, stream=[lines.encode()])
    finally:
        cursor.close()


def _line(row: Sequence[Any]) -> str:
    """A row in COPY's text format."""
    line = "\t".join(map(str, row))
    plain = "\\" not in line and "\n" not in line and "\r" not in line and line.count("\t") == len(row) - 1
    if plain and None not in row:
        return line
    return "\t".join([_NULL if value is None else str(value).translate(_ESCAPES) for value in row])


def update_totals(connection: Connection, balances: Sequence[Balance]) -> None:
    """Write the totals of accounts that are there already; each must be as it was read."""
    if not balances:
        return
    rows = [(*totals(item), item.account_id, item.version) for item in balances]
    if connection.dialect.name == "sqlite":
        sets = ", ".join(f"{name} = ?" for name in _TOTALS)
        query = f"UPDATE account SET {sets}, version = version + 1 WHERE id = ? AND version = ?"
        count = connection.exec_driver_sql(query, rows).rowcount
    else:
        names = (*_TOTALS, "id", "version")
        sets = ", ".join(f"{name} = new.{name}" for name in _TOTALS)
        arrays = ", ".join(f"CAST(:{name} AS bigint[])" for name in names)
        query = (
            f"UPDATE account SET {sets}, version = account.version + 1"
            f" FROM unnest({arrays}) AS new ({', '.join(names)})"
            " WHERE account.id = new.id AND account.version = new.version"
        )
        columns = zip(*rows, strict=True)
        values = {name: _array(column) for name, column in zip(names, columns, strict=True)}
        count = connection.execute(text(query), values).rowcount
    assert count == len(balances), "an account changed under the writer's lock"


def _array(numbers: Collection[int]) -> str:
    """An array of integers as PostgreSQL reads it."""
    return "{" + ",".join(map(str, numbers)) + "}"


def totals(item: Balance) -> tuple[int, int, int, int]:
    """In the order of the table's columns."""
    return item.debit_pending, item.debit_posted, item.credit_pending, item.credit_posted


def set_totals(item: Balance, *read: int) -> None:
    """Totals and version, in the order of the table's columns."""
    item.debit_pending, item.debit_posted, item.credit_pending, item.credit_posted, item.version = read


def totals_of(connection: Connection, numbers: Collection[int]) -> list[list[int]]:
    """Number, totals and version of accounts, by their numbers."""
    if not numbers:
        return []
    names = ("id", *_TOTALS, "version")
    if connection.dialect.name == "sqlite":
        query = f"SELECT {', '.join(names)} FROM account WHERE id IN (SELECT value FROM json_each(?))"
        return list(map(list, connection.exec_driver_sql(query, (json.dumps(list(numbers)),)).all()))
    # One text for all of them: the driver takes ten times as long for so many rows.
    query = f"SELECT json_agg(json_build_array({', '.join(names)})) FROM account WHERE id = ANY(CAST(:ids AS bigint[]))"
    found: list[list[int]] = connection.execute(text(query), {"ids": _array(numbers)}).scalar_one() or []
    return found


def balances(connection: Connection, where: str, values: dict[str, Any], page: str = "") -> list[Balance]:
    """Accounts in the order they were opened."""
    rows = connection.execute(text(f"{_ACCOUNT} {where} ORDER BY account.id{page}"), values).all()
    return [Balance(row[0], Account(row[1], row[2], row[3]), row[4], _LIMITS[row[5]], *row[6:]) for row in rows]


def assets(connection: Connection) -> dict[int, Asset]:
    """Every asset, by its number."""
    rows = connection.execute(text("SELECT id, code, scale, kind, caip19 FROM asset ORDER BY id"))
    return {row[0]: Asset(*row[1:]) for row in rows}


def policies(connection: Connection) -> list[Policy]:
    """Every version of every policy."""
    rows = connection.execute(
        text("SELECT kind, version, effective_from_ms, content FROM policy ORDER BY kind, version")
    )
    return [Policy(*row) for row in rows]


def keys(connection: Connection) -> dict[str, KeyRow]:
    """Every declared key, by its public half."""
    query = "SELECT public_key, purpose, party, declared_seq, revoked_seq FROM signing_key ORDER BY declared_seq"
    return {row[0]: KeyRow(*row) for row in connection.execute(text(query))}
