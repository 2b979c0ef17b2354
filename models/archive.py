"""Brings a bundle's files from a zip or a folder into a folder of ours, bounded, and only those that a bundle needs.

Nothing that a bundle brings may decide where it is written or how much: names are checked, links are refused, sizes are
counted while they are unpacked. Scripts and whatever else is no declaration, document or network stay behind.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bithive.limits import BUNDLE_ENTRIES_MAX, BUNDLE_EXPANDED_BYTES_MAX, BUNDLE_FILE_BYTES_MAX, ZIP_RATIO_MAX
from models.bundle import INFERENCES, METADATA, NAME
from models.errors import ArchiveRefused, BadBundle, BundleTooLarge
from models.pins import is_inside

NETWORK_SUFFIXES = (".ts", ".onnx", ".safetensors", ".pt", ".pth")

_CHUNK_BYTES = 1 << 20
_RATIO_MATTERS_BYTES = 10 << 20
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_DOCUMENTS = re.compile(r"(docs/[\w.-]+\.(md|txt)|(docs/)?licen[cs]e(\.txt|\.md)?)", re.IGNORECASE | re.ASCII)
_NETWORK = re.compile(rf"models/[\w.-]+({'|'.join(map(re.escape, NETWORK_SUFFIXES))})", re.ASCII)
_VERSION = re.compile(r"_v\d+(\.\d+)*$")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file that a bundle brings: its path, its size as stated, and how to read it."""

    path: str
    size_bytes: int
    open: Callable[[], IO[bytes]]


def take(source: Path, into: Path) -> list[str]:
    """Copy a bundle's files.

    Parameters
    ----------
    source
        A bundle's folder, or a zip that holds one.
    into
        An empty folder.

    Returns
    -------
    list
        Paths that stay behind.

    Raises
    ------
    ArchiveRefused
        If a path leads outside, a file is a link, or the archive is broken, encrypted or packed in another way.
    BundleTooLarge
        If there are too many files, or they are too large or expand beyond reason.
    BadBundle
        If there is no bundle in it, or there are several.
    """
    if source.is_dir():
        return _copy(_in_folder(source), into)
    try:
        with zipfile.ZipFile(source) as archive:
            return _copy(_in_zip(archive), into)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, OSError) as error:
        raise ArchiveRefused(f"the archive cannot be read: {type(error).__name__}") from None


def name_of(source: Path, called: str = "") -> str:
    """The bundle's name: that of the folder it lies in, else the archive's; without a version behind it.

    Parameters
    ----------
    source
        A bundle's folder, or a zip.
    called
        What the zip is called where that is not its file's name.

    Raises
    ------
    BadBundle
        If it is no name.
    """
    name = source.name
    if not source.is_dir():
        try:
            with zipfile.ZipFile(source) as archive:
                prefix = _prefix([entry.filename for entry in archive.infolist()[:BUNDLE_ENTRIES_MAX]])
        except (zipfile.BadZipFile, OSError):
            raise ArchiveRefused("the archive cannot be read") from None
        name = prefix.strip("/") or Path(called or source.name).stem
    name = _VERSION.sub("", name)
    if not NAME.fullmatch(name):
        raise BadBundle("a bundle is named in letters, digits and underscores")
    return name


def _in_folder(folder: Path) -> list[_Entry]:
    entries: list[_Entry] = []
    for path in _walk(folder):
        if len(entries) >= BUNDLE_ENTRIES_MAX:
            raise BundleTooLarge("the bundle has too many files", entries_max=BUNDLE_ENTRIES_MAX)
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise ArchiveRefused("the bundle's folder holds what is no plain file")

        def opened(path: Path = path) -> IO[bytes]:
            return path.open("rb")

        entries.append(_Entry(path.relative_to(folder).as_posix(), status.st_size, opened))
    return entries


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in {".git", "__pycache__", ".cache"}:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _in_zip(archive: zipfile.ZipFile) -> list[_Entry]:
    listed = archive.infolist()
    if len(listed) > BUNDLE_ENTRIES_MAX:
        raise BundleTooLarge("the archive has too many entries", entries_max=BUNDLE_ENTRIES_MAX)
    prefix = _prefix([entry.filename for entry in listed])
    entries: list[_Entry] = []
    for entry in listed:
        _check_entry(entry)
        if entry.is_dir() or not entry.filename.startswith(prefix):
            continue

        def opened(entry: zipfile.ZipInfo = entry) -> IO[bytes]:
            return archive.open(entry)

        entries.append(_Entry(entry.filename.removeprefix(prefix), entry.file_size, opened))
    return entries


def _check_entry(entry: zipfile.ZipInfo) -> None:
    if not is_inside(entry.filename) or ":" in entry.filename:
        raise ArchiveRefused("an entry of the archive leads out of it")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ArchiveRefused("an entry of the archive is a link or a device")
    if entry.flag_bits & 1 or entry.compress_type not in _METHODS:
        raise ArchiveRefused("an entry of the archive is encrypted, or packed in a way that is not read here")
    large = entry.file_size > _RATIO_MATTERS_BYTES
    if large and entry.file_size > entry.compress_size * ZIP_RATIO_MAX:
        raise BundleTooLarge("an entry of the archive expands beyond reason", ratio_max=ZIP_RATIO_MAX)


def _prefix(names: list[str]) -> str:
    """The folder of the archive that the bundle lies in: the one with its metadata, at most one level down."""
    found = [name.removesuffix(METADATA) for name in names if name == METADATA or name.endswith(f"/{METADATA}")]
    shallow = [prefix for prefix in found if prefix.count("/") <= 1]
    if len(shallow) != 1:
        raise BadBundle("the archive holds no bundle, or several")
    return shallow[0]


def _copy(entries: list[_Entry], into: Path) -> list[str]:
    if sum(entry.size_bytes for entry in entries) > BUNDLE_EXPANDED_BYTES_MAX:
        raise BundleTooLarge("the bundle is too large", size_bytes_max=BUNDLE_EXPANDED_BYTES_MAX)
    behind, seen = [], set()
    for entry in entries:
        if entry.path.lower() in seen:
            raise ArchiveRefused("two entries have one path")
        seen.add(entry.path.lower())
        network = _NETWORK.fullmatch(entry.path) is not None
        if not (network or entry.path in {METADATA, *INFERENCES} or _DOCUMENTS.fullmatch(entry.path)):
            behind.append(entry.path)
            continue
        if not network and entry.size_bytes > BUNDLE_FILE_BYTES_MAX:
            raise BundleTooLarge("a declaration of the bundle is too large", size_bytes_max=BUNDLE_FILE_BYTES_MAX)
        target = into / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_exactly(entry, target)
    return behind


def _copy_exactly(entry: _Entry, target: Path) -> None:
    count = 0
    with entry.open() as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            count += len(chunk)
            if count > entry.size_bytes:
                raise BundleTooLarge("an entry of the archive is larger than it says")
            file.write(chunk)
    if count != entry.size_bytes:
        raise ArchiveRefused("an entry of the archive is shorter than it says")
