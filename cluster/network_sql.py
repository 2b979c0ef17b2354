"""The network side as `api.wiring` opens it: database, stores, spool, broker."""

from __future__ import annotations

from pathlib import Path

from bithive.clock import Clock
from bithive.database_sql import Database
from bithive.ids import Ids
from bithive.settings import Settings
from cluster.broker import Broker, Durations
from cluster.cell_store_sql import SqlCellStore
from cluster.spool import Spool
from cluster.store_sql import SqlStore

MIGRATIONS = Path(__file__).parent / "migrations"


def open_broker(settings: Settings, clock: Clock, ids: Ids, durations: Durations | None = None) -> Broker:
    """The broker on its own database and folder, put right after whatever ended the last process."""
    database = Database(settings.database_url("network"))
    database.upgrade(MIGRATIONS)
    spool = Spool(settings.state / "network" / "spool")
    broker = Broker(
        SqlStore(database),
        clock,
        ids,
        spool,
        cells=SqlCellStore(database),
        durations=durations,
        on_close=database.close,
    )
    broker.recover()
    return broker
