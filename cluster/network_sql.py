"""The network side as `api.wiring` opens it: database, stores, spool, broker."""

from __future__ import annotations

from pathlib import Path

from bithive.clock import Clock
from bithive.database_sql import Database
from bithive.ids import Ids
from bithive.keys import SigningKey
from bithive.settings import Settings
from cluster.attester_simulated import policy_of
from cluster.broker import Broker, Durations
from cluster.canary_store_sql import SqlCanaryStore
from cluster.cell_store_sql import SqlCellStore
from cluster.census_sql import SqlCensus
from cluster.duplicates import SightingKeys
from cluster.register_store_sql import SqlRegister
from cluster.spool import Spool
from cluster.store_sql import SqlStore

MIGRATIONS = Path(__file__).parent / "migrations"


def open_broker(settings: Settings, clock: Clock, ids: Ids, durations: Durations | None = None) -> Broker:
    """The broker on its own database and folder, put right after whatever ended the last process."""
    database = Database(settings.database_url("network"))
    database.upgrade(MIGRATIONS)
    spool, keys = Spool(settings.state / "network" / "spool"), settings.state / "keys"
    broker = Broker(
        SqlStore(database),
        clock,
        ids,
        spool,
        cells=SqlCellStore(database),
        durations=durations,
        census=SqlCensus(database),
        register=SqlRegister(database),
        canaries=SqlCanaryStore(database),
        network_key=SigningKey.load_or_create(keys / "network.key"),
        sighting_keys=SightingKeys(keys, ids.token),
        attestation=policy_of(settings),
        on_close=database.close,
    )
    broker.recover()
    return broker
