"""A cut: one moment of all databases of a hub, with the files that belong to it. Written once, as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from api.backup.errors import BackupDamaged, BackupNewer
from bithive.canonical import canonical
from bithive.ids import decode_ms, is_id

FORMAT = "bithive-backup-1"


@dataclass(frozen=True, slots=True)
class Part:
    """One database in a cut.

    Attributes
    ----------
    kind
        `sqlite`, `sqlite-pages` (what changed since the cut before), `postgresql` (a dump) or `postgresql-mark` (a
        restore point in PostgreSQL's own log, and no content).
    revision
        Of the schema.
    chunks
        SHA-256 of the content's pieces, in order.
    size_bytes
        Of the whole database, or of the dump.
    page_bytes
        SQLite's page size.
    restore_point, lsn
        The moment's name and place in PostgreSQL's log, where the hub's account may set one.
    """

    kind: str
    revision: str
    chunks: tuple[str, ...] = ()
    size_bytes: int = 0
    page_bytes: int = 0
    restore_point: str = ""
    lsn: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """One moment.

    Attributes
    ----------
    cut_id
        `cut_...`; its first ten characters are the moment (see `at_ms`).
    base
        The cut that this one adds to; empty when it stands alone.
    version
        Of BitHive.
    databases
        By name.
    blobs
        Pieces of the list of the archive's files that this cut adds to those of `base`.
    blob_count
        Files of the archive in this cut.
    missing
        Files that the archive names and that were not there, or not what their name says, when the cut was made.
    files
        Further files by their path in the state folder (percent-encoded), as pieces.
    keys
        The encrypted keys, as pieces; empty when they are not in the backup.
    held_ms
        How long writers had to wait for the cut.
    """

    cut_id: str
    base: str
    version: str
    databases: Mapping[str, Part]
    blobs: tuple[str, ...] = ()
    blob_count: int = 0
    missing: tuple[str, ...] = ()
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    held_ms: int = 0

    @property
    def at_ms(self) -> int:
        """The moment: every write that was acknowledged before is in the cut, none that began after."""
        return born_ms(self.cut_id)

    def chunks(self) -> set[str]:
        """Every piece that this cut needs, those of its base left out."""
        found = {*self.blobs, *self.keys}
        for part in self.databases.values():
            found.update(part.chunks)
        for pieces in self.files.values():
            found.update(pieces)
        return found

    def to_text(self) -> str:
        """The manifest, with its own digest."""
        members = {"format": FORMAT, **asdict(self)}
        return json.dumps({**members, "sha256": _digest(members)}, indent=1)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a manifest.

        Raises
        ------
        BackupDamaged
            If it is not what was written.
        BackupNewer
            If its format is not known here.
        """
        try:
            members: dict[str, Any] = json.loads(text)
            digest, form = members.pop("sha256"), members.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise BackupDamaged("a cut cannot be read") from error
        if form != FORMAT:
            raise BackupNewer(f"its format is {str(form)[:40]!r}; this version reads {FORMAT!r}")
        if _digest({"format": form, **members}) != digest:
            raise BackupDamaged("a cut is not what was written")
        try:
            parts = members.pop("databases")
            plain: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in members.items()
            }
            plain["files"] = {name: tuple(pieces) for name, pieces in members["files"].items()}
            databases = {name: Part(**{**part, "chunks": tuple(part["chunks"])}) for name, part in parts.items()}
            return cls(databases=databases, **plain)
        except (TypeError, KeyError, AttributeError) as error:
            raise BackupDamaged("a cut has other members than it should have") from error


def born_ms(cut_id: str) -> int:
    """When a cut was made, milliseconds since the epoch: its id begins with it; 0 for what is no id."""
    return decode_ms(cut_id) if is_id(cut_id, "cut") else 0


def _digest(members: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(json.loads(json.dumps(members)))).hexdigest()
