"""Seals: from time to time the whole log and all balances are reduced to two roots, signed and chained.

A seal is made beside the hot path: from one snapshot, and only over the entries since the last seal. It is what an
auditor keeps, and what rewards, dividends and votes will refer to. It is signed as a checkpoint (`economy.checkpoints`),
which any witness of transparency logs can cosign. Seals of version 1, which signed canonical JSON and ordered the
accounts by name, stay what they were: valid, checked by their own rule, and followed by seals of version 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from bithive.canonical import canonical
from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.keys import SigningKey, fingerprint, verify
from economy.book import Balance, Head, Seal
from economy.checkpoints import Checkpoint
from economy.errors import LedgerFault, NoteMalformed, SealKeyUnknown
from economy.merkle import Frontier, leaf_hash, leaf_hashes
from economy.merkle import root as merkle_root
from economy.notes import Algorithm, Note, VerifierKey, note_line, parse_note, require_signer
from economy.proof_store import SUBTREE_HEIGHTS, Subtree, state_leaf
from economy.store import Snapshot, Store

SEAL_VERSION = 2
_CONTEXT = b"bithive.seal.v1\x00"
_FIRST = "0" * 64
_ORIGIN = "bithive.ledger"
_PAGE = 20_000
_UNSIGNED = ("signature", "version", "note")


def state_root(balances: Iterable[Balance]) -> bytes:
    """Merkle root over all accounts in the order in which they were opened; `balances` come in that order."""
    return merkle_root(leaf_hash(state_leaf(balance)) for balance in balances)


def state_root_v1(balances: Iterable[Balance]) -> bytes:
    """Merkle root of a seal of version 1: over all accounts, ordered by name."""
    return state_root(sorted(balances, key=lambda balance: str(balance.account)))


def checkpoint_of(seal: Seal) -> Checkpoint:
    """What a seal of version 2 says. Raises `NoteMalformed`, also for a seal of version 1."""
    return Checkpoint.parse(parse_note(seal.note).text)


def signed_bytes(seal: Seal) -> bytes:
    """The bytes that a seal's signature covers."""
    if seal.version == 1:
        members = {name: value for name, value in seal._asdict().items() if name not in _UNSIGNED}
        return _CONTEXT + canonical(members)
    return (seal.note.rpartition("\n\n")[0] + "\n").encode()


def seal_digest(seal: Seal) -> str:
    """SHA-256 of the signed bytes: what the next seal names as its predecessor."""
    return hashlib.sha256(signed_bytes(seal)).hexdigest()


def is_signed(seal: Seal) -> bool:
    """Whether the seal's own key signed it, and it says the same everywhere."""
    try:
        if seal.version == 1:
            verify(seal.public_key, signed_bytes(seal), seal.signature)
            return not seal.note
        return seal.version == SEAL_VERSION and _is_noted(seal)
    except (BitHiveError, ValueError):
        return False


def _is_noted(seal: Seal) -> bool:
    """A seal of version 2: its columns repeat its note, and its frontier hashes to the root that is signed."""
    note = parse_note(seal.note)
    said = Checkpoint.parse(note.text)
    require_signer(note, [VerifierKey(said.origin, Algorithm.ED25519, seal.public_key)])
    place = (said.seal_id, said.size, said.previous, said.time_ms)
    roots = (said.root.hex(), said.state_root.hex())
    columns = (seal.seal_id, seal.to_seq, seal.previous, seal.sealed_ms), (seal.log_root, seal.state_root)
    signed = [line.signature.hex() for line in note.signatures]
    return columns == (place, roots) and signed == [seal.signature] and _frontier_root(seal) == seal.log_root


def _frontier_root(seal: Seal) -> str:
    parts = seal.frontier.split(",")
    if len(parts) != seal.to_seq.bit_count() or any(len(part) != len(_FIRST) for part in parts):
        return ""
    try:
        return Frontier.from_text(seal.to_seq, seal.frontier).root().hex()
    except ValueError:
        return ""


def follows(seal: Seal, last: Seal | None) -> bool:
    """Whether a seal continues the chain: its number, its entries, its predecessor, its log, and nothing goes back.

    Parameters
    ----------
    last
        The seal before; nothing for the first of a log.
    """
    if last is None:
        return (seal.seal_id, seal.from_seq, seal.previous) == (1, 1, _FIRST)
    linked = (last.seal_id + 1, last.to_seq + 1, seal_digest(last))
    if (seal.seal_id, seal.from_seq, seal.previous) != linked or seal.version < last.version:
        return False
    if last.version == 1:
        return seal.sealed_ms >= last.sealed_ms
    try:
        older, newer = checkpoint_of(last), checkpoint_of(seal)
    except NoteMalformed:
        return False
    return older.origin == newer.origin and older.time_ms <= newer.time_ms and older.accounts <= newer.accounts


def origin_of(snapshot: Snapshot) -> str | None:
    """The log's name for ever: made from the key of its first seal; nothing before there is one."""
    last = snapshot.last_seal()
    if last is None:
        return None
    if last.version != 1:
        return checkpoint_of(last).origin
    first = snapshot.seal(1)
    assert first is not None, "seals are numbered from 1"
    return _origin(first.public_key)


def log_keys(snapshot: Snapshot) -> tuple[VerifierKey, ...]:
    """Every key that may have signed a seal of this log, the oldest first; revoked ones signed what is old."""
    origin, first = origin_of(snapshot), snapshot.seal(1)
    if origin is None or first is None:
        return ()
    rows = sorted(snapshot.signing_keys().values(), key=lambda row: row.declared_seq)
    names = [first.public_key, *(row.public_key for row in rows if row.purpose == "seal")]
    return tuple(VerifierKey(origin, Algorithm.ED25519, name) for name in dict.fromkeys(names))


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
    SealKeyUnknown
        If keys that seal are declared and this one is not among them, or is revoked.
    LedgerFault
        If the log is not the one that the last seal signed. Nothing is signed then.
    """
    with store.reading() as snapshot:
        head, last = snapshot.head(), snapshot.last_seal()
        sealed = last.to_seq if last else 0
        if head.seq == sealed:
            return None
        _require_seal_key(snapshot, key.public_hex)
        frontier = _grown(snapshot, last, head.seq)
        state = _state(snapshot, head.account_id)
        said = Checkpoint(
            origin_of(snapshot) or _origin(key.public_hex),
            head.seq,
            frontier.root(),
            state.size,
            state.root(),
            seal_digest(last) if last else _FIRST,
            last.seal_id + 1 if last else 1,
            _time_ms(clock, head, last),
        )
    store.add_subtrees([Subtree(node.height, node.place, root.hex()) for node, root in frontier.completed])
    line = note_line(said.text, said.origin, key)
    seal = Seal(
        said.seal_id,
        sealed + 1,
        said.size,
        said.root.hex(),
        said.state_root.hex(),
        frontier.to_text(),
        said.previous,
        said.time_ms,
        key.public_hex,
        line.signature.hex(),
        SEAL_VERSION,
        str(Note(said.text, (line,))),
    )
    store.add_seal(seal)
    return seal


def extend(frontier: Frontier, snapshot: Snapshot, to_seq: int) -> None:
    """Add the recorded leaves up to `to_seq` to a log tree."""
    while frontier.size < to_seq:
        leaves = snapshot.leaves(frontier.size, min(_PAGE, to_seq - frontier.size))
        assert leaves, "the log has no gap"
        frontier.extend(leaves)


def _state(snapshot: Snapshot, accounts: int) -> Frontier:
    """The state tree over the accounts 1 to `accounts`, page by page."""
    tree = Frontier()
    while tree.size < accounts:
        page = snapshot.state_leaves(tree.size, min(_PAGE, accounts - tree.size))
        assert page, "accounts have no gap"
        tree.extend(leaf_hashes(page))
    return tree


def _grown(snapshot: Snapshot, last: Seal | None, to_seq: int) -> Frontier:
    """The log tree up to `to_seq`; from its first entry when the subtrees of an older ledger are not kept yet."""
    if last is None:
        frontier = Frontier(keep=SUBTREE_HEIGHTS)
    elif snapshot.subtree_count(SUBTREE_HEIGHTS[0]) >= last.to_seq >> SUBTREE_HEIGHTS[0]:
        frontier = Frontier.from_text(last.to_seq, last.frontier, SUBTREE_HEIGHTS)
    else:
        frontier = Frontier(keep=SUBTREE_HEIGHTS)
        extend(frontier, snapshot, last.to_seq)
    if last is not None and frontier.root().hex() != last.log_root:
        raise LedgerFault("the log is not the one that the last seal signed")
    extend(frontier, snapshot, to_seq)
    return frontier


def _require_seal_key(snapshot: Snapshot, public_key: str) -> None:
    """Once one key is declared to seal, only declared ones do."""
    declared = [row for row in snapshot.signing_keys().values() if row.purpose == "seal"]
    if declared and not any(row.public_key == public_key and row.revoked_seq is None for row in declared):
        raise SealKeyUnknown


def _time_ms(clock: Clock, head: Head, last: Seal | None) -> int:
    """The clock's, but never before what is sealed."""
    return max(clock.now_ms(), head.recorded_us // 1000, last.sealed_ms if last else 0)


def _origin(public_key: str) -> str:
    return f"{_ORIGIN}/{fingerprint(public_key)}"
