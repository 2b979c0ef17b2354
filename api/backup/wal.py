"""SQLite's write-ahead log as bytes: which pages were committed between two moments.

The format is SQLite's own (sqlite.org, "WAL-mode file format"): a header of 32 bytes, then frames of 24 bytes and one
page. Each frame repeats the header's two salts and carries a checksum over itself and all frames before it, so that a
frame of another generation, or one that changed on the disk, is not taken for one of this.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from api.backup.errors import BackupDamaged

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
_MAGIC = 0x377F0682
_BLOCK_FRAMES = 256


class Position(NamedTuple):
    """How far a log has been read.

    Attributes
    ----------
    salts
        The generation: the log begins anew with other salts. Empty when there is no log.
    frames
        Committed frames of that generation.
    checksum
        Of the last one, or of the header when there is none.
    """

    salts: bytes = b""
    frames: int = 0
    checksum: bytes = b""


class Header(NamedTuple):
    """The first 32 bytes."""

    word: str
    page_bytes: int
    salts: bytes
    checksum: bytes


def read_header(file: int) -> Header | None:
    """The header, or nothing when the log is empty.

    Raises
    ------
    BackupDamaged
        If it is not the header of a write-ahead log.
    """
    content = os.pread(file, HEADER_BYTES, 0)
    if len(content) < HEADER_BYTES:
        return None
    magic, _, page_bytes = struct.unpack(">III", content[:12])
    if magic & ~1 != _MAGIC:
        raise BackupDamaged("a database's log does not begin as one")
    return Header(">u4" if magic & 1 else "<u4", page_bytes, content[16:24], content[24:32])


def end(file: int, frames: int) -> Position:
    """The position after `frames` frames of the present generation."""
    header = read_header(file)
    if header is None or frames == 0:
        return Position()
    place = HEADER_BYTES + (frames - 1) * (FRAME_HEADER_BYTES + header.page_bytes)
    frame = os.pread(file, FRAME_HEADER_BYTES, place)
    if len(frame) < FRAME_HEADER_BYTES or frame[8:16] != header.salts:
        raise BackupDamaged("a database's log is shorter than the database says")
    return Position(header.salts, frames, frame[16:24])


def pages(file: int, after: Position, upto: Position) -> Iterator[tuple[int, int, bytes]]:
    """What was committed between two positions, in order: page number, pages of the database after, the page.

    Another generation than that of `after` is read from its start: whoever follows sees to it that it is the next one.

    Raises
    ------
    BackupDamaged
        If a frame is not what was written.
    """
    if upto.frames == 0 or upto == after:
        return
    header = read_header(file)
    if header is None or header.salts != upto.salts:
        raise BackupDamaged("a database's log began anew while it was read")
    same = after.salts == upto.salts
    number, checksum = (after.frames, after.checksum) if same else (0, header.checksum)
    frame_bytes = FRAME_HEADER_BYTES + header.page_bytes
    while number < upto.frames:
        count = min(_BLOCK_FRAMES, upto.frames - number)
        block = os.pread(file, count * frame_bytes, HEADER_BYTES + number * frame_bytes)
        if len(block) != count * frame_bytes:
            raise BackupDamaged("a database's log ends in the middle of a frame")
        checksum = _check(block, count, header, checksum)
        for place in range(0, len(block), frame_bytes):
            page, total = struct.unpack_from(">II", block, place)
            yield page, total, block[place + FRAME_HEADER_BYTES : place + frame_bytes]
        number += count
    if checksum != upto.checksum:
        raise BackupDamaged("a database's log changed while it was read")


def _check(block: bytes, count: int, header: Header, before: bytes) -> bytes:
    """Check the frames of a block, each from the checksum of the one before it; the last one's checksum.

    The sum goes two words at a time: s1 += word + s2, s2 += next word + s1, modulo 2^32; here for all frames at once.
    """
    import numpy as np

    frames = np.frombuffer(block, np.uint8).reshape(count, FRAME_HEADER_BYTES + header.page_bytes)
    if not (frames[:, 8:16] == np.frombuffer(header.salts, np.uint8)).all():
        raise BackupDamaged("a frame of a database's log belongs to another generation")
    stored = np.ascontiguousarray(frames[:, 16:24]).view(">u4").astype(np.uint32)
    first = np.frombuffer(before, ">u4").astype(np.uint32)
    seeds = np.vstack([first, stored[:-1]])
    covered = np.hstack([frames[:, :8], frames[:, FRAME_HEADER_BYTES:]])
    words = np.ascontiguousarray(covered).view(header.word).astype(np.uint32).T
    one, two = seeds[:, 0].copy(), seeds[:, 1].copy()
    for place in range(0, len(words), 2):
        one += words[place] + two
        two += words[place + 1] + one
    if not ((one == stored[:, 0]).all() and (two == stored[:, 1]).all()):
        raise BackupDamaged("a frame of a database's log has another checksum")
    return bytes(frames[-1, 16:24])
