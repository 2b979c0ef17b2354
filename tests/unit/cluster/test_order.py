"""A cell would rather run what it has loaded, and nobody pays for it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.limits import WARM_PREFERENCE_S
from bithive.offer import DataClass, Urgency
from cluster.cell_record import CellRecord
from cluster.filters import why_not
from cluster.offers import OfferRecord
from cluster.order import choose
from tests.common.network import make_offer

COLD, WARM, FOREIGN = "aa" * 32, "bb" * 32, "cc" * 32
CLOCK = ManualClock()
IDS = SeededIds(1, CLOCK)
INSTITUTION = IDS.new("ins")
NOW_MS = CLOCK.now_ms()
CELL = CellRecord("cel_x", INSTITUTION, "o", "0" * 64, DataClass.P3, frozenset({COLD, WARM}), 0, memory_bytes=1 << 30)
_MADE = make_offer(IDS, CLOCK, INSTITUTION)


def record(bundle: str, *, age_s: float = 0, token: int = 0, **changes: Any) -> OfferRecord:
    offer = replace(_MADE.offer, offer_id=IDS.new("off"), bundle_sha256=bundle, **changes)
    received_ms = NOW_MS - round(age_s * 1000)
    return OfferRecord(offer, _MADE.keys, "0" * 64, 1, received_ms, received_ms, fencing_token=token)


def chosen(*waiting: OfferRecord, warm: frozenset[str] = frozenset({WARM})) -> OfferRecord | None:
    return choose(sorted(waiting, key=lambda item: item.rank), CELL, warm, NOW_MS)


def test_of_two_that_just_came_the_warm_one_is_first() -> None:
    first, second = record(COLD, age_s=1), record(WARM)
    assert chosen(first, second) == second
    assert chosen(first, second, warm=frozenset()) == first
    assert chosen(first, second, warm=frozenset({COLD, WARM})) == first
    assert chosen(first) == first
    assert chosen() is None


def test_at_the_limit_and_past_it() -> None:
    almost, past = record(COLD, age_s=WARM_PREFERENCE_S - 0.001), record(COLD, age_s=WARM_PREFERENCE_S)
    warm = record(WARM)
    assert chosen(almost, warm) == warm
    assert chosen(past, warm) == past


@pytest.mark.parametrize(
    "first",
    [record(COLD, urgency=Urgency.HIGH), record(COLD, token=1)],
    ids=["more urgent", "lost an Attempt"],
)
def test_what_is_never_passed_over(first: OfferRecord) -> None:
    assert chosen(first, record(WARM)) == first


def test_a_warm_one_that_the_cell_may_not_have_is_none() -> None:
    first = record(COLD)
    for other in (
        record(WARM, memory_bytes=1 << 31),
        record(WARM, institution=IDS.new("ins")),
        record(WARM, deadline_ms=NOW_MS, created_ms=1),
    ):
        assert chosen(first, other) == first


def test_it_looks_no_further_than_a_page() -> None:
    read = 0

    def waiting() -> Any:
        nonlocal read
        for _ in range(10_000):
            read += 1
            yield record(COLD)

    assert choose(waiting(), CELL, frozenset({WARM}), NOW_MS) is not None
    assert read <= 101


records = st.builds(
    record,
    st.sampled_from([COLD, WARM, FOREIGN]),
    age_s=st.sampled_from([0, 1, 1.999, 2, 2.001, 60]),
    token=st.sampled_from([0, 0, 1]),
    urgency=st.sampled_from(list(Urgency)),
    memory_bytes=st.sampled_from([1, 1 << 30, 1 << 31]),
)


@given(st.lists(records, max_size=8), st.sampled_from([frozenset(), frozenset({WARM}), frozenset({COLD, WARM})]))
def test_nothing_older_than_the_limit_is_passed_over(waiting: list[OfferRecord], warm: frozenset[str]) -> None:
    queue = sorted(waiting, key=lambda item: item.rank)
    found = choose(queue, CELL, warm, NOW_MS)
    possible = [item for item in queue if why_not(CELL, item.offer) is None]
    assert (found is None) == (not possible)
    if found is None:
        return
    passed = possible[: possible.index(found)]
    if passed:
        assert found.offer.bundle_sha256 in warm
        first = passed[0]
        assert first.fencing_token == 0
        assert NOW_MS - first.received_ms < WARM_PREFERENCE_S * 1000
        assert all(item.offer.urgency is found.offer.urgency for item in passed)
