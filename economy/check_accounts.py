"""The checker's accounts: totals by place in arrays, so that millions of them fit, and the tree over them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator

from economy.book import Balance
from economy.chart import Chart
from economy.merkle import EMPTY_ROOT, Frontier
from economy.state_tree import Moved
from economy.store import Snapshot

_PAGE = 20_000
_HASH = 32
UNTOUCHED, CLEAN, DIRTY = 0, 1, 2


class Accounts:
    """Every account, by its place in the order in which they were opened.

    Attributes
    ----------
    names
        Place by name.
    text, ids, assets, limits
        Name, number, asset number and limit, as they are stored.
    debit_pending, debit_posted, credit_pending, credit_posted
        The totals as the log says they are.
    stored
        The same four as they are stored.
    touched
        Whether an entry has named it, and since the last seal.
    opened
        How many entries have named.
    """

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.text: list[str] = []
        self.ids, self.assets, self.limits = array("q"), array("q"), array("b")
        self.debit_pending, self.debit_posted = array("q"), array("q")
        self.credit_pending, self.credit_posted = array("q"), array("q")
        self.stored = tuple(array("q") for _ in range(4))
        self.touched = bytearray()
        self.dirty: list[int] = []
        self.opened = 0
        self.wrong_limits: list[str] = []

    @classmethod
    def load(cls, snapshot: Snapshot, chart: Chart, moved: Moved | None, opened: int) -> Accounts:
        """Read them, page by page; with the totals that they had at a seal, or none."""
        found, after = cls(), 0
        while page := snapshot.accounts(after_id=after, limit=_PAGE):
            after = page[-1].account_id
            for balance in page:
                found._add(balance, chart, moved)
        found.opened = opened
        found.touched[:opened] = bytes([CLEAN]) * opened
        return found

    def _add(self, balance: Balance, chart: Chart, moved: Moved | None) -> None:
        name = str(balance.account)
        self.names[name] = len(self.text)
        self.text.append(name)
        self.ids.append(balance.account_id)
        self.assets.append(balance.asset_id)
        self.limits.append(int(balance.limit))
        self.touched.append(UNTOUCHED)
        for column, amount in zip(self.stored, _totals(balance), strict=True):
            column.append(amount)
        kind = chart.get(balance.account.code)
        if kind is None or kind.limit is not balance.limit:
            self.wrong_limits.append(name)
        start = (0, 0, 0, 0) if moved is None else _totals(moved.before(balance))
        for column, amount in zip(self.columns(), start, strict=True):
            column.append(amount)

    def columns(self) -> tuple[array[int], array[int], array[int], array[int]]:
        """The four totals, in the order of `stored`."""
        return self.debit_pending, self.debit_posted, self.credit_pending, self.credit_posted

    def touch(self, place: int) -> bool:
        """Note that an entry names an account; whether it is opened when its turn has come."""
        in_turn = True
        if self.touched[place] == UNTOUCHED:
            in_turn = place == self.opened
            self.opened += 1
        self.touched[place] = DIRTY
        self.dirty.append(place)
        return in_turn

    def leaf(self, place: int) -> bytes:
        """Leaf hash of the state tree: the canonical JSON of an account's totals."""
        text = (
            f'{{"account":"{self.text[place]}","credit_pending":"{self.credit_pending[place]}",'
            f'"credit_posted":"{self.credit_posted[place]}","debit_pending":"{self.debit_pending[place]}",'
            f'"debit_posted":"{self.debit_posted[place]}"}}'
        )
        return hashlib.sha256(b"\x00" + text.encode()).digest()

    def root_by_name(self) -> bytes:
        """State root of a seal of version 1: over the accounts named so far, ordered by name."""
        places = (place for _, place in sorted(self.names.items()) if self.touched[place] != UNTOUCHED)
        return Frontier().extend(map(self.leaf, places)).root()

    def spent(self, place: int) -> int:
        """By how much a credit-limited account is above its limit, if that is above 0."""
        return self.debit_pending[place] + self.debit_posted[place] - self.credit_posted[place]

    def received(self, place: int) -> int:
        """By how much a debit-limited account is above its limit, if that is above 0."""
        return self.credit_pending[place] + self.credit_posted[place] - self.debit_posted[place]

    def of_code(self, code: str, asset: str) -> Iterator[int]:
        """Places of all accounts of one code and asset."""
        end = f":{code}:{asset}"
        return (place for place, name in enumerate(self.text) if name.endswith(end))


class BalanceTree:
    """The state tree as it grows and changes: a seal hashes again only what moved since the one before."""

    def __init__(self) -> None:
        self._levels = [bytearray()]

    def update(self, accounts: Accounts) -> bytes:
        """Take over what is dirty; the root."""
        size, leaves = accounts.opened, self._levels[0]
        leaves.extend(bytes(_HASH * size - len(leaves)))
        changed = {place for place in accounts.dirty if place < size}
        for place in changed:
            leaves[place * _HASH : (place + 1) * _HASH] = accounts.leaf(place)
        for place in accounts.dirty:
            accounts.touched[place] = CLEAN
        accounts.dirty.clear()
        return self._climb(changed, size)

    def _climb(self, changed: set[int], size: int) -> bytes:
        sha256, height = hashlib.sha256, 0
        if not size:
            return EMPTY_ROOT
        while size > 1:
            below, size = self._levels[height], (size + 1) // 2
            height += 1
            if height == len(self._levels):
                self._levels.append(bytearray())
            level = self._levels[height]
            if len(level) < size * _HASH:
                level.extend(bytes(size * _HASH - len(level)))
            changed = {place >> 1 for place in changed}
            for place in changed:
                pair = bytes(below[2 * place * _HASH : (2 * place + 2) * _HASH])
                node = sha256(b"\x01" + pair).digest() if len(pair) == 2 * _HASH else pair
                level[place * _HASH : (place + 1) * _HASH] = node
        return bytes(self._levels[height][:_HASH])


def _totals(balance: Balance) -> tuple[int, int, int, int]:
    return balance.debit_pending, balance.debit_posted, balance.credit_pending, balance.credit_posted
