"""The metadata of the accounts database: declare tables here, alter them in `migrations/`."""

from bithive.database_sql import new_metadata

METADATA = new_metadata()
