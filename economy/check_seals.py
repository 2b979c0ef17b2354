"""The checker's view of seals: chain, signatures, keys, both roots, cosignatures, and the subtrees kept for proofs."""

from __future__ import annotations

from bithive.errors import BitHiveError
from economy.book import Seal
from economy.check_accounts import Accounts, BalanceTree
from economy.check_declared import Declarations
from economy.check_fold import Fold
from economy.check_log import Answer
from economy.findings import Fault, Notice
from economy.notes import Algorithm, Note, VerifierKey, parse_note, parse_signature, signers
from economy.proof_store import Cosignature, Window
from economy.seal import checkpoint_of, follows, is_signed
from economy.store import Snapshot


class Seals:
    """All seals of a snapshot.

    Parameters
    ----------
    fold, accounts, declarations
        The fold: findings go there, and each seal is compared with what they say when its last entry is folded.
    since
        The seal from which on is looked at; it is compared with what the accounts are to begin with.
    """

    def __init__(
        self,
        fold: Fold,
        accounts: Accounts,
        declarations: Declarations,
        snapshot: Snapshot,
        since: Seal | None = None,
    ) -> None:
        self._fold, self._accounts, self._declarations = fold, accounts, declarations
        self._snapshot, self._since = snapshot, since
        self._tree = BalanceTree()
        self.all = [seal for seal in snapshot.seals() if since is None or seal.seal_id > since.seal_id]
        self._by_end = {seal.to_seq: seal for seal in self.all}
        self.stops = sorted(self._by_end)
        self._state_roots: dict[int, str] = {}
        if since is not None:
            accounts.dirty.extend(range(accounts.opened))
            if self._tree.update(accounts).hex() != since.state_root:
                fold.report(Fault.SEAL_MISMATCH, f"seal {since.seal_id}")

    def state(self) -> None:
        """The fold stands right after a seal's last entry."""
        seal, accounts = self._by_end[self._fold.seq], self._accounts
        root = accounts.root_by_name() if seal.version == 1 else self._tree.update(accounts)
        self._state_roots[seal.to_seq] = root.hex()
        if seal.version != 1 and is_signed(seal) and checkpoint_of(seal).accounts != accounts.opened:
            self._fold.report(Fault.SEAL_MISMATCH, f"seal {seal.seal_id}")
        if not self._declarations.may_seal(seal.public_key):
            self._fold.report(Fault.SEAL_KEY_UNKNOWN, f"seal {seal.seal_id}")

    def answer(self, answer: Answer) -> None:
        """What the other lane says of a page."""
        for seq in answer.mismatched:
            self._fold.report(Fault.HASH_MISMATCH, f"entry {seq}")
        for seq in answer.uncanonical:
            self._fold.report(Fault.NOT_CANONICAL, f"entry {seq}")
        for seq, _, root, frontier in answer.roots:
            seal = self._by_end.pop(seq)
            said = (seal.log_root, seal.frontier, seal.state_root)
            if said != (root, frontier, self._state_roots.get(seq)):
                self._fold.report(Fault.SEAL_MISMATCH, f"seal {seal.seal_id}")
        if answer.subtrees:
            self._subtrees(answer)

    def _subtrees(self, answer: Answer) -> None:
        windows = [Window(height, place, place + 1) for height, place, _ in answer.subtrees]
        stored = self._snapshot.subtrees(_joined(windows))
        for height, place, root in answer.subtrees:
            if stored.get((height, place), bytes.fromhex(root)).hex() != root:
                self._fold.report(Fault.SUBTREE_MISMATCH, f"subtree {height}/{place}")

    def finish(self, head: int) -> None:
        """The chain from seal to seal, signatures and cosignatures."""
        report = self._fold.report
        for seal in self._by_end.values():
            report(Fault.SEAL_MISMATCH, f"seal {seal.seal_id}")
        last = self._since
        for seal in self.all:
            if not follows(seal, last):
                report(Fault.SEAL_MISMATCH, f"seal {seal.seal_id}")
            if not is_signed(seal):
                report(Fault.SEAL_UNSIGNED, f"seal {seal.seal_id}")
            last = seal
        after = 0 if last is None else last.to_seq
        if after < head:
            report(Notice.UNSEALED, f"entries {after + 1} to {head}")
        known = {seal.seal_id: seal for seal in self.all}
        for item in self._snapshot.cosignatures(list(known) if self._since is not None else None):
            if not _is_cosigned(known.get(item.seal_id), item):
                report(Fault.COSIGNATURE_INVALID, f"seal {item.seal_id} witness {item.public_key}")


def _is_cosigned(seal: Seal | None, item: Cosignature) -> bool:
    """Whether a witness's line below a seal holds, and is of the key and time it is filed under."""
    if seal is None:
        return False
    try:
        line = parse_signature(item.signature)
        key = VerifierKey(line.name, Algorithm.COSIGNATURE, item.public_key)
        found = signers(Note(parse_note(seal.note).text, (line,)), [key])
    except (BitHiveError, ValueError):
        return False
    return [signed.at_s for signed in found] == [item.witnessed_ms // 1000]


def _joined(windows: list[Window]) -> list[Window]:
    """Windows that touch as one."""
    joined: list[Window] = []
    for window in sorted(windows):
        if joined and joined[-1].height == window.height and joined[-1].end == window.first:
            joined[-1] = joined[-1]._replace(end=window.end)
        else:
            joined.append(window)
    return joined
