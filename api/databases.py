"""The databases of a hub, by role: where each one's migrations lie."""

from __future__ import annotations

from typing import Literal

from api.startup import ROOT
from bithive.database_sql import Database
from bithive.settings import Role, Settings

Name = Literal["accounts", "clinic", "network", "ledger"]

MIGRATIONS: dict[Name, str] = {
    "accounts": "api/migrations",
    "clinic": "clinic/migrations",
    "network": "cluster/migrations",
    "ledger": "economy/migrations",
}

OF_ROLE: dict[Role, tuple[Name, ...]] = {
    Role.CLINICAL: ("accounts", "clinic"),
    Role.NETWORK: ("accounts", "network", "ledger"),
    Role.BOTH: ("accounts", "clinic", "network", "ledger"),
}


def upgrade(settings: Settings, name: Name) -> Database:
    """Open one database and bring its schema to this version."""
    database = Database(settings.database_url(name))
    database.upgrade(ROOT / MIGRATIONS[name])
    return database
