"""How a payload and its findings travel: AES-256-GCM (NIST SP 800-38D) in frames, so that they can be streamed.

Layout: frames of at most 4 MiB of plain text, each as 4-byte big-endian length of its cipher text, then the cipher
text with its 16-byte tag. The nonce of frame k is the 4-byte purpose and the 8-byte number k; the associated data says
whether it is the last, so that a truncated, reordered or mixed-up stream fails to open. A key is used for one Offer,
and each purpose with its own nonces: under one key and purpose only one content is ever sealed, since a repeated nonce
would undo the cipher. Findings of a repeated Attempt therefore use its own fencing token as their purpose.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bithive.errors import BadInput

FRAME_BYTES = 4 * 1024 * 1024
_TAG_BYTES = 16

PAYLOAD = 0


class BadEnvelope(BadInput):
    code, title = "bad-envelope", "The encrypted content cannot be opened"


def seal(key: bytes, purpose: int, content: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """Encrypt, frame by frame.

    Parameters
    ----------
    key
        32 bytes, of one Offer.
    purpose
        `PAYLOAD`, or the fencing token of the Attempt whose findings these are (1 and above).
    content
        The plain bytes.
    """
    cipher, view = AESGCM(key), memoryview(content).cast("B")
    count = max(1, -(-len(view) // FRAME_BYTES))
    for number in range(count):
        frame = view[number * FRAME_BYTES : (number + 1) * FRAME_BYTES]
        sealed = cipher.encrypt(_nonce(purpose, number), frame, _last(number + 1 == count))
        yield struct.pack(">I", len(sealed)) + sealed


def sealed_size_bytes(size_bytes: int) -> int:
    """How many bytes `seal` gives for that many plain bytes."""
    return size_bytes + max(1, -(-size_bytes // FRAME_BYTES)) * (4 + _TAG_BYTES)


class Opener:
    """Decrypts a stream as it arrives, into one buffer of known size.

    Parameters
    ----------
    key, purpose
        As for `seal`.
    size_bytes
        How many plain bytes are expected; one more is refused. The caller has checked it against its limit.
    """

    def __init__(self, key: bytes, purpose: int, size_bytes: int) -> None:
        if size_bytes < 0:
            raise BadEnvelope("the announced size is negative")
        self._cipher, self._purpose = AESGCM(key), purpose
        self.content = bytearray(size_bytes)
        self._filled, self._number, self._waiting = 0, 0, bytearray()

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes, of any length. Raises `BadEnvelope`."""
        self._waiting += chunk
        while len(self._waiting) >= 4:
            (length,) = struct.unpack_from(">I", self._waiting)
            if not _TAG_BYTES <= length <= FRAME_BYTES + _TAG_BYTES:
                raise BadEnvelope("a frame has an impossible length")
            if len(self._waiting) < 4 + length:
                return
            self._open(bytes(memoryview(self._waiting)[4 : 4 + length]))
            del self._waiting[: 4 + length]

    def _open(self, sealed: bytes) -> None:
        after = self._filled + len(sealed) - _TAG_BYTES
        if after > len(self.content):
            raise BadEnvelope("the content is longer than announced")
        try:
            frame = self._cipher.decrypt(_nonce(self._purpose, self._number), sealed, _last(after == len(self.content)))
        except InvalidTag as error:
            raise BadEnvelope("a frame was changed, or the key is another") from error
        self.content[self._filled : after] = frame
        self._filled, self._number = after, self._number + 1

    def finish(self) -> bytearray:
        """The whole plain content. Raises `BadEnvelope` if something is missing."""
        if self._waiting or self._filled != len(self.content) or self._number == 0:
            raise BadEnvelope("the content is shorter than announced")
        return self.content


def open_all(key: bytes, purpose: int, size_bytes: int, chunks: Iterable[bytes]) -> bytearray:
    """Decrypt a whole stream. Raises `BadEnvelope`."""
    opener = Opener(key, purpose, size_bytes)
    for chunk in chunks:
        opener.feed(chunk)
    return opener.finish()


def frame_span(size_bytes: int, number: int) -> tuple[int, int]:
    """Where frame `number` of that many plain bytes lies in what `seal` gives: offset and length."""
    start = number * FRAME_BYTES
    assert 0 <= start <= size_bytes, "the frame is one of these"
    return number * (FRAME_BYTES + 4 + _TAG_BYTES), min(FRAME_BYTES, size_bytes - start) + 4 + _TAG_BYTES


def open_frame(key: bytes, purpose: int, size_bytes: int, number: int, sealed: bytes) -> bytes:
    """Decrypt one frame of a stream that lies on disk.

    Parameters
    ----------
    key, purpose, size_bytes
        As for `Opener`.
    number
        Which, from 0.
    sealed
        The bytes at `frame_span`.

    Raises
    ------
    BadEnvelope
        If it does not open.
    """
    if len(sealed) != frame_span(size_bytes, number)[1] or struct.unpack_from(">I", sealed)[0] != len(sealed) - 4:
        raise BadEnvelope("a frame has an impossible length")
    last = (number + 1) * FRAME_BYTES >= size_bytes
    try:
        return AESGCM(key).decrypt(_nonce(purpose, number), sealed[4:], _last(last))
    except InvalidTag as error:
        raise BadEnvelope("a frame was changed, or the key is another") from error


def _nonce(purpose: int, number: int) -> bytes:
    assert 0 <= purpose < 2**32, "a purpose is 4 bytes"
    return struct.pack(">IQ", purpose, number)


def _last(last: bool) -> bytes:
    return b"last" if last else b"more"
