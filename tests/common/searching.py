"""Looks for bytes in every file that could hold them: what was never to be written down."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from inference.volume import Volume

MEMORY = Path("/dev/shm")
WORDS = 32
_NOT_OURS = ("pytest-of-", "bithive-postgres-", "bash_jobs", "bh", "bvenv")


def marked(image: Volume, seed: int) -> tuple[Volume, bytes]:
    """The image with small random numbers after its first voxel, which tell nothing of it; and those as they are stored."""
    array = image.array.copy()
    row = np.random.default_rng(seed).integers(1, 30, WORDS).astype(array.dtype)
    array.reshape(-1)[1 : WORDS + 1] = row
    return Volume(array, image.affine, image.unit), row.astype(row.dtype.newbyteorder("<")).tobytes()


def places(*folders: Path, since_s: float | None = None) -> list[Path]:
    """Files below some folders, and those below the folders for temporary files that were written to since a time, if one is given.

    What other tests of the same moment have in folders of their own is not looked at.
    """
    here = [path for folder in folders for path in _files(folder, ())]
    if since_s is None:
        return sorted(here)
    roots = (Path(tempfile.gettempdir()), MEMORY)
    fresh = [path for root in roots for path in _files(root, _NOT_OURS) if _newer(path, since_s)]
    return sorted({*here, *fresh})


def holding(marks: Iterable[bytes], files: Iterable[Path]) -> list[Path]:
    """Those of the files in which one of the marks stands."""
    wanted = list(marks)
    return [path for path in files if any(_holds(path, mark) for mark in wanted)]


def _files(root: Path, but: Iterable[str]) -> Iterator[Path]:
    for folder, inner, names in os.walk(root):
        if Path(folder) == root:
            inner[:] = [name for name in inner if not name.startswith(tuple(but))]
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    yield path


def _newer(path: Path, since_s: float) -> bool:
    with suppress(OSError):
        return path.stat().st_mtime >= since_s
    return False


def _holds(path: Path, mark: bytes) -> bool:
    with (
        suppress(OSError, ValueError),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view,
    ):
        return view.find(mark) >= 0
    return False
