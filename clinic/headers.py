"""From the archive's header index to what a pipeline may know of a series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date as calendar
from typing import Any

from bithive.errors import Refused
from clinic.elements import integer, number, text, values
from clinic.geometry import Placement, arrange, distance_mm, placement
from clinic.instance import InstanceRow
from pipelines.series import SeriesHeader

_AGE_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def input_digest(rows: Iterable[InstanceRow]) -> str:
    """SHA-256 over the instances of a series, whatever their order: equal for equal instances only."""
    lines = sorted(f"{row.sop_uid} {row.blob}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def series_header(rows: Sequence[InstanceRow]) -> SeriesHeader:
    """What a pipeline may know of a series.

    Parameters
    ----------
    rows
        Every instance of one series; at least one.
    """
    assert rows, "a series has instances"
    head = rows[0].header
    even, spacing = _geometry(rows)
    return SeriesHeader(
        series_uid=rows[0].series_uid,
        modality=text(head, "00080060"),
        sop_classes=frozenset(row.sop_class for row in rows),
        body_part=text(head, "00180015"),
        series_description=text(head, "0008103E"),
        protocol_name=text(head, "00181030"),
        image_type=tuple(str(item) for item in values(head, "00080008")),
        mr_acquisition_type=text(head, "00180023"),
        scanning_sequence=tuple(str(item) for item in values(head, "00180020")),
        echo_time_ms=number(head, "00180081"),
        repetition_time_ms=number(head, "00180080"),
        inversion_time_ms=number(head, "00180082"),
        instances=len(rows),
        rows=integer(head, "00280010"),
        columns=integer(head, "00280011"),
        spacing_mm=spacing,
        gap_free=even,
        patient_age_years=_age_years(head),
        contrast=bool(text(head, "00180010")),
    )


def geometry_refusal(rows: Sequence[InstanceRow]) -> str | None:
    """The code of why these instances form no volume, or None if they do."""
    try:
        arrange(rows)
    except Refused as refusal:
        return refusal.code
    return None


def _geometry(rows: Sequence[InstanceRow]) -> tuple[bool, tuple[float, float, float] | None]:
    try:
        return True, arrange(rows).spacing_mm
    except Refused:
        return False, _rough_spacing(rows)


def _rough_spacing(rows: Sequence[InstanceRow]) -> tuple[float, float, float] | None:
    """Spacing of a series that is not even: the median step, so that the refusal can name the true reason."""
    try:
        placements: list[Placement] = [placement(row) for row in rows]
    except Refused:
        return None
    step = distance_mm(placements)
    row_mm, column_mm = placements[0].spacing_mm
    return (column_mm, row_mm, step) if step else None


def _age_years(header: Mapping[str, Any]) -> float | None:
    """Patient's Age (0010,1010), else from birth date (0010,0030) and study date (0008,0020)."""
    stated = text(header, "00101010")
    if stated[:-1].isdigit() and stated[-1] in _AGE_YEARS:
        return int(stated[:-1]) * _AGE_YEARS[stated[-1]]
    if stated.isdigit():
        return float(stated)
    born, seen = _days(text(header, "00100030")), _days(text(header, "00080020"))
    if born is None or seen is None or seen < born:
        return None
    return (seen - born) / 365.25


def _days(date: str) -> int | None:
    digits = date.replace(".", "")
    if len(digits) != 8 or not digits.isdigit():
        return None
    try:
        return calendar(int(digits[:4]), int(digits[4:6]), int(digits[6:])).toordinal()
    except ValueError:
        return None
