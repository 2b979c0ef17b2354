"""A sealed payload as it comes: decrypted piece by piece, and gone on with where a broken connection left it."""

from __future__ import annotations

from collections.abc import Callable

from bithive.envelope import Opener


class Download:
    """What has come of one sealed payload so far.

    Parameters
    ----------
    opener
        Makes what decrypts it, from the beginning.
    """

    def __init__(self, opener: Callable[[], Opener]) -> None:
        self._make, self._opener = opener, opener()
        self.received_bytes, self.tag = 0, ""

    def begin(self, first: int, tag: str) -> None:
        """An answer begins at that byte of the content with that entity tag.

        What came before is forgotten when it begins anew, or is another content.
        """
        if first != self.received_bytes or (first and tag != self.tag):
            self._opener, self.received_bytes = self._make(), 0
        self.tag = tag

    def take(self, piece: bytes) -> None:
        """The next bytes. Raises `BadEnvelope`."""
        self._opener.feed(piece)
        self.received_bytes += len(piece)

    def finish(self) -> bytearray:
        """The whole plain content. Raises `BadEnvelope` if something is missing."""
        return self._opener.finish()
