"""Data classes and memory: no Offer ever reaches a cell that may not have it, or could not hold it."""

from hypothesis import given
from hypothesis import strategies as st

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.offer import DataClass
from cluster.cell_record import CellRecord
from cluster.filters import why_not, within
from tests.common.network import SHA256, make_offer

_CLOCK = ManualClock()
_IDS = SeededIds(1, _CLOCK)
_INSTITUTIONS = [_IDS.new("ins") for _ in range(3)]
_OFFER = make_offer(_IDS, _CLOCK, _INSTITUTIONS[0])

NEEDED = _OFFER.offer.memory_bytes

classes = st.sampled_from(list(DataClass))
cells = st.builds(
    CellRecord,
    cell=st.just("cel_x"),
    institution=st.sampled_from([None, *_INSTITUTIONS]),
    operator=st.just("operator"),
    cell_key=st.just("0" * 64),
    data_class_max=classes,
    bundles=st.sampled_from([frozenset({SHA256}), frozenset()]),
    seen_ms=st.just(0),
    vetted=st.booleans(),
    memory_bytes=st.sampled_from([0, NEEDED - 1, NEEDED, NEEDED + 1]),
)


@given(cell=cells, data_class=classes, institution=st.sampled_from(_INSTITUTIONS))
def test_no_cell_receives_what_it_may_not(cell: CellRecord, data_class: DataClass, institution: str) -> None:
    offer = make_offer(_IDS, _CLOCK, institution, data_class=data_class).offer
    if why_not(cell, offer) is None:
        assert SHA256 in cell.bundles
        assert data_class.value <= cell.data_class_max.value
        assert cell.memory_bytes >= NEEDED
        assert (
            data_class is DataClass.P0
            or cell.institution == institution
            or (data_class is DataClass.P1 and cell.vetted)
        )


def cell(institution: str, memory_bytes: int) -> CellRecord:
    bundles = frozenset({SHA256})
    return CellRecord("cel_x", institution, "o", "0" * 64, DataClass.P3, bundles, 0, memory_bytes=memory_bytes)


def test_the_reason_is_told() -> None:
    assert why_not(cell(_INSTITUTIONS[0], NEEDED), _OFFER.offer) is None
    assert why_not(cell(_INSTITUTIONS[1], NEEDED), _OFFER.offer) == "foreign-institution"


def test_memory_is_the_reason_only_where_it_is_the_last_one() -> None:
    assert why_not(cell(_INSTITUTIONS[0], NEEDED - 1), _OFFER.offer) == "memory-too-small"
    assert why_not(cell(_INSTITUTIONS[1], NEEDED - 1), _OFFER.offer) == "foreign-institution"


@given(classes, classes)
def test_within_is_the_order_of_the_names(one: DataClass, other: DataClass) -> None:
    assert within(one, other) == (one.value <= other.value)
