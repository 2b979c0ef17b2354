"""Parts of the checker against the code that they check: computed twice, by two ways."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from economy.book import Balance
from economy.chart import CHART, Limit
from economy.check_accounts import Accounts, BalanceTree
from economy.check_declared import Declarations
from economy.check_epochs import EpochBook, _emitted
from economy.check_fold import Fold
from economy.check_seals import Seals, _joined
from economy.entry import Account, Policy
from economy.proof_store import Window
from economy.rewards import Emission
from economy.seal import state_root, state_root_v1
from economy.store import MemoryStore


def test_the_state_tree_grows_and_changes_as_the_whole_one_does():
    accounts, tree, seed = Accounts(), BalanceTree(), 7
    balances = [
        Balance(number, Account(f"pty_{number * 7919 % 101:03d}", "credit", "COIN"), 1, Limit.CREDIT)
        for number in range(1, 90)
    ]
    for balance in balances:
        accounts._add(balance, CHART, None)
    for step in range(60):
        seed = seed * 1103515245 + 12345 & 0x7FFFFFFF
        for place in {seed % (step + 1), (seed >> 8) % (step + 1), step}:
            accounts.touch(place)
            accounts.credit_posted[place] += seed % 1000
            balances[place].credit_posted += seed % 1000
        assert accounts.root_by_name() == state_root_v1(balances[: accounts.opened])
        if step % 3 == 0:
            assert tree.update(accounts) == state_root(balances[: accounts.opened])
    assert accounts.wrong_limits == []


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(0, 10**12)), min_size=1, max_size=5, unique_by=lambda item: item[0]
    ),
    st.integers(0, 2 * 10**9),
)
def test_emission_is_computed_twice(steps, at_ms):
    content = {"asset": "BTT", "steps": [{"from_ms": start, "per_day": amount} for start, amount in sorted(steps)]}
    assert _emitted(content, at_ms) == Emission.read(Policy("emission", 1, 0, json.dumps(content))).until(at_ms)


def test_windows_that_touch_are_read_at_once():
    assert _joined([Window(8, 1, 2), Window(8, 0, 1), Window(16, 0, 1), Window(8, 3, 4)]) == [
        Window(8, 0, 2),
        Window(8, 3, 4),
        Window(16, 0, 1),
    ]


def test_an_empty_ledger_folds_to_nothing():
    store = MemoryStore()
    with store.reading() as snapshot:
        accounts = Accounts.load(snapshot, CHART, None, 0)
        fold = Fold(snapshot, accounts)
        declarations = Declarations(fold, snapshot)
        EpochBook(fold, accounts, snapshot).finish()
        Seals(fold, accounts, declarations, snapshot).finish(0)
        declarations.finish()
        fold.duplicates()
    assert fold.findings == []
