"""Which cells are live, and what they can run."""

from bithive.offer import DataClass
from cluster.cell_record import CellRecord
from cluster.presence import Presence

A, B = "aa" * 32, "bb" * 32


def cell(name: str, *bundles: str, memory_bytes: int = 1) -> CellRecord:
    return CellRecord(name, None, "o", "0" * 64, DataClass.P3, frozenset(bundles), 0, memory_bytes=memory_bytes)


def names(presence: Presence, bundle: str, now_ms: int) -> set[str]:
    return {record.cell for record in presence.running(bundle, now_ms)}


def test_a_cell_is_live_while_it_is_heard_of() -> None:
    presence = Presence(silence_s=10)
    presence.hear(cell("cel_1", A), 0)
    presence.hear(cell("cel_2", A, B), 5_000)
    assert names(presence, A, 10_000) == {"cel_1", "cel_2"}
    assert names(presence, A, 10_001) == {"cel_2"}
    presence.touch("cel_2", 12_000)
    assert names(presence, B, 22_000) == {"cel_2"}
    assert names(presence, B, 22_001) == set()
    assert names(presence, A, 0) == set(), "what fell silent is forgotten"


def test_nobody_comes_to_life_by_a_touch() -> None:
    presence = Presence()
    presence.touch("cel_1", 0)
    assert names(presence, A, 0) == set()


def test_what_a_cell_says_last_counts() -> None:
    presence = Presence()
    presence.hear(cell("cel_1", A, B), 0)
    presence.hear(cell("cel_1", B, memory_bytes=7), 1)
    assert names(presence, A, 1) == set()
    assert [record.memory_bytes for record in presence.running(B, 1)] == [7]
    presence.hear(cell("cel_1"), 2)
    assert names(presence, B, 2) == set()
    assert presence._running == {}


def test_many_cells_cost_little_and_leave_nothing() -> None:
    presence = Presence(silence_s=1)
    for number in range(2_000):
        presence.hear(cell(f"cel_{number}", A), number)
    assert len(names(presence, A, 2_000)) == 1_000
    assert len(presence._cells) == len(presence._running[A]) == 1_000
    assert names(presence, A, 10_000) == set()
    assert (presence._cells, presence._running) == ({}, {})
