"""Weights that this machine can have without a network: whole in a mirror folder, or made from parts that one has."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from models.converters import convert
from models.fetch import checked, from_mirrors, in_mirror
from models.pins import ConvertedSource, Part, PinnedFile
from models.store import WeightStore

STARTS_WITH = frozenset({"intracranial_t1"})
"""Bundles whose weights a cell fetches by itself when it starts; those of the others are fetched when somebody pulls."""


def gather(wanted: Sequence[PinnedFile], store: WeightStore, mirrors: Sequence[Path]) -> None:
    """Take into the store what of these files can be had on this machine.

    Raises
    ------
    WeightsDiffer
        If a mirror's file changed while it was read.
    """
    with store.locked():
        for pinned in wanted:
            with nearby(pinned, mirrors) as file:
                if file is not None:
                    store.put(pinned, file)


@contextmanager
def nearby(pinned: PinnedFile, mirrors: Sequence[Path]) -> Iterator[IO[bytes] | None]:
    """A pinned file, or None when it cannot be had without asking somebody else's machine.

    Raises
    ------
    WeightsDiffer
        If a mirror's file changed while it was read.
    """
    with from_mirrors(pinned, mirrors) as file:
        if file is not None or not isinstance(pinned.source, ConvertedSource):
            yield file
            return
    parts = {part.file: _part(part, mirrors) for part in pinned.source.parts}
    found = {name: content for name, content in parts.items() if content is not None}
    yield io.BytesIO(convert(pinned.source.converter, found)) if len(found) == len(parts) else None


def _part(part: Part, mirrors: Sequence[Path]) -> bytes | None:
    path = next((path for mirror in mirrors if (path := in_mirror(mirror, part)) is not None), None)
    return None if path is None else checked(path.read_bytes(), part)
