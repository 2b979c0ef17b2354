"""Zip archives that people upload: everything about one is judged before its first byte is unpacked.

What is refused, each with its code: encrypted entries, unknown methods, archives inside archives, paths that lead out,
too many entries, too much in all, a ratio that no real images have, entries that overlap. Sizes that an archive declares
are upper bounds of what is read from it.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO

from bithive import limits
from clinic.errors import BadZip, ZipBomb, ZipEncrypted, ZipMethod, ZipNested, ZipPath, ZipTooLarge, ZipTooMany

CHUNK_BYTES = 1 << 20
_LOCAL_HEADER_BYTES = 30
_END_BYTES, _COMMENT_BYTES_MAX = 22, 65_535
_DIRECTORY_BYTES_A_ENTRY_MAX = 512
# Below this no ratio matters: blank images shrink a thousandfold and are no attack.
_RATIO_MATTERS_BYTES = 256 * limits.MIB
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_CLUTTER = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "DICOMDIR"})
_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OSError, NotImplementedError)


def is_zip(head: bytes) -> bool:
    """Whether a file that begins like this is a zip archive."""
    return head.startswith(_MAGIC)


def open_zip(file: IO[bytes]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The files of a zip archive: name, and chunks of its content, to be read before the next one.

    Folders, and the clutter that operating systems add, are left out, and so is the DICOMDIR of a disc.

    Parameters
    ----------
    file
        Seekable; read until the iteration ends.

    Raises
    ------
    BadZip, ZipEncrypted, ZipMethod, ZipPath, ZipTooMany, ZipTooLarge, ZipBomb
        Before the first file is given.
    BadZip, ZipNested
        Also later, when an entry turns out damaged, or to be an archive itself.
    """
    try:
        _check_directory(file)
        archive = zipfile.ZipFile(file)
    except _BROKEN as error:
        raise BadZip from error
    with archive:
        entries = archive.infolist()
        _check_entries(entries)
        for entry in entries:
            if not entry.is_dir() and not _CLUTTER & set(PurePosixPath(entry.filename).parts):
                yield entry.filename, _chunks(archive, entry)


def _check_directory(file: IO[bytes]) -> None:
    """Refuse an outsized directory before it is read into memory (APPNOTE 4.3.16)."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES - _COMMENT_BYTES_MAX))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise BadZip
    count, directory = struct.unpack_from("<HI", tail, at + 10)
    before = tail.rfind(b"PK\x06\x06", 0, at)
    if before >= 0:
        count, directory = struct.unpack_from("<QQ", tail, before + 32)
    if count > limits.ZIP_ENTRIES_MAX or directory > limits.ZIP_ENTRIES_MAX * _DIRECTORY_BYTES_A_ENTRY_MAX:
        raise ZipTooMany(limit=limits.ZIP_ENTRIES_MAX)


def _check_entries(entries: Sequence[zipfile.ZipInfo]) -> None:
    if len(entries) > limits.ZIP_ENTRIES_MAX:
        raise ZipTooMany(limit=limits.ZIP_ENTRIES_MAX)
    for entry in entries:
        _check_entry(entry)
    expanded = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if expanded > limits.ZIP_EXPANDED_BYTES_MAX:
        raise ZipTooLarge(limit=limits.ZIP_EXPANDED_BYTES_MAX)
    if expanded > _RATIO_MATTERS_BYTES and expanded > packed * limits.ZIP_RATIO_MAX:
        raise ZipBomb(limit=limits.ZIP_RATIO_MAX)
    end = 0
    for entry in sorted(entries, key=lambda item: item.header_offset):
        if entry.header_offset < end:
            raise ZipBomb("entries overlap")
        end = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\x00" in name or (path.parts and path.parts[0].endswith(":")):
        raise ZipPath
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ZipPath("the zip archive holds a symbolic link")
    if entry.flag_bits & 0x1:
        raise ZipEncrypted
    if entry.compress_type not in _METHODS:
        raise ZipMethod
    if entry.file_size > limits.INSTANCE_BYTES_MAX:
        raise ZipTooLarge(limit=limits.INSTANCE_BYTES_MAX)


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(entry) as member:
            chunk = member.read(CHUNK_BYTES)
            if chunk.startswith(_MAGIC):
                raise ZipNested
            while chunk:
                yield chunk
                chunk = member.read(CHUNK_BYTES)
    except _BROKEN as error:
        raise BadZip from error
