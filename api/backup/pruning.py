"""Letting go of old cuts, and of what only they needed. This is also how a deleted study leaves the backup."""

from __future__ import annotations

from dataclasses import dataclass

from api.backup.cut import Cut
from api.backup.restoring import blobs_added
from api.backup.vault import Writer
from bithive.blobs import FileBlobs


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went."""

    cuts: int
    blobs: int
    pieces: int


def prune(writer: Writer, before_ms: int) -> Pruned:
    """Forget cuts from before a time, with those that build on them, and what no other cut needs.

    A cut that later ones build on stays with them, and the newest cut that stands alone always stays. Manifests go
    first: whenever this ends, every cut that is listed is whole.

    Raises
    ------
    BackupDamaged, BackupNewer
        If a cut cannot be read; nothing is forgotten then.
    """
    vault = writer.vault
    groups: list[list[Cut]] = []
    for cut in [vault.cut(name) for name in vault.names()]:
        if cut.base and groups:
            groups[-1].append(cut)
        else:
            groups.append([cut])
    gone = [group for group in groups[:-1] if group[-1].at_ms < before_ms]
    live = [cut for group in groups if group not in gone for cut in group]
    needed = set().union(*(cut.chunks() for cut in live))
    blobs = {digest for cut in live for digest in blobs_added(vault, cut)}
    for group in gone:
        for cut in reversed(group):
            vault.forget(cut.cut_id)
    pieces = writer.repack(needed)
    store, dropped = FileBlobs(vault.folder / "blobs"), 0
    for path in sorted((vault.folder / "blobs").glob("??/*")):
        if path.name not in blobs:
            store.delete(path.name)
            dropped += 1
    return Pruned(sum(map(len, gone)), dropped, pieces)
