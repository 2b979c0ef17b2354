"""When a machine is lent: weekly windows of its own local time.

A window is a stretch of the week in minutes since Monday 00:00, as the clock on its wall says; what that means in UTC
follows the zone's offset at each instant, so a window of 18:00 to 08:00 is an hour shorter in the night that loses one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bithive.limits import TIMETABLE_WINDOWS_MAX
from cluster.errors import BadTimetable

DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES

_MINUTE_MS = 60_000
_DAY_MS = DAY_MINUTES * _MINUTE_MS
_WEEK_MS = 7 * _DAY_MS
_EPOCH_WEEKDAY_MS = 3 * _DAY_MS  # 1970-01-01 was a Thursday
_LOOK_AHEAD_MS = 9 * _DAY_MS
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9][A-Za-z0-9_+-]{0,31}){0,2}")
_SPAN = re.compile(r"(?:([a-z,-]+)\s+)?(\d{2}):(\d{2})-(\d{2}):(\d{2})")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Timetable:
    """The windows of a machine; without any it is always lent.

    Attributes
    ----------
    windows
        Pairs of minutes since Monday 00:00 local time: from (0 to 10,079) and to (more than from, at most a week more).
    zone
        Name of an IANA time zone, `UTC`, or a fixed offset such as `+02:00`.

    Raises
    ------
    BadTimetable
        If a window or the zone is none, or there are too many windows.
    """

    windows: tuple[Span, ...] = ()
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.windows) > TIMETABLE_WINDOWS_MAX:
            raise BadTimetable("too many windows", windows_max=TIMETABLE_WINDOWS_MAX)
        for start, end in self.windows:
            if not 0 <= start < WEEK_MINUTES or not start < end <= start + WEEK_MINUTES:
                raise BadTimetable("a window begins within the week and is at most a week long")
        _zone(self.zone)

    @classmethod
    def parse(cls, text: str, zone: str = "UTC") -> Self:
        """Read `mon-fri 18:00-08:00; sat,sun 00:00-24:00`: days (all when left out) and times; an end before its start
        is on the next day; `always` or nothing is no window at all. Raises `BadTimetable`.
        """
        if text.strip().lower() in ("", "always"):
            return cls((), zone)
        windows = [window for part in text.lower().split(";") if part.strip() for window in _windows(part.strip())]
        return cls(tuple(sorted(set(windows))), zone)

    @property
    def always(self) -> bool:
        """Whether there is no instant at which the machine is not lent."""
        return not self.windows or self._merged() == ((0, WEEK_MINUTES),)

    def open_at(self, ms: int) -> bool:
        """Whether the machine is lent at an instant (milliseconds since the epoch)."""
        return self.always or next(iter(self.spans(ms, ms + 1)), None) is not None

    def next_change_ms(self, ms: int) -> int | None:
        """The first instant after `ms` at which a window begins or ends; None if there is none."""
        if self.always:
            return None
        end_ms = ms + _LOOK_AHEAD_MS
        for start, end in self.spans(ms, end_ms):
            if start > ms:
                return start
            return end if end < end_ms else None
        return None

    def declared_ms(self, from_ms: int, to_ms: int) -> int:
        """For how long of a stretch the machine is lent, in milliseconds."""
        return sum(end - start for start, end in self.spans(from_ms, to_ms))

    def spans(self, from_ms: int, to_ms: int) -> Iterator[Span]:
        """The lent stretches within a stretch, in order, touching ones joined; milliseconds since the epoch."""
        held: Span | None = None
        for start, end in self._pieces(from_ms, to_ms):
            if held is not None and held[1] == start:
                held = (held[0], end)
                continue
            if held is not None:
                yield held
            held = (start, end)
        if held is not None:
            yield held

    def words(self) -> str:
        """As `parse` reads it."""
        if not self.windows:
            return "always"
        days: dict[str, list[int]] = {}
        for day, times in (piece for window in self.windows for piece in _daily(window)):
            days.setdefault(times, []).append(day)
        return "; ".join(f"{_runs(sorted(set(those)))} {times}" for times, those in days.items())

    def to_json(self) -> dict[str, Any]:
        return {"windows": [list(window) for window in self.windows], "zone": self.zone}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadTimetable`."""
        if not isinstance(value, dict) or set(value) != {"windows", "zone"}:
            raise BadTimetable("the members are exactly windows and zone")
        windows, zone = value["windows"], value["zone"]
        if not isinstance(zone, str) or not isinstance(windows, list) or len(windows) > TIMETABLE_WINDOWS_MAX:
            raise BadTimetable("zone is no text, or windows no list, or too long", windows_max=TIMETABLE_WINDOWS_MAX)
        pairs = []
        for window in windows:
            if not isinstance(window, list) or len(window) != 2 or not all(type(minute) is int for minute in window):
                raise BadTimetable("a window is no pair of minutes")
            pairs.append((window[0], window[1]))
        return cls(tuple(pairs), zone)

    def _pieces(self, from_ms: int, to_ms: int) -> Iterator[Span]:
        """Lent stretches, cut wherever the zone's offset changes and at each week's end."""
        if from_ms >= to_ms:
            return
        if self.always:
            yield from_ms, to_ms
            return
        merged = self._merged()
        for start, end, offset_ms in _steady(self.zone, from_ms, to_ms):
            local_ms = start + offset_ms + _EPOCH_WEEKDAY_MS
            week_ms = local_ms - local_ms % _WEEK_MS - offset_ms - _EPOCH_WEEKDAY_MS
            while week_ms < end:
                for begins, ends in merged:
                    first = max(start, week_ms + begins * _MINUTE_MS)
                    last = min(end, week_ms + ends * _MINUTE_MS)
                    if first < last:
                        yield first, last
                week_ms += _WEEK_MS

    def _merged(self) -> tuple[Span, ...]:
        """The windows without overlaps, in order, cut at the week's end."""
        return _merged(self.windows)


@lru_cache(maxsize=4096)
def _merged(windows: tuple[Span, ...]) -> tuple[Span, ...]:
    cut = [(start, min(end, WEEK_MINUTES)) for start, end in windows]
    cut += [(0, end - WEEK_MINUTES) for _, end in windows if end > WEEK_MINUTES]
    joined: list[Span] = []
    for start, end in sorted(cut):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)


def _steady(zone: str, from_ms: int, to_ms: int) -> Iterator[tuple[int, int, int]]:
    """A stretch in pieces within which the zone's offset stays: begin, end, offset; milliseconds."""
    place, start = _zone(zone), from_ms
    offset = _offset_ms(place, start)
    while start < to_ms:
        end = min(start + _DAY_MS, to_ms)
        after = _offset_ms(place, end)
        if after != offset:
            end = _changes(place, start, end, offset)
            yield start, end, offset
            offset = _offset_ms(place, end)
        else:
            yield start, end, offset
        start = end


def _changes(place: tzinfo, start: int, end: int, offset: int) -> int:
    """The first instant between the two with another offset."""
    while end - start > 1:
        middle = (start + end) // 2
        start, end = (middle, end) if _offset_ms(place, middle) == offset else (start, middle)
    return end


def _offset_ms(place: tzinfo, ms: int) -> int:
    offset = datetime.fromtimestamp(ms / 1000, UTC).astimezone(place).utcoffset()
    assert offset is not None, "an aware datetime has an offset"
    return round(offset / timedelta(milliseconds=1))


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    fixed = _OFFSET.fullmatch(name)
    if fixed:
        minutes = int(fixed[2]) * 60 + int(fixed[3])
        return timezone(timedelta(minutes=-minutes if fixed[1] == "-" else minutes))
    if not _ZONE.fullmatch(name):
        raise BadTimetable("a zone is an IANA name, UTC, or an offset such as +02:00")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadTimetable("there is no such time zone") from None


def _windows(part: str) -> Sequence[Span]:
    match = _SPAN.fullmatch(part)
    if match is None:
        raise BadTimetable("a window reads like `mon-fri 18:00-08:00`")
    hours = [int(text) for text in match.groups()[1:]]
    start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if hours[1] > 59 or hours[3] > 59 or start >= DAY_MINUTES or end > DAY_MINUTES:
        raise BadTimetable("a time of day is between 00:00 and 24:00")
    length = end - start if end > start else end + DAY_MINUTES - start
    return [(day * DAY_MINUTES + start, day * DAY_MINUTES + start + length) for day in _days(match[1])]


def _days(text: str | None) -> Sequence[int]:
    days: list[int] = []
    for part in (text or "mon-sun").split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise BadTimetable(f"a day is one of {', '.join(_DAYS)}")
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        days += [day % 7 for day in range(start, end + 1 if end >= start else end + 8)]
    return days


def _daily(window: Span) -> Iterator[tuple[int, str]]:
    """A window as days with times of day; one of more than a day is cut at midnights."""
    start, end = window
    while start < end:
        day, minute = divmod(start, DAY_MINUTES)
        stop = end if window[1] - window[0] <= DAY_MINUTES else min(end, (day + 1) * DAY_MINUTES)
        until = stop - day * DAY_MINUTES
        until = until if until <= DAY_MINUTES else until - DAY_MINUTES
        yield day % 7, f"{minute // 60:02d}:{minute % 60:02d}-{until // 60:02d}:{until % 60:02d}"
        start = stop


def _runs(days: Sequence[int]) -> str:
    """Days in order, neighbours joined: `mon-wed,sat`."""
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(_DAYS[run[0]] if len(run) == 1 else f"{_DAYS[run[0]]}-{_DAYS[run[-1]]}" for run in runs)
