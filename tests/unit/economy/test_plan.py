from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from economy.book import Balance, Book, Changes, Head, Pending
from economy.chart import CHART, Limit
from economy.entry import (
    Account,
    Asset,
    Entry,
    Key,
    Party,
    PendingRef,
    PeriodClose,
    Policy,
    hold,
    move,
    release,
    settle,
)
from economy.errors import InsufficientFunds, PeriodClosed
from economy.plan import decide, expire, split


@given(
    st.integers(0, 10**15),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=40).filter(any),
)
def test_a_split_loses_nothing_and_is_within_one_of_exact(amount, weights):
    shares = split(amount, weights)
    total = sum(weights)
    assert sum(shares) == amount
    for share, weight in zip(shares, weights, strict=True):
        assert amount * weight // total <= share <= amount * weight // total + 1
        assert weight or not share


def test_the_largest_remainders_get_the_rest_and_the_first_of_equals():
    assert split(10, [1, 1, 1]) == [4, 3, 3]
    assert split(11, [1, 1, 1]) == [4, 4, 3]
    assert split(100, [333, 333, 334]) == [33, 33, 34]
    assert split(1, [1, 2]) == [0, 1]
    assert split(0, [1, 2]) == [0, 0]


@pytest.mark.parametrize(("amount", "weights"), [(-1, [1]), (1, [0]), (1, [2, -1])])
def test_nonsense_is_our_own_defect(amount, weights):
    with pytest.raises(AssertionError):
        split(amount, weights)


NOW_US = 1_800_000_000_000_000
OWNERS = [f"pty_{number:026d}" for number in range(3)]
PURSES = [Account(owner, "credit", "COIN") for owner in OWNERS]


def book_of(*amounts):
    """A book with a purse for each amount."""
    book = Book(Head(10, NOW_US - 5, len(amounts), 1, 3), NOW_US)
    for number, amount in enumerate(amounts):
        purse = PURSES[number]
        book.balances[purse] = Balance(number + 1, purse, 1, Limit.CREDIT, credit_posted=amount)
    book.parties = {owner: (number + 1, "node") for number, owner in enumerate(OWNERS)}
    book.assets = {"COIN": (1, Asset("COIN", 2, "test"))}
    return book


def test_what_expired_in_a_period_closed_since_is_released_with_todays_date():
    for closed_until_ms, told, effective_ms in (
        (0, b"effective_ms", NOW_US // 1000 - 9),
        (NOW_US // 1000 - 8, b"value_date_was", NOW_US // 1000),
    ):
        book = book_of(5, 0)
        book.closed_until_ms = closed_until_ms
        debit, credit = book.balances.values()
        debit.debit_pending = credit.credit_pending = 5
        book.due = [Pending(3, 0, "hold/1", debit, credit, 5, (NOW_US // 1000 - 9) * 1000, resolved=False)]
        assert expire(book, CHART) == 1
        row = book.changes.entries[0]
        assert row.effective_ms == effective_ms
        assert told in row.content.encode()
        assert (debit.debit_pending, credit.credit_pending) == (0, 0)


def test_a_value_date_in_a_closed_period_is_refused_before_anything_is_looked_at():
    book = book_of(5, 0)
    book.closed_until_ms = 1000
    with pytest.raises(PeriodClosed) as refused:
        decide(book, Entry("a", "x", (move(PURSES[0], PURSES[1], 1),), effective_ms=999), CHART)
    assert refused.value.context == {"closed_until_ms": 1000}
    decide(book, Entry("a", "x", (move(PURSES[0], PURSES[1], 1),), effective_ms=1000), CHART)


def test_a_refused_entry_leaves_the_book_as_it_was():
    """Everything that an entry may change, and then one leg too many."""
    book = book_of(9, 0)
    decide(book, Entry("hold", "x", (hold(PURSES[0], PURSES[1], 4, None),)), CHART)
    decide(book, Entry("key", "x", declares=(Key("ab" * 32, "seal", OWNERS[0]),)), CHART)
    before, changed = repr(book), repr(book.changes)
    everything = Entry(
        "all",
        "x",
        (
            settle(PendingRef("hold", 0), 1),
            move(PURSES[0], PURSES[2], 2),
            hold(PURSES[0], PURSES[1], 1, 60),
            move(PURSES[1], PURSES[2], 500),
        ),
        declares=(
            Asset("NEW", 0, "test"),
            Party("pty_" + "Z" * 26, "node"),
            Policy("rule", 1, 0, "{}"),
            Key("ab" * 32, "seal", OWNERS[0], revoked=True),
            Key("cd" * 32, "officer", OWNERS[1]),
            PeriodClose(NOW_US // 1000 - 5),
        ),
    )
    with pytest.raises(InsufficientFunds):
        decide(book, everything, CHART)
    assert repr(book) == before
    assert repr(book.changes) == changed
    assert book.changes != Changes()
    decide(book, Entry("void", "x", (release(PendingRef("hold", 0)),)), CHART)
