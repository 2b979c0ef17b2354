"""The register as the command line opens it, whether or not the hub runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bithive.clock import Clock
from bithive.database_sql import Database
from bithive.ids import Ids
from bithive.settings import Settings
from cluster.cell_store_sql import SqlCellStore
from cluster.register_admin import Registrar
from cluster.register_store_sql import SqlRegister

MIGRATIONS = Path(__file__).parent / "migrations"


@contextmanager
def registrar(settings: Settings, clock: Clock, ids: Ids) -> Iterator[Registrar]:
    """The use cases of the register on the network database of these settings."""
    database = Database(settings.database_url("network"))
    try:
        database.upgrade(MIGRATIONS)
        yield Registrar(SqlRegister(database), SqlCellStore(database), clock, ids)
    finally:
        database.close()
