from __future__ import annotations

import pytest

from api.pages import words


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^Anna^Dr^PhD", "Doe, Jane Anna (Dr PhD)"),
        ("Doe", "Doe"),
        ("^Jane", "Jane"),
        ("", "(no name)"),
        ("^^^^", "(no name)"),
        ("=山田^太郎", "山田, 太郎"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("a^b^c^d^e^f^g", "a, b c (d e)"),
    ],
)
def test_person(name, shown):
    assert words.person(name) == shown


@pytest.mark.parametrize(("value", "shown"), [("20261120", "2026-11-20"), ("2026.11.20", "2026.11.20"), ("", "")])
def test_date(value, shown):
    assert words.date(value) == shown


@pytest.mark.parametrize(("value", "shown"), [("091500.123", "09:15"), ("0915", "09:15"), ("09", ""), ("x", "")])
def test_time_of_day(value, shown):
    assert words.time_of_day(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [("046Y", "46 years"), ("001Y", "1 year"), ("003M", "3 months"), ("46", ""), ("", "")]
)
def test_age(value, shown):
    assert words.age(value) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_400, "99.4 kB"),
        (999_600, "1.0 MB"),
        (1_512_000_000, "1.5 GB"),
    ],
)
def test_size(size_bytes, shown):
    assert words.size(size_bytes) == shown


@pytest.mark.parametrize(
    ("ms", "shown"), [(420, "0.42 s"), (9_999, "10.00 s"), (12_340, "12.3 s"), (245_000, "4 min 05 s")]
)
def test_seconds(ms, shown):
    assert words.seconds(ms) == shown


def test_counted_and_grouped():
    assert words.counted(1, "series", "series") == "1 series"
    assert words.counted(2, "instance") == "2 instances"
    assert words.grouped(1_234_567) == "1\u202f234\u202f567"


def test_clocks():
    assert words.clock(1_800_000_000_000) == "2027-01-15 08:00 UTC"
    assert words.clock_s(1_800_000_000_123) == "08:00:00.1"
    assert words.clock_full(1_800_000_000_123) == "2027-01-15 08:00:00 UTC"


def test_short_and_node():
    assert words.short("ab" * 32) == "abababab…ababab"
    assert words.short("abc") == "abc"
    assert words.node("nod_01J9ZABCDEFGHJKMNPQRSTVWXY") == "…STVWXY"


@pytest.mark.parametrize(("part", "whole", "shown"), [(7, 10, "70 %"), (1, 3, "33.3 %"), (1, 0, "")])
def test_share(part, whole, shown):
    assert words.share(part, whole) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(1394.4, "mL", "1\u202f394"), (12.345, "mL", "12.3"), (0.1234, "1", "0.123"), (250.6, "1", "251")],
)
def test_figure(value, unit, shown):
    assert words.figure(value, unit) == shown
