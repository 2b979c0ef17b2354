"""Making proofs: what `economy.verify` checks, as the text of files.

Every proof is checked before it is handed out, so that a kept hash gone bad is noticed here and not by an auditor.
"""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from economy.book import EntryRow, Seal
from economy.checkpoints import TreeHead
from economy.entry import Account, leaf_bytes
from economy.epoch import claims_id, claims_of
from economy.errors import AccountUnknown, EntryUnknown, EpochUnknown, LedgerFault, NotSealed, SealUnknown
from economy.merkle import Span, consistency_spans, extends, includes, inclusion_spans, leaf_hash
from economy.paths import Known, path
from economy.seal import SEAL_VERSION, checkpoint_of
from economy.state_tree import StateTree
from economy.store import Snapshot, Store
from economy.verify import CLAIMS_KIND, FORMAT

_PAGE, _STATES_KEPT = 1_000, 2
_GONE_BAD = "the ledger's hashes do not lead to the root that was signed; run bithive ledger check"


class Proofs:
    """Makes proofs of one ledger; for a hub, which makes many.

    Parameters
    ----------
    store
        Open. The state trees of the two seals asked for last are kept in memory: about 34 bytes an account each.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._states: dict[int, StateTree] = {}
        self._known = Known()

    def checkpoint(self, seal_id: int | None = None) -> str:
        """A seal as a signed note, with all cosignatures.

        Raises
        ------
        SealUnknown
            If there is no seal of this number.
        NotSealed
            If there is no seal at all, or it is of version 1.
        """
        with self._store.reading() as snapshot:
            return _noted(snapshot, _seal(snapshot, seal_id))

    def entry(self, entry: str | int, seal_id: int | None = None) -> str:
        """Proof that an entry is in the log.

        Parameters
        ----------
        entry
            Its id, or its place in the log.
        seal_id
            The newest seal when absent.

        Raises
        ------
        EntryUnknown
            If there is no such entry.
        NotSealed
            If the seal does not cover it.
        SealUnknown
            As `checkpoint`.
        """
        with self._store.reading() as snapshot:
            seal = _seal(snapshot, seal_id)
            return _written(snapshot, seal, "entry", self._entry(snapshot, seal, entry))

    def balance(self, account: Account, seal_id: int | None = None) -> str:
        """Proof of an account's totals when a seal was made.

        Raises
        ------
        AccountUnknown
            If no entry has opened it.
        NotSealed
            If it was opened after the seal.
        SealUnknown
            As `checkpoint`.
        """
        with self._lock, self._store.reading() as snapshot:  # in turn: a later proof never sees an earlier ledger
            found = snapshot.accounts([account])
            if not found:
                raise AccountUnknown
            seal, number = _seal(snapshot, seal_id), found[0].account_id
            said = checkpoint_of(seal)
            if number > said.accounts:
                raise NotSealed
            leaf, steps = self._state(seal, snapshot).proof(snapshot, number)
            step = _step(number - 1, leaf, steps, TreeHead(said.accounts, said.state_root))
            return _written(snapshot, seal, "balance", step)

    def consistency(self, old_size: int, new_size: int | None = None) -> str:
        """Proof that the log as it was sealed begins with its first `old_size` entries, unchanged.

        Parameters
        ----------
        old_size
            That of an older seal, or any other.
        new_size
            That of a seal; the newest when absent.

        Raises
        ------
        SealUnknown
            If no seal has the newer size, or it is below the older one.
        NotSealed
            As `checkpoint`.
        """
        with self._store.reading() as snapshot:
            seal = _of_size(snapshot, new_size)
            if not 0 < old_size <= seal.to_seq:
                raise SealUnknown("no seal has these sizes")
            steps = path(snapshot, consistency_spans(old_size, seal.to_seq), self._known)
            root = path(snapshot, [Span(0, old_size)], self._known)[0]
            if not extends(root, old_size, bytes.fromhex(seal.log_root), seal.to_seq, steps):
                raise LedgerFault(_GONE_BAD)
            members = {"from": _older(snapshot, TreeHead(old_size, root)), "path": _encoded(steps)}
            return _written(snapshot, seal, "consistency", members)

    def claim(self, entry_id: str, index: int, leaf: str, size: int, steps: Sequence[bytes]) -> str:
        """Proof of a claim in the tree that an entry published, together with that entry's.

        Parameters
        ----------
        entry_id
            Of the entry of kind `claims.published`.
        index, leaf, size, steps
            The claim's place, its text, how many there are, and its audit path.

        Raises
        ------
        EntryUnknown, NotSealed
            As `entry`.
        """
        with self._store.reading() as snapshot:
            seal = _seal(snapshot, None)
            entry = self._entry(snapshot, seal, entry_id)
            body = json.loads(entry["leaf"])["body"]
            if body["kind"] != CLAIMS_KIND or body["facts"]["count"] != size:
                raise LedgerFault("the entry does not publish this tree of claims")
            claim = {**_step(index, leaf, steps, TreeHead(size, bytes.fromhex(body["facts"]["root"]))), "size": size}
            return _written(snapshot, seal, "claim", {"entry": entry, "claim": claim})

    def _state(self, seal: Seal, snapshot: Snapshot) -> StateTree:
        """The state tree of a seal; those of the two that were asked for last are kept."""
        tree = self._states.pop(seal.seal_id, None) or StateTree(seal, snapshot)
        self._states[seal.seal_id] = tree
        if len(self._states) > _STATES_KEPT:
            del self._states[next(iter(self._states))]
        return tree

    def _entry(self, snapshot: Snapshot, seal: Seal, entry: str | int) -> dict[str, Any]:
        rows = snapshot.log(entry - 1, 1) if isinstance(entry, int) and entry > 0 else []
        if isinstance(entry, str):
            rows = list(snapshot.find([entry]).values())
        if not rows:
            raise EntryUnknown
        row = rows[0]
        if row.seq > seal.to_seq:
            raise NotSealed(seq=row.seq, sealed=seal.to_seq)
        leaf = leaf_bytes(row.content.encode(), row.recorded_us, row.seq).decode()
        steps = path(snapshot, inclusion_spans(row.seq - 1, seal.to_seq), self._known)
        return _step(row.seq - 1, leaf, steps, TreeHead(seal.to_seq, bytes.fromhex(seal.log_root)))


def prove_entry(store: Store, entry: str | int, seal_id: int | None = None) -> str:
    """`Proofs.entry`, once."""
    return Proofs(store).entry(entry, seal_id)


def prove_balance(store: Store, account: Account, seal_id: int | None = None) -> str:
    """`Proofs.balance`, once."""
    return Proofs(store).balance(account, seal_id)


def prove_consistency(store: Store, old_size: int, new_size: int | None = None) -> str:
    """`Proofs.consistency`, once."""
    return Proofs(store).consistency(old_size, new_size)


def prove_claim(store: Store, party_id: str, epoch: int | None = None) -> str:
    """`Proofs.claim` of a party in the tree that an epoch published; the newest epoch's when absent.

    Raises
    ------
    EpochUnknown
        If the epoch published no claims.
    BadClaim
        If the party has nothing to claim.
    EntryUnknown, NotSealed
        As `Proofs.entry`.
    """
    number = _newest_claims(store) if epoch is None else epoch
    found = claims_of(store, number).proof(party_id)
    return Proofs(store).claim(claims_id(number), found.place, found.claim.leaf().decode(), found.size, found.path)


def checkpoint_text(store: Store, seal_id: int | None = None) -> str:
    """`Proofs.checkpoint`, once."""
    return Proofs(store).checkpoint(seal_id)


def _newest_claims(store: Store) -> int:
    newest: EntryRow | None = None
    with store.reading() as snapshot:
        while rows := snapshot.log(newest.seq if newest else 0, _PAGE, kind=CLAIMS_KIND):
            newest = rows[-1]
    if newest is None:
        raise EpochUnknown
    return int(json.loads(newest.content)["facts"]["epoch"])


def _seal(snapshot: Snapshot, seal_id: int | None) -> Seal:
    seal = snapshot.last_seal() if seal_id is None else snapshot.seal(seal_id)
    if seal is None:
        raise NotSealed if seal_id is None else SealUnknown
    return _provable(seal)


def _of_size(snapshot: Snapshot, size: int | None) -> Seal:
    if size is None:
        return _seal(snapshot, None)
    seal = snapshot.seal_of_size(size)
    if seal is None:
        raise SealUnknown
    return _provable(seal)


def _provable(seal: Seal) -> Seal:
    if seal.version != SEAL_VERSION:
        raise NotSealed("the seal is of version 1; make a new one")
    return seal


def _noted(snapshot: Snapshot, seal: Seal) -> str:
    return seal.note + "".join(f"{item.signature}\n" for item in snapshot.cosignatures([seal.seal_id]))


def _older(snapshot: Snapshot, head: TreeHead) -> dict[str, Any]:
    """The older tree: by its checkpoint if one was signed, by its root alone otherwise."""
    seal = snapshot.seal_of_size(head.size)
    if seal is not None and seal.log_root != head.root.hex():
        raise LedgerFault(_GONE_BAD)
    if seal is not None and seal.version == SEAL_VERSION:
        return {"checkpoint": _noted(snapshot, seal)}
    return {"root": b64encode(head.root).decode(), "size": head.size}


def _step(index: int, leaf: str, steps: Sequence[bytes], tree: TreeHead) -> dict[str, Any]:
    """A leaf and its path, once they lead to the root that was signed."""
    if not includes(leaf_hash(leaf.encode()), index, tree.size, steps, tree.root):
        raise LedgerFault(_GONE_BAD)
    return {"index": index, "leaf": leaf, "path": _encoded(steps)}


def _encoded(steps: Sequence[bytes]) -> list[str]:
    return [b64encode(step).decode() for step in steps]


def _written(snapshot: Snapshot, seal: Seal, kind: str, members: dict[str, Any]) -> str:
    proof = {"format": FORMAT, "kind": kind, "checkpoint": _noted(snapshot, seal), **members}
    return json.dumps(proof, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
