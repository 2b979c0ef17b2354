"""Seals: from time to time the whole log and all balances are reduced to two roots, signed and chained.

A seal is made beside the hot path: from one snapshot, and only over the entries since the last seal. It is what an
auditor keeps, and what rewards, dividends and votes will refer to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from bithive.canonical import canonical
from bithive.clock import Clock
from bithive.errors import BadSignature
from bithive.keys import SigningKey, verify
from economy.book import Balance, Seal
from economy.merkle import Frontier, leaf_hash
from economy.merkle import root as merkle_root
from economy.store import Snapshot, Store

_CONTEXT = b"bithive.seal.v1\x00"
_FIRST = "0" * 64
_PAGE = 20_000


def state_leaf(balance: Balance) -> bytes:
    """The canonical JSON of one account's totals: a leaf of the state tree."""
    return canonical(
        {
            "account": str(balance.account),
            "credit_pending": str(balance.credit_pending),
            "credit_posted": str(balance.credit_posted),
            "debit_pending": str(balance.debit_pending),
            "debit_posted": str(balance.debit_posted),
        }
    )


def state_root(balances: Iterable[Balance]) -> bytes:
    """Merkle root over all accounts, ordered by name."""
    ordered = sorted(balances, key=lambda balance: str(balance.account))
    return merkle_root(leaf_hash(state_leaf(balance)) for balance in ordered)


def signed_bytes(seal: Seal) -> bytes:
    """The bytes that a seal's signature covers."""
    members = seal._asdict()
    del members["signature"]
    return _CONTEXT + canonical(members)


def seal_digest(seal: Seal) -> str:
    """SHA-256 of the signed bytes: what the next seal names as its predecessor."""
    return hashlib.sha256(signed_bytes(seal)).hexdigest()


def is_signed(seal: Seal) -> bool:
    """Whether the seal's own key signed it."""
    try:
        verify(seal.public_key, signed_bytes(seal), seal.signature)
    except BadSignature:
        return False
    return True


def make_seal(store: Store, key: SigningKey, clock: Clock) -> Seal | None:
    """Seal everything recorded so far.

    Returns
    -------
    Seal or None
        The new seal; nothing when there is no entry since the last one.

    Raises
    ------
    SealConflict
        If another seal was written meanwhile; make it again.
    """
    with store.reading() as snapshot:
        head, seals = snapshot.head(), snapshot.seals()
        last = seals[-1] if seals else None
        sealed = last.to_seq if last else 0
        if head.seq == sealed:
            return None
        frontier = Frontier.from_text(sealed, last.frontier) if last else Frontier()
        extend(frontier, snapshot, head.seq)
        balances = snapshot.accounts()
    previous = seal_digest(last) if last else _FIRST
    roots = (frontier.root().hex(), state_root(balances).hex(), frontier.to_text())
    place = (len(seals) + 1, sealed + 1, head.seq)
    unsigned = Seal(*place, *roots, previous, clock.now_ms(), key.public_hex, "")
    seal = unsigned._replace(signature=key.sign(signed_bytes(unsigned)))
    store.add_seal(seal)
    return seal


def extend(frontier: Frontier, snapshot: Snapshot, to_seq: int) -> None:
    """Add the recorded leaves up to `to_seq` to a log tree."""
    while frontier.size < to_seq:
        rows = snapshot.log(frontier.size, min(_PAGE, to_seq - frontier.size))
        assert rows, "the log has no gap"
        frontier.extend(bytes.fromhex(row.leaf_hash) for row in rows)
