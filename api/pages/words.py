"""How values are put for people: names, dates, sizes, durations, states and reasons in plain words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bithive.clock import as_utc

STAGES: dict[str, str] = {
    "downloading": "Receiving the image",
    "loading": "Loading the model",
    "preparing": "Preparing the image",
    "locating": "Finding the head",
    "segmenting": "Segmenting",
    "measuring": "Measuring",
    "sealing": "Signing and returning",
}
"""The fixed words for where an Attempt stands, as said to a reader."""

SEXES = {"M": "male", "F": "female", "O": "other"}


def person(name: str) -> str:
    """A Person Name (PS3.5 6.2.1) as `FAMILY, Given Middle (Prefix)`; its first component group that is filled."""
    group = next((part for part in name.split("=") if part.strip("^ ")), "")
    family, given, middle, prefix, suffix = ([*(part.strip() for part in group.split("^")), "", "", "", "", ""])[:5]
    first = " ".join(part for part in (given, middle) if part)
    text = ", ".join(part for part in (family, first) if part)
    extra = " ".join(part for part in (prefix, suffix) if part)
    return f"{text} ({extra})" if text and extra else text or extra or "(no name)"


def date(value: str) -> str:
    """A DICOM date `YYYYMMDD` as `YYYY-MM-DD`; anything else unchanged."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if re.fullmatch(r"\d{8}", value) else value


def time_of_day(value: str) -> str:
    """A DICOM time `HHMMSS.ffffff` as `HH:MM`; empty when it is not one."""
    return f"{value[:2]}:{value[2:4]}" if re.match(r"\d{4}", value) else ""


def age(value: str) -> str:
    """A DICOM age string `046Y` as `46 years`; empty when it is not one."""
    match = re.fullmatch(r"(\d{1,3})([YMWD])", value)
    if not match:
        return ""
    count, unit = int(match[1]), {"Y": "year", "M": "month", "W": "week", "D": "day"}[match[2]]
    return counted(count, unit)


def grouped(count: int) -> str:
    """`20 000`, with a narrow space."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 instance`, `384 instances`."""
    return f"{grouped(count)} {noun if count == 1 else plural or noun + 's'}"


def size(size_bytes: int) -> str:
    """`1.4 GB`, decimal, two or three figures."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            return f"{amount:.0f} {unit}" if amount >= 99.5 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def seconds(duration_ms: int) -> str:
    """`0.42 s`, `12.3 s`, `4 min 05 s`."""
    if duration_ms < 10_000:
        return f"{duration_ms / 1000:.2f} s"
    if duration_ms < 100_000:
        return f"{duration_ms / 1000:.1f} s"
    minutes, rest = divmod(round(duration_ms / 1000), 60)
    return f"{minutes} min {rest:02d} s"


def clock(ms: int) -> str:
    """Date and time in UTC, to the minute."""
    return as_utc(ms).strftime("%Y-%m-%d %H:%M UTC")


def clock_full(ms: int) -> str:
    """Date and time in UTC, to the second."""
    return as_utc(ms).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock_s(ms: int) -> str:
    """Time of day in UTC, to the tenth of a second."""
    return as_utc(ms).strftime("%H:%M:%S.%f")[:-5]


def short(text: str) -> str:
    """The ends of a digest."""
    return f"{text[:8]}…{text[-6:]}" if len(text) > 18 else text


def node(identifier: str) -> str:
    """The end of a random id, enough to tell nodes apart on one page."""
    return f"…{identifier[-6:]}" if len(identifier) > 14 else identifier


def share(part: int, whole: int) -> str:
    """A part of a whole in per cent, to one decimal where needed."""
    if whole <= 0:
        return ""
    percent = part * 1000 // whole / 10
    return f"{percent:g} %"


def volume_ml(value: float) -> str:
    """`1 394`: whole millilitres with a narrow space."""
    return grouped(round(value))


def figure(value: float, unit: str) -> str:
    """A measured value with as many places as it deserves."""
    if unit in {"mL", "ml"} and abs(value) >= 100:
        return volume_ml(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def listed(parts: Sequence[str]) -> str:
    """Parts joined by commas, empty ones left out."""
    return ", ".join(part for part in parts if part)
