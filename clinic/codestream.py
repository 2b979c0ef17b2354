"""The size that compressed pixels claim, before a decoder believes them (ISO 10918-1 B.2.2, 14495-1, 15444-1 A.5.1)."""

from __future__ import annotations

_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_SIZ_BYTES = 42
_MARKERS_BYTES = 1 << 16


def size_of(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Parameters
    ----------
    stream
        The codestream, or a JP2 file around it.

    Returns
    -------
    tuple or None
        None when it is no such stream, or does not say before its pixels begin.
    """
    if stream[:2] == b"\xff\xd8":
        return _jpeg(stream)
    start = stream.find(b"\xff\x4f\xff\x51", 0, 4096)
    return _jpeg2000(stream[start : start + _SIZ_BYTES]) if start >= 0 else None


def names_its_colours(stream: bytes) -> bool:
    """Whether a JPEG says by an Adobe marker (APP14) what its colours are: decoders then follow it, not the header."""
    return b"Adobe\x00" in stream[:_MARKERS_BYTES]


def _jpeg(stream: bytes) -> tuple[int, int, int] | None:
    place = 2
    while place + 10 <= len(stream):
        if stream[place] != 0xFF:
            return None
        marker = stream[place + 1]
        if marker == 0xFF or marker in _STANDALONE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME:
            return (_whole(stream, place + 5), _whole(stream, place + 7), stream[place + 9])
        length = _whole(stream, place + 2)
        if marker == 0xDA or length < 2:
            return None
        place += 2 + length
    return None


def _jpeg2000(head: bytes) -> tuple[int, int, int] | None:
    """SIZ: the reference grid's extent less its offset."""
    if len(head) < _SIZ_BYTES:
        return None
    right, bottom, left, top = (int.from_bytes(head[at : at + 4], "big") for at in (8, 12, 16, 20))
    return (bottom - top, right - left, _whole(head, 40))


def _whole(stream: bytes, at: int) -> int:
    return int.from_bytes(stream[at : at + 2], "big")
