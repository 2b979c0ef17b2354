"""What stays loaded, what goes, and what is refused before the machine notices."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import WorkFailed
from cluster.shelf import Room, Shelf, room
from cluster.work import Warm
from tests.common.network import Threshold, ThresholdEngine

A, B, C, D = ("aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32)
BASE = 100


@dataclass
class Machine:
    """A process that takes `BASE`, and what it has loaded; memory that is dropped comes back."""

    total: int = 10_000
    slot: int = 10_000
    others: int = 0
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys((A, B, C, D), 1_000))
    loads: list[str] = field(default_factory=list)
    warm_max: int = 10

    def __post_init__(self) -> None:
        self.shelf = Shelf(self.load, self.look, self.warm_max, lambda: None)

    def load(self, sha256: str) -> Warm:
        self.loads.append(sha256)
        if self.sizes[sha256] < 0:
            raise MemoryError
        return Warm(Threshold(sha256=sha256), ThresholdEngine(memory_bytes=self.sizes[sha256]))

    def look(self) -> Room:
        resident = BASE + sum(self.sizes[sha256] for sha256 in self.shelf.warm())
        return Room(self.total - resident - self.others, resident, self.slot)

    def take(self, sha256: str, peak: int) -> Warm:
        return self.shelf.take(sha256, peak)


def test_a_bundle_is_loaded_once_and_the_least_recently_used_goes() -> None:
    machine = Machine(warm_max=2)
    for sha256 in (A, B, A, C):
        assert machine.take(sha256, 1_500).bundle.sha256 == sha256
    assert machine.shelf.warm() == (A, C)
    machine.take(B, 1_500)
    assert machine.shelf.warm() == (C, B)
    assert machine.loads == [A, B, C, B]


def test_others_go_for_lack_of_memory_and_no_more_than_needed() -> None:
    machine = Machine(total=5_000)
    for sha256 in (A, B, C):
        machine.take(sha256, 1_500)
    machine.take(D, 3_000)
    assert machine.shelf.warm() == (B, C, D), "2,000 of others and 3,000 are all there is"
    machine.take(D, 3_001)
    assert machine.shelf.warm() == (C, D)
    machine.take(C, 5_000)
    assert machine.shelf.warm() == (C,)


def test_the_one_that_is_to_run_never_goes() -> None:
    machine = Machine(total=3_000)
    machine.take(A, 2_900)
    for _ in range(3):
        machine.take(A, 2_900)
    assert machine.loads == [A]
    with pytest.raises(WorkFailed, match="out-of-memory"):
        machine.take(A, 3_001)
    assert machine.shelf.warm() == (A,)


def test_what_can_never_fit_is_refused_before_anything_is_loaded() -> None:
    machine = Machine(total=3_000)
    machine.take(A, 1_500)
    with pytest.raises(WorkFailed) as caught:
        machine.take(B, 3_001)
    assert caught.value.failure == "out-of-memory"
    assert machine.loads == [A]


def test_a_slot_may_not_take_what_is_the_others() -> None:
    machine = Machine(total=100_000, slot=2_500)
    machine.take(A, 2_000)
    machine.take(B, 2_400)
    assert machine.shelf.warm() == (B,), "both and the peak of one would be more than the slot"
    machine.take(C, 1_500)
    assert machine.shelf.warm() == (B, C)
    with pytest.raises(WorkFailed, match="out-of-memory"):
        machine.take(A, 2_501)


def test_what_others_on_the_machine_take_counts() -> None:
    machine = Machine(total=5_000, others=3_000)
    machine.take(A, 2_000)
    machine.others = 3_500
    with pytest.raises(WorkFailed, match="out-of-memory"):
        machine.take(A, 2_000)
    machine.others = 3_000
    assert machine.take(A, 2_000)


def test_a_load_that_fails_leaves_the_rest() -> None:
    machine = Machine()
    machine.take(A, 1_500)
    machine.sizes[B] = -1
    for _ in range(2):
        with pytest.raises(MemoryError):
            machine.take(B, 1_500)
    assert machine.shelf.warm() == (A,)
    assert machine.take(A, 1_500)


def test_ahead_of_time_nothing_goes_for_it() -> None:
    machine = Machine(total=5_000, warm_max=3)
    machine.take(A, 1_500)
    assert machine.shelf.keep(B, 1_500)
    assert machine.shelf.keep(A, 10**9), "it is there already"
    assert not machine.shelf.keep(C, 4_000)
    assert machine.shelf.keep(C, 1_500)
    assert not machine.shelf.keep(D, 1_000)
    assert set(machine.shelf.warm()) == {A, B, C}
    machine.take(D, 1_000)
    assert A in machine.shelf.warm(), "what an Attempt asked for outlives what was loaded ahead of it"


@given(st.data())
def test_it_never_takes_more_than_it_may(data: st.DataObject) -> None:
    sizes = data.draw(st.fixed_dictionaries(dict.fromkeys((A, B, C, D), st.integers(1, 2_000))))
    machine = Machine(
        total=data.draw(st.integers(500, 6_000)),
        slot=data.draw(st.integers(500, 6_000)),
        sizes=sizes,
        warm_max=data.draw(st.integers(1, 4)),
    )
    for sha256, extra in data.draw(
        st.lists(st.tuples(st.sampled_from([A, B, C, D]), st.integers(0, 2_000)), max_size=9)
    ):
        peak = BASE + sizes[sha256] + extra
        alone = peak <= min(machine.total, machine.slot)
        try:
            machine.take(sha256, peak)
        except WorkFailed:
            assert not alone
            continue
        assert alone
        warm = machine.shelf.warm()
        assert warm[-1] == sha256
        assert len(warm) <= machine.warm_max
        others = sum(sizes[other] for other in warm if other != sha256)
        assert others + peak <= min(machine.total, machine.slot)


def test_the_room_is_that_of_this_process() -> None:
    found = room(1 << 40)
    assert found.resident_bytes > 1 << 20
    assert found.free_bytes > 1 << 20
    assert found.lacking(found.resident_bytes, 0) <= 0
    assert found.lacking(1 << 60, 0) > 0
    assert replace(found, slot_bytes=1).lacking(2, 0) == 1
