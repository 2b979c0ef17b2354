"""The stretch of time that a statement covers, as people write it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, Self

from bithive.clock import as_utc
from economy.errors import BadPeriod

_DAY_MS = 86_400_000
_DAY = r"(\d{4})-(\d{2})-(\d{2})"
_FORMS = re.compile(rf"(?P<year>\d{{4}})|(?P<month>\d{{4}}-\d{{2}})|(?P<first>{_DAY})(?:\.\.(?P<last>{_DAY}))?")
_YEARS = range(1970, 2201)


class Period(NamedTuple):
    """From a moment up to, not including, another; milliseconds since 1970, in UTC.

    What belongs to a period is decided by booking date: when it was recorded, not when it took effect.
    """

    from_ms: int
    to_ms: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2026`, `2026-10`, `2026-10-03`, or `2026-10-01..2026-10-15` with the last day included.

        Raises
        ------
        BadPeriod
            If it is none of these, or ends before it begins.
        """
        found = _FORMS.fullmatch(text) if text.isascii() and len(text) <= 32 else None
        if found is None:
            raise BadPeriod("a period is written 2026, 2026-10, 2026-10-03 or 2026-10-01..2026-10-15")
        try:
            first, after = _days(found)
        except (ValueError, OverflowError) as error:
            raise BadPeriod("there is no such day") from error
        if first.year not in _YEARS or after.year not in _YEARS or after <= first:
            raise BadPeriod("a period begins before it ends, after 1969 and before 2200")
        return cls(_ms(first), _ms(after))

    @classmethod
    def month_of(cls, at_ms: int) -> Self:
        """The calendar month of a moment."""
        return cls.parse(as_utc(at_ms).strftime("%Y-%m"))

    @property
    def last_day(self) -> str:
        """The last day that is in it, as `2026-10-31`."""
        return as_utc(self.to_ms - 1).strftime("%Y-%m-%d")

    @property
    def first_day(self) -> str:
        """The first day, as `2026-10-01`."""
        return as_utc(self.from_ms).strftime("%Y-%m-%d")

    @property
    def text(self) -> str:
        """As short as `parse` reads it."""
        first, after = as_utc(self.from_ms).date(), as_utc(self.to_ms).date()
        if (first.month, first.day, after) == (1, 1, date(first.year + 1, 1, 1)):
            return f"{first.year:04}"
        if first.day == 1 and after == _next_month(first):
            return f"{first.year:04}-{first.month:02}"
        return self.first_day if self.first_day == self.last_day else f"{self.first_day}..{self.last_day}"

    def before(self) -> Period:
        """The period just before, as long in days, months or years as this one."""
        return self._stepped(-1)

    def after(self) -> Period:
        """The period just after."""
        return self._stepped(1)

    def _stepped(self, step: int) -> Period:
        first = as_utc(self.from_ms).date()
        text = self.text
        if len(text) == 4:
            return Period.parse(f"{first.year + step:04}")
        if len(text) == 7:
            month = first.year * 12 + first.month - 1 + step
            return Period.parse(f"{month // 12:04}-{month % 12 + 1:02}")
        length = self.to_ms - self.from_ms
        return Period(self.from_ms + step * length, self.to_ms + step * length)


def _days(found: re.Match[str]) -> tuple[date, date]:
    if found["year"]:
        return date(int(found["year"]), 1, 1), date(int(found["year"]) + 1, 1, 1)
    if found["month"]:
        first = date.fromisoformat(f"{found['month']}-01")
        return first, _next_month(first)
    first = date.fromisoformat(found["first"])
    return first, date.fromisoformat(found["last"] or found["first"]) + timedelta(days=1)


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
