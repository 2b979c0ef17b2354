"""What was declared and what was kept, hour by hour; the hub's own absence is nobody's fault."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bithive.offer import DataClass
from bithive.outbox import Event
from cluster.cell_record import CellRecord, NodeRecord
from cluster.cell_store import MemoryCellStore
from cluster.online import STRETCH_MS, Attendance
from cluster.online_store import MemoryOnlineStore
from cluster.protocol_node import NodeState
from economy.events import NodeOnline

CELL, NODE = "cel_01MCC5RM00Z8WTXDJ1YW00V1Z5", "nod_01MCC5RM00Z8WTXDJ1YW00V1Z5"
START_MS = 1_799_996_400_000 // STRETCH_MS * STRETCH_MS
MINUTE_MS = 60_000


class Hub:
    """A network side whose minutes a test plays."""

    def __init__(self, timetable: dict[str, Any] | None = None) -> None:
        self.cells, self.store = MemoryCellStore(), MemoryOnlineStore()
        self.events: list[Event] = []
        self.now_ms = START_MS
        cell = CellRecord(CELL, None, "operator", "0" * 64, DataClass.P0, frozenset(), 1)
        self.cells.greet(cell, [NodeRecord(NODE, CELL, "1" * 64, 1, 1, timetable=timetable or {})])
        self.start()

    def start(self) -> None:
        self.attendance = Attendance(self.store, self.cells, self.tell)

    def tell(self, events: Sequence[Event]) -> None:
        known = {event.key for event in self.events}
        self.events += [event for event in events if event.key not in known]

    def declare(self, timetable: dict[str, Any]) -> None:
        node = self.cells.node(NODE)
        assert node is not None
        self.cells.amend(replace(node, timetable=timetable))

    def minutes(self, count: int, state: NodeState | None = NodeState.UP) -> None:
        """So many minutes, with a sign of life every 20 s unless there is no state."""
        for _ in range(count * 3):
            self.now_ms += 20_000
            if state is not None:
                self.attendance.hear(CELL, {NODE: state}, self.now_ms)
            self.attendance.tick(self.now_ms)

    def told(self) -> list[tuple[float, float]]:
        """Minutes declared and kept of each hour that was told."""
        read = [NodeOnline.read(event.body) for event in self.events]
        return [(event.declared_ms / MINUTE_MS, event.kept_ms / MINUTE_MS) for event in read]


def test_a_node_that_stays_keeps_what_it_declared() -> None:
    hub = Hub()
    hub.minutes(182)
    first, *more = hub.told()
    assert first == (60 - 1 / 3, 60 - 1 / 3), "from its first sign of life on"
    assert more == [(60, 60), (60, 60)]
    event = NodeOnline.read(hub.events[1].body)
    assert (event.node, event.operator, event.from_ms) == (NODE, "operator", START_MS + STRETCH_MS)
    assert hub.events[1].key == f"{NODE}/{event.from_ms}"


def test_silence_within_the_declared_time_counts() -> None:
    hub = Hub()
    hub.minutes(62)
    hub.minutes(28, None)
    hub.minutes(32)
    declared, kept = hub.told()[1]
    assert (declared, round(kept)) == (60, 32)


def test_a_short_silence_is_none() -> None:
    hub = Hub()
    hub.minutes(70)
    for _ in range(20):
        hub.now_ms += 59_000
        hub.attendance.hear(CELL, {NODE: NodeState.UP}, hub.now_ms)
        hub.attendance.tick(hub.now_ms)
    hub.minutes(35)
    assert hub.told()[1] == (60, 60)


@pytest.mark.parametrize(("state", "share"), [(NodeState.DRAINING, 1), (NodeState.PAUSED, 0), (NodeState.UP, 1)])
def test_which_states_are_there(state: NodeState, share: int) -> None:
    hub = Hub()
    hub.minutes(60)
    hub.minutes(62, state)
    declared, kept = hub.told()[1]
    assert (declared, round(kept)) == (60, 60 * share)


def window(start_minute: int, end_minute: int) -> dict[str, Any]:
    """Those minutes of each hour of the day on which the tests begin, as a timetable."""
    day = (START_MS // 86_400_000 + 3) % 7 * 1440
    hours = START_MS % 86_400_000 // STRETCH_MS
    spans = [[(day + (hours + n) * 60 + start_minute) % 10_080, 0] for n in range(6)]
    return {"windows": [[start, start + end_minute - start_minute] for start, _ in spans], "zone": "UTC"}


def test_only_declared_time_counts() -> None:
    hub = Hub(window(10, 40))
    hub.minutes(60)
    hub.minutes(25)
    hub.minutes(37, NodeState.AWAY)
    assert [(declared, round(kept)) for declared, kept in hub.told()] == [(30, 30), (30, 15)]


def test_outside_its_window_it_may_be_off_and_is_expected_again() -> None:
    hub = Hub(window(10, 40))
    hub.minutes(45)
    hub.minutes(1, NodeState.AWAY)
    hub.minutes(136, None)
    assert hub.told() == [(30, 30), (30, 0), (30, 0)]


def test_a_timetable_changed_afterwards_does_not_excuse() -> None:
    hub = Hub()
    hub.minutes(65)
    hub.minutes(50, None)
    hub.declare(window(0, 5))
    hub.minutes(67)
    assert [(declared, round(kept)) for declared, kept in hub.told()[1:]] == [(60, 10), (5, 5)]


def test_leaving_ends_the_hour_and_then_nothing_is_declared() -> None:
    hub = Hub()
    hub.minutes(70)
    hub.minutes(1, NodeState.AWAY)
    hub.minutes(180, None)
    assert [(declared, round(kept)) for declared, kept in hub.told()[1:]] == [(60, 10)]
    hub.minutes(120)
    assert len(hub.told()) == 4
    assert hub.told()[2][0] < 60


def test_who_never_comes_back_is_forgotten() -> None:
    hub = Hub()
    hub.minutes(30)
    for _ in range(9 * 24 * 2):
        hub.now_ms += 1_800_000
        for _ in range(2):
            hub.now_ms += 1
            hub.attendance.tick(hub.now_ms)
    assert hub.store.stretches() == []


def test_time_in_which_the_hub_was_down_is_not_declared() -> None:
    hub = Hub()
    hub.minutes(75)
    hub.attendance.close(hub.now_ms)
    hub.now_ms += 20 * MINUTE_MS
    hub.start()
    hub.minutes(27)
    declared, kept = hub.told()[1]
    assert (round(declared), kept) == (40, declared)


def test_a_hub_that_is_killed_loses_a_few_seconds_of_both() -> None:
    hub = Hub()
    hub.minutes(75)
    hub.now_ms += 10_000
    hub.attendance.hear(CELL, {NODE: NodeState.UP}, hub.now_ms)
    hub.now_ms += 5 * 60 * MINUTE_MS
    hub.start()
    hub.minutes(65)
    told = hub.told()
    assert told[1] == (15, 15)
    assert all(kept == declared for declared, kept in told)


def test_a_hub_that_was_suspended_saw_nothing() -> None:
    hub = Hub()
    hub.minutes(70)
    hub.now_ms += 30 * MINUTE_MS
    hub.minutes(23)
    declared, kept = hub.told()[1]
    assert (round(declared), kept) == (30, declared)


def test_what_was_told_is_told_once_whenever_the_hub_dies() -> None:
    hub = Hub()
    hub.minutes(60)
    drop, hub.store.drop = hub.store.drop, lambda *_: (_ for _ in ()).throw(OSError)  # type: ignore[method-assign]
    with pytest.raises(OSError):
        hub.minutes(2)
    assert len(hub.events) == 1
    hub.store.drop = drop  # type: ignore[method-assign]
    hub.start()
    hub.minutes(3)
    assert len(hub.events) == 1
    assert len(hub.store.stretches()) == 1


def test_a_clock_that_goes_back_harms_nobody() -> None:
    hub = Hub()
    hub.minutes(70)
    hub.now_ms -= 15 * MINUTE_MS
    hub.minutes(130)
    assert all(kept <= declared <= 60 for declared, kept in hub.told())


@pytest.mark.parametrize("told", [{"windows": 3}, {"windows": [[1, 2]], "zone": "No/Where"}])
def test_a_timetable_that_cannot_be_read_excuses_nobody(told: dict[str, Any]) -> None:
    hub = Hub(told)
    hub.minutes(62)
    hub.minutes(62, None)
    assert hub.told()[1][0] == 60


def test_a_revoked_node_is_not_told_of() -> None:
    hub = Hub()
    hub.minutes(30)
    node = hub.cells.node(NODE)
    assert node is not None
    hub.cells.amend(replace(node, revoked_ms=5))
    hub.minutes(40)
    assert hub.told() == []
