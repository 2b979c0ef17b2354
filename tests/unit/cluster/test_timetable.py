"""Weekly windows against a clock on the wall that is read minute by minute."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import BadTimetable
from cluster.timetable import DAY_MINUTES, WEEK_MINUTES, Timetable

MINUTE = 60_000
HOUR = 60 * MINUTE


def ms(text: str, zone: str = "UTC") -> int:
    place = UTC if zone == "UTC" else ZoneInfo(zone)
    return round(datetime.fromisoformat(text).replace(tzinfo=place).timestamp() * 1000)


def on_the_wall(table: Timetable, at_ms: int) -> bool:
    """The definition itself: what the clock on the wall shows, looked up."""
    place = UTC if table.zone == "UTC" else ZoneInfo(table.zone)
    local = datetime.fromtimestamp(at_ms / 1000, place)
    minute = local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
    return any(start <= minute < end or start <= minute + WEEK_MINUTES < end for start, end in table.windows)


def test_without_windows_it_is_always_open() -> None:
    table = Timetable()
    assert table.always and table.open_at(0) and table.next_change_ms(0) is None
    assert table.declared_ms(0, HOUR) == HOUR
    assert Timetable.parse("always") == table == Timetable.parse("  ")
    assert Timetable.parse("mon-sun 00:00-24:00").always
    assert Timetable(((100, 100 + WEEK_MINUTES),)).always


def test_a_night_on_workdays() -> None:
    table = Timetable.parse("mon-fri 18:00-08:00")
    assert table.open_at(ms("2026-11-23T18:00")) and not table.open_at(ms("2026-11-23T17:59:59.999"))
    assert table.open_at(ms("2026-11-28T07:59")), "Friday's night ends on Saturday"
    assert not table.open_at(ms("2026-11-28T08:00"))
    assert not table.open_at(ms("2026-11-23T07:00")), "Sunday has no night"
    assert table.next_change_ms(ms("2026-11-23T12:00")) == ms("2026-11-23T18:00")
    assert table.next_change_ms(ms("2026-11-23T18:00")) == ms("2026-11-24T08:00")
    assert table.next_change_ms(ms("2026-11-28T09:00")) == ms("2026-11-30T18:00"), "over the weekend"
    assert table.declared_ms(ms("2026-11-23T00:00"), ms("2026-11-30T00:00")) == 5 * 14 * HOUR


def test_touching_windows_are_one_stretch() -> None:
    table = Timetable.parse("fri 18:00-24:00; sat,sun 00:00-24:00; mon 00:00-08:00")
    friday, monday = ms("2026-11-27T18:00"), ms("2026-11-30T08:00")
    assert table.next_change_ms(ms("2026-11-27T20:00")) == monday
    assert list(table.spans(ms("2026-11-27T00:00"), ms("2026-12-01T00:00"))) == [(friday, monday)]


@pytest.mark.parametrize(("date", "hours"), [("2026-03-28", 13), ("2026-10-24", 15), ("2026-11-07", 14)])
def test_a_night_is_as_long_as_the_clock_on_the_wall_makes_it(date: str, hours: int) -> None:
    table = Timetable.parse("18:00-08:00", "Europe/Berlin")
    start = ms(f"{date}T18:00", "Europe/Berlin")
    assert table.next_change_ms(start - 1) == start
    assert table.next_change_ms(start) == start + hours * HOUR


def test_a_window_in_the_hour_that_is_skipped_or_doubled() -> None:
    table = Timetable.parse("02:15-02:45", "Europe/Berlin")
    assert table.declared_ms(ms("2026-03-28T12:00"), ms("2026-03-29T12:00")) == 0
    assert table.declared_ms(ms("2026-10-24T12:00"), ms("2026-10-25T12:00")) == HOUR


def test_fixed_offsets() -> None:
    table = Timetable.parse("mon 00:00-01:00", "+05:30")
    assert table.open_at(ms("2026-11-22T18:30")) and not table.open_at(ms("2026-11-22T19:30"))
    assert Timetable.parse("mon 00:00-01:00", "-03:00").open_at(ms("2026-11-23T03:00"))


windows = st.lists(
    st.tuples(st.integers(0, WEEK_MINUTES - 1), st.integers(1, WEEK_MINUTES)).map(lambda pair: (pair[0], sum(pair))),
    max_size=5,
)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
instants = st.integers(ms("2026-01-01T00:00"), ms("2027-01-01T00:00"))


@settings(max_examples=150, deadline=None)
@given(windows, zones, instants, st.integers(1, 3000))
def test_it_is_what_the_clock_on_the_wall_says(pairs: list[tuple[int, int]], zone: str, at: int, length: int) -> None:
    table = Timetable(tuple(pairs), zone)
    assert table.open_at(at) == (not pairs or on_the_wall(table, at))
    start = at - at % MINUTE
    counted = sum(not pairs or on_the_wall(table, start + minute * MINUTE) for minute in range(length))
    assert table.declared_ms(start, start + length * MINUTE) == counted * MINUTE
    spans = list(table.spans(start, start + length * MINUTE))
    assert all(first < last for first, last in spans)
    assert all(before[1] < after[0] for before, after in pairwise(spans))


@settings(max_examples=100, deadline=None)
@given(windows, zones, instants)
def test_nothing_changes_before_the_next_change(pairs: list[tuple[int, int]], zone: str, at: int) -> None:
    table = Timetable(tuple(pairs), zone)
    change = table.next_change_ms(at)
    if change is None:
        assert table.declared_ms(at, at + 8 * 24 * HOUR) in (0, 8 * 24 * HOUR)
        return
    assert change > at
    assert table.open_at(at) == table.open_at(change - 1) != table.open_at(change)
    assert table.declared_ms(at, change) == (change - at if table.open_at(at) else 0)


@settings(max_examples=100, deadline=None)
@given(windows, zones)
def test_written_and_read_it_is_the_same(pairs: list[tuple[int, int]], zone: str) -> None:
    table = Timetable(tuple(pairs), zone)
    assert Timetable.from_json(table.to_json()) == table
    again = Timetable.parse(table.words(), zone)
    assert again._merged() == table._merged() or table.always == again.always


@pytest.mark.parametrize(
    "text", ["mon", "18:00", "mon 25:00-26:00", "mon 18:60-19:00", "moo 10:00-11:00", "mon 24:00-25:00", "mon-x 1-2"]
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(BadTimetable):
        Timetable.parse(text)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "+25:00", "+2", "A" * 99])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(BadTimetable):
        Timetable((), zone)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"windows": []},
        {"windows": [], "zone": 1},
        {"windows": [[1]], "zone": "UTC"},
        {"windows": [[1, True]], "zone": "UTC"},
        {"windows": [[-1, 5]], "zone": "UTC"},
        {"windows": [[5, 5]], "zone": "UTC"},
        {"windows": [[5, 10**9]], "zone": "UTC"},
        {"windows": [[0, 1]] * 1000, "zone": "UTC"},
        {"windows": [], "zone": "UTC", "more": 1},
    ],
)
def test_hostile_messages_are_refused(value: object) -> None:
    with pytest.raises(BadTimetable):
        Timetable.from_json(value)
