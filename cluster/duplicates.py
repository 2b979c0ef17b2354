"""Findings seen before for another input: what copied answers would look like.

Output digests are keyed per Workitem, so equal findings of two Offers do not show in their Receipts. The network side
opens findings anyway to check them; what it keeps is a keyed digest of them and of a part of their input, under a key
of its own that lasts for one period and is then destroyed, with the rows that were made under it.

A match proves nothing: it makes recomputation certain (`Attempt.flag`). `docs/receipts.md` says what counts as the same
input and which findings are too small to count.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bithive.envelope import FRAME_BYTES, PAYLOAD, frame_span, open_frame
from bithive.keys import load_or_create_secret
from bithive.limits import MIB, SEEN_FINDINGS_PERIOD_S
from bithive.offer import Offer

REPEATED = "findings-repeated"
"""The flag of an Attempt whose findings were seen before for another input, and of the one that had them first."""

SUBSTANCE_BITS_MIN = 128
"""Findings with less to say are not compared. Two honest nodes that agree on 128 bits by chance do not exist; half of
them may be predictable and it is still 2^-64."""

_PERIOD_MS = round(SEEN_FINDINGS_PERIOD_S * 1000)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Findings of some substance, as they are remembered.

    Attributes
    ----------
    bundle_sha256
        What ran: only like is compared with like.
    findings, input_part
        Keyed digests, hexadecimal: of the plain findings, and of what was looked at of their input.
    attempt_id
        Whose findings they are: the first ones, of each input.
    period
        Under which key.
    at_ms
        When they came.
    """

    bundle_sha256: str
    findings: str
    input_part: str
    attempt_id: str
    period: int
    at_ms: int


class SightingKeys:
    """The key of each period, alone in its file; a key that is over is deleted.

    Parameters
    ----------
    folder
        Where keys lie; None keeps them in memory.
    fresh
        Makes 32 random bytes.
    """

    def __init__(self, folder: Path | None, fresh: Callable[[], bytes]) -> None:
        self._folder, self._fresh = folder, fresh
        self._held: tuple[int, bytes] = (-1, b"")

    def at(self, now_ms: int) -> tuple[int, bytes]:
        """The period of that time, and its key. Keys of every other period are destroyed."""
        period = now_ms // _PERIOD_MS
        if self._held[0] != period:
            self._held = (period, self._load(period))
        return self._held

    def _load(self, period: int) -> bytes:
        if self._folder is None:
            return self._fresh()
        name = f"seen-{period}.key"
        key = load_or_create_secret(self._folder / name)
        for old in self._folder.glob("seen-*.key"):
            if old.name != name:
                old.unlink(missing_ok=True)
        return key


def findings_digest(key: bytes, bundle_sha256: str, plain: bytes | bytearray | memoryview) -> str:
    """What findings are remembered by."""
    return hmac.digest(key, b"findings\x00" + bundle_sha256.encode() + hashlib.sha256(plain).digest(), "sha256").hex()


def input_digest(key: bytes, offer: Offer, payload_key: bytes, sealed: BinaryIO) -> str:
    """What an input is known by: its size, its voxels and the MiB in the middle of the frame in its middle.

    One frame of 4 MiB is opened, not the whole payload: an input of 81 MB would cost a tenth of a second for each
    Attempt. Two images that agree in size and in the middle of their pixels are one image.

    Parameters
    ----------
    sealed
        The sealed payload, from its beginning.
    """
    number = offer.payload_size_bytes // 2 // FRAME_BYTES
    offset, size_bytes = frame_span(offer.payload_size_bytes, number)
    sealed.seek(offset)
    frame = open_frame(payload_key, PAYLOAD, offer.payload_size_bytes, number, sealed.read(size_bytes))
    start = max(0, len(frame) - MIB) // 2
    told = struct.pack(">QQ", offer.payload_size_bytes, offer.voxels)
    return hmac.digest(key, b"input\x00" + told + hashlib.sha256(frame[start : start + MIB]).digest(), "sha256").hex()
