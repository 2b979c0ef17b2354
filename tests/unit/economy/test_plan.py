from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from economy.plan import split


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
