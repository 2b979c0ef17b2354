"""How much Findings say: what two of them would have to share to be the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inference._frame import extent_of
from inference.errors import BadFindings
from inference.findings import header_of

_CONSTANT_RATIO = 150
"""What zlib, at the levels that are used here, makes of one value repeated: at least so many times less."""
_STREAM_BYTES = 24
"""What it takes for any stream, beyond that."""
_NUMBER_BITS = 16
_TYPE_BYTES = {"uint8": 1, "uint16": 2}


def substance_bits(content: bytes | bytearray | memoryview) -> int:
    """How many bits a container of Findings says, reckoned low, from its header alone.

    Of an array, what its compressed bytes exceed those that one repeated value would take: nothing for an empty mask,
    one that fills its box, a label map of background. Of a number 16 bits, unless it is whole to three decimal places
    (a count, 0, 1, a half) or there already.

    Raises
    ------
    BadFindings
        If the header is not one of Findings.
    """
    header = header_of(content)
    try:
        arrays = sum(_excess(size_bytes, plain_bytes) for size_bytes, plain_bytes in _arrays(header))
        telling = {value for value in _numbers(header) if round(value, 3) != value}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadFindings("a row of the header is malformed") from error
    return 8 * arrays + _NUMBER_BITS * len(telling)


def _excess(size_bytes: int, plain_bytes: int) -> int:
    return max(0, size_bytes - _STREAM_BYTES - plain_bytes // _CONSTANT_RATIO)


def _arrays(header: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Of each compressed array, its bytes and those of its box."""
    for row in header["masks"]:
        yield row["size_bytes"], -(-extent_of(row["box"]) // 8)
    if header["labels"] is not None:
        row = header["labels"]
        yield sum(row["chunks"]), extent_of(row["box"]) * _TYPE_BYTES[row["dtype"]]
    for row in header["maps"]:
        yield sum(row["chunks"]), extent_of(row["box"]) * 4


def _numbers(header: dict[str, Any]) -> Iterator[float]:
    for row in (*header["measurements"], *header["scores"]):
        yield float(row["value"])
    for row in header["classes"]:
        yield float(row["certainty"])
    for row in header.get("regions", ()):
        yield from (float(value) for value in (*row["centre_mm"], *row["size_mm"], row["certainty"]))
