"""What proofs ask of a store: leaves, the roots of complete subtrees, seals and cosignatures.

A subtree's root is derived from the log and never changes once its last entry is recorded: it is kept so that a proof
reads a few hundred hashes of a log of any length, and it may be computed again at any time.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from economy.book import Balance, EntryRow, KeyRow, Seal
from economy.entry import Account

SUBTREE_HEIGHTS = (8, 16, 24)


class Subtree(NamedTuple):
    """Root over the entries `place * 2**height + 1` to `(place + 1) * 2**height`, hexadecimal."""

    height: int
    place: int
    hash: str


class Window(NamedTuple):
    """Subtrees of one height, from `first` up to but without `end`."""

    height: int
    first: int
    end: int


class Cosignature(NamedTuple):
    """A witness's signature below a seal.

    Attributes
    ----------
    public_key
        The witness's, hexadecimal.
    signature
        The whole signature line of the note, without its newline.
    witnessed_ms
        When the witness says it saw the seal.
    """

    seal_id: int
    public_key: str
    signature: str
    witnessed_ms: int


def state_leaf(balance: Balance) -> bytes:
    """The canonical JSON of one account's totals: a leaf of the state tree."""
    return (
        f'{{"account":"{balance.account}","credit_pending":"{balance.credit_pending}",'
        f'"credit_posted":"{balance.credit_posted}","debit_pending":"{balance.debit_pending}",'
        f'"debit_posted":"{balance.debit_posted}"}}'
    ).encode()


class ProofSnapshot(Protocol):
    """The part of a snapshot that proofs are made from."""

    def leaves(self, after_seq: int, limit: int) -> list[bytes]:
        """Leaf hashes of the entries after `after_seq`, in order."""

    def state_leaves(self, after_id: int, limit: int) -> list[bytes]:
        """The state tree's leaves, not hashed: of the accounts after `after_id`, in the order they were opened."""

    def subtrees(self, windows: Sequence[Window]) -> dict[tuple[int, int], bytes]:
        """Roots of complete subtrees by height and place; what is not kept is left out."""

    def subtree_count(self, height: int) -> int:
        """How many are kept, if there is no gap: one more than the last place."""

    def seal(self, seal_id: int) -> Seal | None:
        """A seal by its number."""

    def last_seal(self) -> Seal | None:
        """The newest seal."""

    def seal_of_size(self, size: int) -> Seal | None:
        """The seal over exactly so many entries."""

    def seal_covering(self, seq: int) -> Seal | None:
        """The first seal over an entry."""

    def seals_after(self, seal_id: int = 0, limit: int = 1_000) -> list[Seal]:
        """A page of seals, in order."""

    def cosignatures(self, seal_ids: Collection[int] | None = None) -> list[Cosignature]:
        """Cosignatures of some seals or of all, by seal and key."""

    def signing_keys(self) -> dict[str, KeyRow]:
        """Keys that entries declared, by public key."""


class ProofStore(Protocol):
    """The part of a store that proofs are kept in."""

    def add_subtrees(self, subtrees: Sequence[Subtree]) -> None:
        """Keep roots; those that are kept already are left as they are."""

    def add_cosignature(self, cosignature: Cosignature) -> bool:
        """Keep a cosignature. Whether it is new: the first of a witness for a seal stays."""


class MemoryProofs:
    """The store in memory's part of it."""

    _lock: threading.RLock
    _entries: list[EntryRow]
    _seals: list[Seal]
    _keys: dict[str, KeyRow]
    _balances: dict[Account, Balance]
    _subtrees: dict[tuple[int, int], bytes]
    _cosignatures: dict[tuple[int, str], Cosignature]

    def __init__(self) -> None:
        self._subtrees, self._cosignatures = {}, {}

    def _open(self) -> None:
        """The store's own. Raises `LedgerUnavailable` when it is closed."""
        raise NotImplementedError

    def leaves(self, after_seq: int, limit: int) -> list[bytes]:
        return [bytes.fromhex(row.leaf_hash) for row in self._entries[after_seq : after_seq + limit]]

    def state_leaves(self, after_id: int, limit: int) -> list[bytes]:
        opened = sorted(self._balances.values(), key=lambda balance: balance.account_id)
        return [state_leaf(balance) for balance in opened[after_id : after_id + limit]]

    def subtrees(self, windows: Sequence[Window]) -> dict[tuple[int, int], bytes]:
        places = ((height, place) for height, first, end in windows for place in range(first, end))
        return {place: self._subtrees[place] for place in places if place in self._subtrees}

    def subtree_count(self, height: int) -> int:
        return max((place + 1 for kept, place in self._subtrees if kept == height), default=0)

    def seal(self, seal_id: int) -> Seal | None:
        return self._seals[seal_id - 1] if 0 < seal_id <= len(self._seals) else None

    def last_seal(self) -> Seal | None:
        return self._seals[-1] if self._seals else None

    def seal_of_size(self, size: int) -> Seal | None:
        seal = self.seal_covering(size)
        return seal if seal is not None and seal.to_seq == size else None

    def seal_covering(self, seq: int) -> Seal | None:
        place = bisect_left(self._seals, seq, key=lambda seal: seal.to_seq)
        return self._seals[place] if place < len(self._seals) else None

    def seals_after(self, seal_id: int = 0, limit: int = 1_000) -> list[Seal]:
        return self._seals[seal_id : seal_id + limit]

    def cosignatures(self, seal_ids: Collection[int] | None = None) -> list[Cosignature]:
        return sorted(item for item in self._cosignatures.values() if seal_ids is None or item.seal_id in seal_ids)

    def signing_keys(self) -> dict[str, KeyRow]:
        return dict(self._keys)

    def add_subtrees(self, subtrees: Sequence[Subtree]) -> None:
        with self._lock:
            self._open()
            for item in subtrees:
                self._subtrees.setdefault((item.height, item.place), bytes.fromhex(item.hash))

    def add_cosignature(self, cosignature: Cosignature) -> bool:
        with self._lock:
            self._open()
            key = (cosignature.seal_id, cosignature.public_key)
            return self._cosignatures.setdefault(key, cosignature) is cosignature
