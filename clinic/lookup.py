"""Look-up tables out of a file: of grey values (PS3.3 C.11.1, C.11.2) and palettes (C.7.6.3.1.5, C.7.9.2).

Files are believed no further than their tables are long: a segmented palette unfolds to the entries that its descriptor
promises and not one more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from clinic import refusals

Entries = npt.NDArray[np.float64]

_BITS = range(8, 17)
_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def grey_table(item: Dataset, signed: bool) -> tuple[int, Entries, int]:
    """A table of grey values.

    Parameters
    ----------
    item
        With LUT Descriptor (0028,3002) and LUT Data (0028,3006).
    signed
        Whether what it maps can be negative.

    Returns
    -------
    tuple
        The first value that it maps, its entries, and the greatest value that an entry can have.

    Raises
    ------
    UnsupportedPixels
        If it is impossible or cut off.
    """
    count, first, bits = _descriptor(item.get("LUTDescriptor"), signed)
    return first, _entries(item.get("LUTData"), count, bits, _is_little(item)), (1 << bits) - 1


def palette(dataset: Dataset, signed: bool) -> tuple[int, npt.NDArray[np.float64]]:
    """A palette.

    Returns
    -------
    tuple
        The first index that it maps, and its colours (entries, 3) from 0 to 1.

    Raises
    ------
    UnsupportedPixels
        If there is none, or it is impossible or cut off.
    """
    channels, first, little = [], 0, _is_little(dataset)
    for colour in _COLOURS:
        name = f"{colour}PaletteColorLookupTable"
        count, first, bits = _descriptor(dataset.get(f"{name}Descriptor"), signed)
        plain = dataset.get(f"{name}Data")
        if plain:
            entries = _entries(plain, count, bits, little)
        else:
            entries = _unfolded(dataset.get(f"Segmented{name}Data"), count, bits, little)
        channels.append(entries / ((1 << bits) - 1 if bits > 8 or entries.max() < 256 else (1 << 16) - 1))
    if len({len(channel) for channel in channels}) != 1:
        raise refusals.UnsupportedPixels("the colours of the palette differ in length")
    return first, np.stack(channels, axis=1)


def mapped(values: npt.NDArray[Any], first: int, entries: Entries) -> Entries:
    """What is below a table becomes its first entry, what is above it its last (C.11.1.1.1)."""
    found: Entries = entries[np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)]
    return found


def _descriptor(value: Any, signed: bool) -> tuple[int, int, int]:
    """Number of entries (0 is 65536), first value mapped, bits of an entry."""
    try:
        count, first, bits = (int(number) for number in value)
    except (TypeError, ValueError) as error:
        raise refusals.UnsupportedPixels("a look-up table has no descriptor") from error
    if bits not in _BITS or not 0 <= count < 1 << 16 or not -(1 << 15) <= first < 1 << 16:
        raise refusals.UnsupportedPixels("a look-up table is impossible")
    return count or 1 << 16, first - (1 << 16) if signed and first >= 1 << 15 else first, bits


def _entries(raw: Any, count: int, bits: int, little: bool) -> Entries:
    """`count` entries; those of 8 bits may stand in bytes or in words."""
    if isinstance(raw, bytes):
        narrow = bits == 8 and len(raw) < 2 * count
        raw = np.frombuffer(raw[: len(raw) & ~1 if not narrow else None], _type(1 if narrow else 2, little))
    try:
        entries = np.atleast_1d(np.asarray(raw, np.float64))[:count]
    except (TypeError, ValueError) as error:
        raise refusals.UnsupportedPixels("a look-up table cannot be read") from error
    if len(entries) != count or not np.isfinite(entries).all():
        raise refusals.UnsupportedPixels("a look-up table is cut off")
    return entries


def _unfolded(raw: Any, count: int, bits: int, little: bool) -> Entries:
    """The entries that segments describe (C.7.9.2): listed, along a line, or the same as some before."""
    if not isinstance(raw, bytes):
        raise refusals.UnsupportedPixels("there is no palette")
    size = 1 if bits == 8 else 2
    words = np.frombuffer(raw[: len(raw) // size * size], _type(size, little)).astype(np.float64)
    found: list[Entries] = []
    place = done = 0
    try:
        while done < count and place < len(words):
            kind, length = int(words[place]), int(words[place + 1])
            if kind == _INDIRECT:
                start = (int(words[place + 2]) | int(words[place + 3]) << (8 * size)) // size
                place += 4
                for _ in range(length):
                    piece, start = _segment(words, start, found)
                    found.append(piece)
                    done += len(piece)
                    if done >= count or not len(piece):
                        break
                continue
            piece, place = _segment(words, place, found)
            found.append(piece)
            done += len(piece)
    except IndexError as error:
        raise refusals.UnsupportedPixels("a palette is cut off") from error
    if done < count:
        raise refusals.UnsupportedPixels("a palette is cut off")
    return np.concatenate(found)[:count]


def _segment(words: Entries, place: int, before: list[Entries]) -> tuple[Entries, int]:
    """The entries of one segment, and where the next one begins."""
    kind, length = int(words[place]), int(words[place + 1])
    if kind == _DISCRETE:
        if place + 2 + length > len(words):
            raise IndexError
        return words[place + 2 : place + 2 + length], place + 2 + length
    if kind != _LINEAR or not before or not len(before[-1]):
        raise refusals.UnsupportedPixels("a palette has a segment of no known kind")
    start, end = float(before[-1][-1]), float(words[place + 2])
    return np.rint(start + (end - start) * np.arange(1, length + 1) / max(length, 1)), place + 3


def _type(size: int, little: bool) -> str:
    return f"{'<' if little else '>'}u{size}"


def _is_little(dataset: Dataset) -> bool:
    return bool(dataset.original_encoding[1] is not False)
