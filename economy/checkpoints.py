"""Checkpoint: what a seal of version 2 says, as the text of a signed note that any log witness understands.

::

    bithive.ledger/<log>                 the log: its origin, which never changes
    <size>                               how many entries it has
    <base64>                             the log's root (RFC 6962)
    state <accounts> <base64>            how many accounts there are, and the root over their totals
    previous <hexadecimal>               SHA-256 of what the seal before signed
    seal <number>
    time <milliseconds since 1970>

The first three lines are c2sp.org/tlog-checkpoint's; the others are its extension lines, and ours.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import NamedTuple, Self

from economy.errors import NoteMalformed
from economy.notes import checked_name, from_base64

_NUMBER, _TIME = r"(0|[1-9][0-9]{0,15})", r"(0|[1-9][0-9]{0,13})"
_LINES = re.compile(
    rf"(?P<origin>[^\n]+)\n(?P<size>{_NUMBER})\n(?P<root>[^\n]+)\nstate (?P<accounts>{_NUMBER}) (?P<state>[^\n]+)\n"
    rf"previous (?P<previous>[0-9a-f]{{64}})\nseal (?P<seal>{_NUMBER})\ntime (?P<time>{_TIME})\n"
)
_HASH_BYTES = 32


class TreeHead(NamedTuple):
    """A tree of a size, and its root."""

    size: int
    root: bytes


class Checkpoint(NamedTuple):
    """The statement of a seal.

    Attributes
    ----------
    origin
        Which log.
    size, root
        Entries, and the log's root.
    accounts, state_root
        Accounts that had been opened, and the root over their totals in that order.
    previous
        SHA-256 of what the previous seal signed, hexadecimal; 64 zeros for the first.
    """

    origin: str
    size: int
    root: bytes
    accounts: int
    state_root: bytes
    previous: str
    seal_id: int
    time_ms: int

    @property
    def head(self) -> TreeHead:
        """The log's tree."""
        return TreeHead(self.size, self.root)

    @property
    def text(self) -> str:
        """What is signed."""
        head = f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"
        state = f"state {self.accounts} {b64encode(self.state_root).decode()}\n"
        return f"{head}{state}previous {self.previous}\nseal {self.seal_id}\ntime {self.time_ms}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` says.

        Raises
        ------
        NoteMalformed
            If it is not exactly these lines.
        """
        found = _LINES.fullmatch(text)
        if found is None:
            raise NoteMalformed("this is not a checkpoint of a ledger")
        root, state = from_base64(found["root"]), from_base64(found["state"])
        if len(root) != _HASH_BYTES or len(state) != _HASH_BYTES:
            raise NoteMalformed("a root has 32 bytes")
        size, accounts, seal_id, time_ms = (int(found[name]) for name in ("size", "accounts", "seal", "time"))
        return cls(checked_name(found["origin"]), size, root, accounts, state, found["previous"], seal_id, time_ms)
