"""The ledger database's metadata."""

from __future__ import annotations

from bithive.database_sql import new_metadata

METADATA = new_metadata()
