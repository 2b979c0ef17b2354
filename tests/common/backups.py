"""A hub's state folder for tests of backups: four databases, an archive whose rows name real files, a ledger."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import insert

from api.backup.taking import Means
from api.backup.vault import Vault
from api.databases import MIGRATIONS, upgrade
from bithive.blobs import FileBlobs
from bithive.clock import Clock, SystemClock
from bithive.database_sql import Database
from bithive.ids import RandomIds
from bithive.settings import Mode, load
from clinic.archive_sql import SqlArchive
from clinic.tables_archive_sql import INSTANCES, SERIES, STUDIES
from economy.store_sql import SqlStore
from tests.common.economy import House

INSTITUTION = "ins_1"


class State:
    """A state folder as a hub leaves it.

    Parameters
    ----------
    folder
        Holds `state` and `vault`.
    urls
        Addresses of databases that are not SQLite in the state folder, by setting.
    """

    def __init__(self, folder: Path, clock: Clock | None = None, **urls: object) -> None:
        self.folder, self.clock = folder, clock or SystemClock()
        self.settings = load(mode=Mode.DEMO, state=folder / "state", **urls)
        for name in MIGRATIONS:
            upgrade(self.settings, name).close()
        self.blobs = FileBlobs(self.settings.state / "blobs")
        self.clinic = Database(self.settings.database_url("clinic"))
        self.archive = SqlArchive(self.clinic)
        (self.settings.state / "keys").mkdir()
        (self.settings.state / "keys" / "ledger.key").write_bytes(b"k" * 32)
        (self.settings.state / "keys" / "ledger.key").chmod(0o600)

    def means(self, passphrase: bytes | None = None) -> Means:
        vault = Vault.create(self.folder / "vault")
        return Means(self.settings, vault, self.clock, RandomIds(self.clock), passphrase)

    def store(self, number: int, content: bytes) -> str:
        """One study of one instance, stored as intake stores it: the file, then its row."""
        spool = self.blobs.spool()
        spool.write(content)
        digest = self.blobs.commit([spool])[0]
        study, series, sop = f"1.2.{number}", f"1.3.{number}", f"1.4.{number}"
        own = {"institution": INSTITUTION, "study_uid": study, "attributes": "{}", "header": "{}"}
        own |= {"patient_id": "p", "issuer": "", "modalities": "CT", "series": 1, "instances": 1, "created_ms": 1}
        own |= {"changed_ms": 1, "series_uid": series, "sop_uid": sop, "sop_class": "1.2", "transfer_syntax": "1.2"}
        own |= {"blob": digest, "size_bytes": len(content), "received_ms": 1, "batch": "b", "own": 0}
        with self.clinic.write() as connection:
            for table in (STUDIES, SERIES, INSTANCES):
                names = {column.name for column in table.columns}
                connection.execute(insert(table).values(**{key: value for key, value in own.items() if key in names}))
        return digest

    def delete(self, number: int) -> None:
        """Delete that study as the archive does: its files go inside the transaction that ends its rows."""

        def release(files: list[str]) -> None:
            for file in files:
                self.blobs.delete(file)

        assert self.archive.delete_study(INSTITUTION, f"1.2.{number}", release)

    def ledger(self) -> House:
        """The ledger with two assets and some members, open."""
        return House(SqlStore(Database(self.settings.database_url("ledger"))))

    def close(self) -> None:
        self.clinic.close()


def blobs_of(state: Path) -> list[str]:
    """What the clinic database in a state folder names."""
    connection = sqlite3.connect(state / "clinic.db")
    try:
        return sorted(row[0] for row in connection.execute("SELECT blob FROM instances"))
    finally:
        connection.close()
