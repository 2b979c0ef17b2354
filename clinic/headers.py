"""From the archive's header index to what a pipeline may know of a series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date as calendar
from itertools import pairwise
from typing import Any

from bithive.errors import Refused
from clinic import planar, planar_reader
from clinic.elements import integer, number, text, values
from clinic.geometry import Grid, SourcePlane, arrange, distance_mm, planes_of
from clinic.instance import InstanceRow
from clinic.views import laterality_of, view_of
from pipelines.series import SeriesHeader

_PULSES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
_REGIONS = {
    "69536005": "HEAD",
    "T-D1100": "HEAD",
    "12738006": "BRAIN",
    "T-A0100": "BRAIN",
    "774007": "HEADNECK",
    "T-D1000": "HEADNECK",
    "45048000": "NECK",
    "T-D1600": "NECK",
    "51185008": "CHEST",
    "T-D3000": "CHEST",
    "80891009": "HEART",
    "T-32000": "HEART",
    "113345001": "ABDOMEN",
    "818981001": "ABDOMEN",
    "T-D4000": "ABDOMEN",
    "12921003": "PELVIS",
    "816092008": "PELVIS",
    "T-D6000": "PELVIS",
    "421060004": "SPINE",
    "T-D0146": "SPINE",
    "72696002": "KNEE",
    "T-D9200": "KNEE",
    "16982005": "SHOULDER",
    "T-D2220": "SHOULDER",
}
"""Body parts by their codes (PS3.16 CID 4, Annex L), as far as a selector tells them apart."""
_PLANES, _ALONG_MIN = ("sagittal", "coronal", "axial"), 0.866
_AGE_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def input_digest(rows: Iterable[InstanceRow]) -> str:
    """SHA-256 over the instances of a series, whatever their order: equal for equal instances only."""
    lines = sorted(f"{row.sop_uid} {row.blob}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def series_header(rows: Sequence[InstanceRow]) -> SeriesHeader:
    """What a pipeline may know of a series.

    Images at one position count as sent twice here unless their headers differ; whoever reads them looks closer.

    Parameters
    ----------
    rows
        Every instance of one series; at least one.
    """
    assert rows, "a series has instances"
    if planar.is_planar(rows):
        return _planar_header(rows)
    planes = _planes(rows)
    head: Mapping[str, Any] = planes[0].attributes if planes else rows[0].header
    grid = _grid(rows)
    spacing, depth = _extent(grid, planes) if grid else (_rough_spacing(planes), None)
    return SeriesHeader(
        series_uid=rows[0].series_uid,
        modality=text(head, "00080060"),
        sop_classes=frozenset(row.sop_class for row in rows),
        body_part=_body_part(head),
        series_description=text(head, "0008103E"),
        protocol_name=text(head, "00181030"),
        image_type=tuple(str(item) for item in values(head, "00080008")),
        mr_acquisition_type=text(head, "00180023"),
        scanning_sequence=_scanning_sequence(head),
        echo_time_ms=_either(head, "00180081", "00189082"),
        repetition_time_ms=number(head, "00180080"),
        inversion_time_ms=_either(head, "00180082", "00189079"),
        instances=max(len(planes), len(rows)),
        rows=integer(head, "00280010"),
        columns=integer(head, "00280011"),
        spacing_mm=spacing,
        depth_mm=depth,
        gap_free=grid is not None,
        corrections=grid.warnings if grid else (),
        patient_age_years=age_years(head),
        contrast=bool(text(head, "00180010") or values(head, "00180012")),
        plane=_plane(planes[0]) if planes else "",
        frame_of_reference_uid=text(head, "00200052"),
    )


def geometry_refusal(rows: Sequence[InstanceRow]) -> str | None:
    """The code of why these instances form no volume, or None if they do."""
    try:
        if planar.is_planar(rows):
            _readable(rows)
        else:
            arrange(rows)
    except Refused as refusal:
        return refusal.code
    return None


def _readable(rows: Sequence[InstanceRow]) -> Grid:
    """The images of a planar series, each of a kind that is read as far as its header says."""
    grid = planar.arrange(rows)
    for plane in grid.planes:
        if plane.frame <= 1:
            planar_reader.check(plane)
    return grid


def _planar_header(rows: Sequence[InstanceRow]) -> SeriesHeader:
    """The facts of a planar series; where its images differ, what keeps it from being taken for what it is not."""
    ordered = planar.ordered(rows)
    heads, head = [row.header for row in ordered], ordered[0].header
    try:
        grid: Grid | None = _readable(rows)
    except Refused:
        grid = None
    views = frozenset(view_of(header) for header in heads)
    spacings = {planar.spacing_mm(header) for header in heads}
    shared = next(iter(spacings)) if len(spacings) == 1 else None
    return SeriesHeader(
        series_uid=ordered[0].series_uid,
        modality=text(head, "00080060"),
        sop_classes=frozenset(row.sop_class for row in rows),
        body_part=" ".join(dict.fromkeys(part for header in heads if (part := _body_part(header)))),
        series_description=text(head, "0008103E"),
        protocol_name=text(head, "00181030"),
        image_type=tuple(dict.fromkeys(str(item) for header in heads for item in values(header, "00080008"))),
        instances=len(rows),
        rows=max(integer(header, "00280010") for header in heads),
        columns=max(integer(header, "00280011") for header in heads),
        spacing_mm=(shared[1], shared[0], 1.0) if shared else None,
        gap_free=grid is not None,
        corrections=grid.warnings if grid else (),
        patient_age_years=age_years(head),
        contrast=any(text(header, "00180010") or values(header, "00180012") for header in heads),
        planar=True,
        views=frozenset() if views == {""} else views,
        colour=any(not text(header, "00280004").startswith("MONOCHROME") for header in heads),
        laterality=" ".join(sorted({side for header in heads if (side := laterality_of(header))})),
        for_processing=any(planar.is_for_processing(row) for row in rows),
        frames=sum(max(1, integer(header, "00280008")) for header in heads),
    )


def _planes(rows: Sequence[InstanceRow]) -> list[SourcePlane]:
    try:
        return [plane for row in rows for plane in planes_of(row)]
    except Refused:
        return []


def _grid(rows: Sequence[InstanceRow]) -> Grid | None:
    try:
        return arrange(rows)
    except Refused:
        return None


def _extent(grid: Grid, planes: Sequence[SourcePlane]) -> tuple[tuple[float, float, float], float | None]:
    """Spacing, the widest along z; and depth where it is not spacing times number."""
    if grid.straightening is None and len(grid.planes) == len(planes):
        return grid.spacing_mm, None
    x, y, z = grid.spacing_mm
    depths = [float((plane.position - grid.planes[0].position) @ plane.normal) for plane in grid.planes]
    widest = max(after - before for before, after in pairwise(depths))
    return (x, y, max(z, widest)), depths[-1] + z


def _rough_spacing(planes: Sequence[SourcePlane]) -> tuple[float, float, float] | None:
    """Spacing of a series that is not even: the median step, so that the refusal can name the true reason."""
    step = distance_mm(planes) if planes else None
    if not step:
        return None
    row_mm, column_mm = planes[0].spacing_mm
    return (column_mm, row_mm, step)


def _plane(first: SourcePlane) -> str:
    """How slices lie, by the axis of the patient (LPS) that their normal is within 30 degrees of."""
    across = [abs(float(part)) for part in first.normal]
    return next((name for name, part in zip(_PLANES, across, strict=True) if part >= _ALONG_MIN), "oblique")


def _either(head: Mapping[str, Any], *tags: str) -> float | None:
    """The first of several elements that has a number: enhanced objects name theirs otherwise."""
    return next((found for tag in tags if (found := number(head, tag)) is not None), None)


def _scanning_sequence(head: Mapping[str, Any]) -> tuple[str, ...]:
    """Scanning Sequence, or what stands for it in enhanced objects (0018,9008) and (0018,9009)."""
    stated = tuple(str(item) for item in values(head, "00180020"))
    if stated:
        return stated
    pulses = _PULSES.get(text(head, "00189008"), ())
    return (*pulses, "IR") if text(head, "00189009") == "YES" else pulses


def _body_part(head: Mapping[str, Any]) -> str:
    """Body Part Examined, or what the code of the Anatomic Region (0008,2218) stands for."""
    stated = text(head, "00180015")
    items = values(head, "00082218")
    return stated or (_REGIONS.get(text(items[0], "00080100"), "") if items and isinstance(items[0], Mapping) else "")


def age_years(header: Mapping[str, Any]) -> float | None:
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
