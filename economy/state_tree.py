"""The tree over all balances as they were when a seal was made, to prove a balance from.

Only the newest totals are stored: an older state is what they are less everything that moved since. The tree of one
seal is read once, account by account, and remembered by the roots of its complete subtrees; a proof then reads at
most 512 accounts again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from economy.book import Balance, Seal, TransferRow
from economy.checkpoints import Checkpoint
from economy.entry import Phase
from economy.errors import LedgerFault
from economy.merkle import Frontier, inclusion_spans, leaf_hashes
from economy.paths import path
from economy.proof_store import SUBTREE_HEIGHTS, Window, state_leaf
from economy.seal import checkpoint_of
from economy.store import Snapshot

_PAGE = 20_000
_ENTRIES = 1_000
_NAMES = ("debit_pending", "debit_posted", "credit_pending", "credit_posted")


class Moved:
    """How much each account's totals changed after an entry, as far as it was followed: 32 bytes an account.

    Parameters
    ----------
    after_seq
        The entry whose state is wanted.
    accounts
        How many accounts there were; those opened later are no part of that state.
    """

    def __init__(self, after_seq: int, accounts: int) -> None:
        self._seq = after_seq
        self._totals = tuple(array("q", bytes(8 * accounts)) for _ in _NAMES)
        self._touched = bytearray(accounts)

    def follow(self, snapshot: Snapshot) -> None:
        """Add what was recorded since the last call, which must not have seen a later ledger."""
        head = snapshot.head().seq
        while self._seq < head:
            upto = min(self._seq + _ENTRIES, head)
            rows = snapshot.transfers(self._seq, upto)
            held = _held(snapshot, rows)
            for row in rows:
                self._add(row, held)
            self._seq = upto

    def touches(self, after_id: int, limit: int) -> bool:
        """Whether anything moved on one of the accounts after `after_id`."""
        return 1 in self._touched[after_id : after_id + limit]

    def before(self, balance: Balance) -> Balance:
        """The account as it was; changes and returns it."""
        for name, totals in zip(_NAMES, self._totals, strict=True):
            setattr(balance, name, getattr(balance, name) - totals[balance.account_id - 1])
        return balance

    def _add(self, row: TransferRow, held: dict[tuple[int, int], int]) -> None:
        pending = posted = 0
        if row.phase == Phase.PENDING:
            pending = row.amount
        elif row.pending_seq is not None and row.pending_leg is not None:
            pending = -held[row.pending_seq, row.pending_leg]
        if row.phase in (Phase.SINGLE, Phase.POST):
            posted = row.amount
        for number, column in ((row.debit_id, 0), (row.credit_id, 2)):
            if number <= len(self._touched):
                self._totals[column][number - 1] += pending
                self._totals[column + 1][number - 1] += posted
                self._touched[number - 1] = 1


def _held(snapshot: Snapshot, rows: Iterable[TransferRow]) -> dict[tuple[int, int], int]:
    """Amounts of the pending transfers that some transfers resolve."""
    held: dict[tuple[int, int], int] = {}
    for seq in sorted({row.pending_seq for row in rows if row.pending_seq is not None}):
        held.update({(leg.entry_seq, leg.leg): leg.amount for leg in snapshot.transfers(seq - 1, seq)})
    return held


class StateTree:
    """The state tree of one seal of version 2.

    Parameters
    ----------
    seal
        Of version 2.

    Raises
    ------
    LedgerFault
        If the ledger's balances are not those that the seal signed.
    """

    def __init__(self, seal: Seal, snapshot: Snapshot) -> None:
        self._said = checkpoint_of(seal)
        self._moved = Moved(seal.to_seq, self._said.accounts)
        self._moved.follow(snapshot)
        frontier = Frontier(keep=SUBTREE_HEIGHTS)
        while frontier.size < self._said.accounts:
            page = _Page(snapshot, self._moved, self._said).leaves(frontier.size, _PAGE)
            assert page, "accounts have no gap"
            frontier.extend(page)
        if frontier.root() != self._said.state_root:
            raise LedgerFault("the balances are not those that the seal signed; run bithive ledger check")
        self._roots = {(node.height, node.place): root for node, root in frontier.completed}

    def proof(self, snapshot: Snapshot, account_id: int) -> tuple[str, list[bytes]]:
        """The leaf of an account that had been opened, and its audit path."""
        self._moved.follow(snapshot)
        page = _Page(snapshot, self._moved, self._said, self._roots)
        leaf = state_leaf(page.balances(account_id - 1, 1)[0]).decode()
        return leaf, path(page, inclusion_spans(account_id - 1, self._said.accounts))


class _Page:
    """The state tree as a tree to find paths in."""

    def __init__(
        self,
        snapshot: Snapshot,
        moved: Moved,
        said: Checkpoint,
        roots: dict[tuple[int, int], bytes] | None = None,
    ) -> None:
        self._snapshot, self._moved, self._said, self._roots = snapshot, moved, said, roots or {}

    def balances(self, after: int, limit: int) -> list[Balance]:
        limit = min(limit, self._said.accounts - after)
        return [self._moved.before(item) for item in self._snapshot.accounts(after_id=after, limit=limit)]

    def leaves(self, after: int, limit: int) -> list[bytes]:
        limit = min(limit, self._said.accounts - after)
        if self._moved.touches(after, limit):
            return leaf_hashes(map(state_leaf, self.balances(after, limit)))
        return leaf_hashes(self._snapshot.state_leaves(after, limit))

    def subtrees(self, windows: Sequence[Window]) -> dict[tuple[int, int], bytes]:
        places = ((height, place) for height, first, end in windows for place in range(first, end))
        return {place: self._roots[place] for place in places if place in self._roots}
