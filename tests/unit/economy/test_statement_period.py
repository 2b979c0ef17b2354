from __future__ import annotations

import pytest

from economy.errors import BadPeriod
from economy.statement_period import Period


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", "2026-01-01", "2026-12-31"),
        ("2026-02", "2026-02-01", "2026-02-28"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026-12", "2026-12-01", "2026-12-31"),
        ("2026-10-03", "2026-10-03", "2026-10-03"),
        ("2026-10-01..2026-10-15", "2026-10-01", "2026-10-15"),
    ],
)
def test_a_period_reads_and_writes_itself(text, first, last):
    period = Period.parse(text)
    assert (period.first_day, period.last_day, period.text) == (first, last, text)
    assert Period.parse(period.text) == period


def test_a_period_ends_where_the_next_begins():
    for text in ("2026", "2026-01", "2026-12", "2026-10-31", "2026-10-01..2026-10-15"):
        period = Period.parse(text)
        assert period.after().from_ms == period.to_ms
        assert period.after().before() == period
    assert Period.parse("2026-12").after().text == "2027-01"
    assert Period.parse("2026-01").before().text == "2025-12"


def test_the_last_day_is_in_it_and_the_month_of_a_moment_holds_it():
    october = Period.parse("2026-10")
    assert october.to_ms - october.from_ms == 31 * 86_400_000
    assert Period.month_of(october.from_ms) == Period.month_of(october.to_ms - 1) == october
    assert Period.month_of(october.to_ms).text == "2026-11"
    assert Period.parse("2026-10-01..2026-10-31").text == "2026-10"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "26-10",
        "2026-13",
        "2026-00",
        "2026-02-30",
        "2026-10-05..2026-10-04",
        "2026-10..2026-11",
        "0000",
        "9999",
        "1969-12-31",
        "2026-1",
        " 2026",
        "2026\n",
        "\u0662\u0660\u0662\u0666",
        "2026-10-01..",
        "2" * 10_000,
        "2199-12-31..9999-12-31",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(BadPeriod):
        Period.parse(text)
