"""Canaries in the network database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from bithive.database_sql import Database
from cluster.canaries import Canary, Kind, Stage
from cluster.canary_store import UNFINISHED
from cluster.tables_public_sql import CANARIES, OWN_WORK


class SqlCanaryStore:
    """The store on SQLite or PostgreSQL.

    Parameters
    ----------
    database
        The network database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def institution(self, proposed: str) -> str:
        query = select(OWN_WORK.c.institution)
        with self._database.read() as connection:
            known = connection.execute(query).scalar_one_or_none()
        if known is not None:
            return str(known)
        try:
            with self._database.write() as connection:
                connection.execute(insert(OWN_WORK).values(one=1, institution=proposed, cursor=0))
        except IntegrityError:  # another process was faster
            return self.institution(proposed)
        return proposed

    def keep(self, canary: Canary) -> None:
        values = {**asdict(canary), "kind": str(canary.kind), "stage": str(canary.stage)}
        values["offer"] = json.dumps(canary.offer, separators=(",", ":"), sort_keys=True)
        with self._database.write() as connection:
            connection.execute(delete(CANARIES).where(CANARIES.c.offer_id == canary.offer_id))
            connection.execute(insert(CANARIES).values(**values))

    def canary(self, offer_id: str) -> Canary | None:
        with self._database.read() as connection:
            row = connection.execute(select(CANARIES).where(CANARIES.c.offer_id == offer_id)).first()
        return None if row is None else _canary(row)

    def unfinished(self) -> Sequence[Canary]:
        query = select(CANARIES).where(CANARIES.c.stage.in_([str(stage) for stage in UNFINISHED]))
        with self._database.read() as connection:
            return [_canary(row) for row in connection.execute(query.order_by(CANARIES.c.made_ms, CANARIES.c.offer_id))]

    def made_since(self, ms: int) -> int:
        query = select(func.count()).select_from(CANARIES).where(CANARIES.c.made_ms >= ms)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def cursor(self) -> int:
        with self._database.read() as connection:
            return int(connection.execute(select(OWN_WORK.c.cursor)).scalar_one_or_none() or 0)

    def move(self, cursor: int) -> None:
        with self._database.write() as connection:
            connection.execute(update(OWN_WORK).where(OWN_WORK.c.cursor < cursor).values(cursor=cursor))


def _canary(row: Row[Any]) -> Canary:
    members = dict(row._mapping)  # noqa: SLF001 - the documented way to a row's names
    members |= {"kind": Kind(row.kind), "stage": Stage(row.stage), "offer": json.loads(row.offer)}
    return Canary(**members)
