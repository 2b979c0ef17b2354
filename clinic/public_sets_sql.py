"""Declarations of public studies in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from bithive.database_sql import Database
from clinic.public_sets import Basis, PublicStudy
from clinic.tables_public_sql import PUBLIC_STUDIES


class SqlPublicStore:
    """Declarations in the clinic database.

    Parameters
    ----------
    database
        The clinic database, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, studies: Sequence[PublicStudy]) -> None:
        fresh = [item for item in studies if self.public(item.institution, item.study_uid) is None]
        if not fresh:
            return
        try:
            with self._database.write() as connection:
                connection.execute(
                    insert(PUBLIC_STUDIES), [asdict(item) | {"basis": str(item.basis)} for item in fresh]
                )
        except IntegrityError:  # somebody declared one of them meanwhile: theirs stands
            self.add(fresh)

    def public(self, institution: str, study_uid: str) -> PublicStudy | None:
        table = PUBLIC_STUDIES
        query = select(table).where(table.c.institution == institution, table.c.study_uid == study_uid)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        members = dict(row._mapping)  # noqa: SLF001 - the documented way to a row's names
        return PublicStudy(**(members | {"basis": Basis(row.basis)}))
