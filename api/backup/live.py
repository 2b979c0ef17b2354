"""A database of a hub that runs: held still for a moment, and read as it stood then.

A cut is taken so: the write lock of every database is taken, in one order; each lends a snapshot; all locks are let go;
then the snapshots are copied, for as long as that takes. A writer waits for the moment only, never for the copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from api.backup.cut import Part
from api.backup.vault import Writer


class Live(Protocol):
    """One database."""

    def lock(self, timeout_s: float) -> bool:
        """Keep writers out; False, and nothing held, when that was not possible in time."""

    def mark(self, name: str) -> None:
        """Under the lock: remember this moment. `name` is the cut's id."""

    def unlock(self) -> None:
        """Let writers go on. Safe to call when nothing is held."""

    def part(self, writer: Writer, full: bool) -> Part:
        """The database as it stood at the mark; what changed since the mark before, when it is not to stand alone.

        Raises
        ------
        NotFollowed
            If only the whole is possible.
        """

    def digests(self, query: str) -> Iterator[str]:
        """The first column of a query, as it stood at the mark."""

    def close(self) -> None:
        """Let go of everything."""


class NotFollowed(Exception):
    """What changed since the cut before is not known: a cut that stands alone is needed."""
