"""A range with its basis: never a promise, never more than the pool."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import BadMessage
from cluster.likely import Rates, likely
from cluster.node_benchmark import Speed
from cluster.timetable import Timetable

SPEEDS = [Speed("lungs_ct", 100, 50), Speed("intracranial_t1", 1500, 1500), Speed("brain_ct", 5000, 10_000)]
RATES = Rates("BTT", 24, 1_000_000_000_000, 10_000_000, 3)
NOW_MS = 1_795_392_000_000


def test_a_day_of_the_reference_machine() -> None:
    found = likely(SPEEDS, 1, Timetable(), NOW_MS, RATES)
    own, network = 6600 * 3_600_000 // 11_550 * 24, 10_000_000
    assert found.high == RATES.pool * own // (network + own)
    assert found.low == RATES.pool // 4
    assert "no promise" in found.lines[0] and any("24.0 h a day" in line for line in found.lines)


def test_half_the_day_is_less_and_nothing_known_says_so() -> None:
    half = likely(SPEEDS, 1, Timetable.parse("00:00-12:00"), NOW_MS, RATES)
    assert half.high < likely(SPEEDS, 1, Timetable(), NOW_MS, RATES).high
    for found in (
        likely([], 1, Timetable(), NOW_MS, RATES),
        likely(SPEEDS, 1, Timetable(), NOW_MS, None),
        likely(SPEEDS, 1, Timetable(), NOW_MS, Rates("BTT", 24, 0, 0, 0)),
    ):
        assert (found.low, found.high) == (0, 0) and "cannot be said" in found.lines[0]


@given(
    st.lists(st.builds(Speed, st.just("b"), st.integers(1, 10**6), st.integers(1, 10**6)), max_size=6),
    st.integers(1, 200),
    st.builds(
        Rates,
        st.just("BTT"),
        st.integers(1, 168),
        st.integers(0, 10**15),
        st.integers(0, 10**12),
        st.integers(0, 10**6),
    ),
)
def test_the_range_is_one_and_within_the_pool(speeds: list[Speed], slots: int, rates: Rates) -> None:
    found = likely(speeds, slots, Timetable(), NOW_MS, rates)
    assert 0 <= found.low <= found.high <= rates.pool * 24 // rates.hours


@pytest.mark.parametrize("value", [None, {}, RATES.to_json() | {"hours": 0}, RATES.to_json() | {"pool": -1}])
def test_what_a_hub_tells_is_read_strictly(value: object) -> None:
    assert Rates.from_json(RATES.to_json()) == RATES
    with pytest.raises(BadMessage):
        Rates.from_json(value)
