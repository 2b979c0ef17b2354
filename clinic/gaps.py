"""Whether slices lie at even distances, at uneven ones that are meant so, or whether some are missing.

Positions alone do not tell a lost slice from a protocol that changes its distance half way. What tells them apart, in
the order of weight:

1. Instance Number (0020,0013): where it skips as many numbers as a gap has room for slices, they are missing.
2. Slice Thickness (0018,0050): a gap that the two slices reach across leaves no tissue unseen. It may then be larger
   than the usual distance, if it belongs to a zone of its own (three equal gaps or more) or lies between two zones.
3. Zones without any thickness: believed if the Instance Numbers run on through all gaps.

Anything else that is a quarter wider than the finest usual distance is refused. `docs/geometry.md` has examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from clinic import elements, refusals

POSITION_TOLERANCE = 0.01
"""Of one slice step."""
POSITION_TOLERANCE_MM = 0.01
WIDER_MAX = 1.25
NARROWER_MIN = 0.1
ZONE_GAPS_MIN = 3
_MULTIPLE_TOLERANCE = 0.1
_FINER_MAX = 4

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Zone:
    """Neighbouring gaps of one size: `start` to `stop`, of which each measures `step_mm`."""

    start: int
    stop: int
    step_mm: float


def step_mm(depths: Vector, attributes: Sequence[Any]) -> float | None:
    """The distance at which uneven slices may be interpolated.

    Parameters
    ----------
    depths
        (n,) where each slice lies along the normal, millimetres, ascending; at least two.
    attributes
        What the header says of each (DICOM JSON Model).

    Returns
    -------
    float or None
        None when they lie at even distances; else the finest distance that they have regularly.

    Raises
    ------
    MissingSlices, UnevenSpacing
        If they are uneven and nothing shows that they are meant so.
    """
    gaps = np.diff(depths)
    mean = float(depths[-1] - depths[0]) / len(gaps)
    even = depths[0] + mean * np.arange(len(depths))
    if float(np.abs(depths - even).max()) <= tolerance_mm(float(np.median(gaps))):
        return None
    zones = _zones(gaps)
    usual = min((zone.step_mm for zone in zones), default=float(np.median(gaps)))
    numbers = _numbers(attributes)
    _check_numbers(gaps, usual, numbers)
    allowed = _allowed(gaps, zones, usual, _thicknesses(attributes), numbers)
    _check_widths(gaps, allowed, usual)
    finest = usual if zones else mean
    return max(finest, float(depths[-1] - depths[0]) / (_FINER_MAX * len(depths)))


def tolerance_mm(step: float) -> float:
    """How far a slice may lie from its place in an even stack of that step."""
    return max(POSITION_TOLERANCE * step, POSITION_TOLERANCE_MM)


def _zones(gaps: Vector) -> list[_Zone]:
    zones, start = [], 0
    for stop in range(1, len(gaps) + 1):
        if stop < len(gaps) and abs(gaps[stop] - gaps[start:stop].mean()) <= 2 * tolerance_mm(float(gaps[start])):
            continue
        if stop - start >= ZONE_GAPS_MIN:
            zones.append(_Zone(start, stop, float(gaps[start:stop].mean())))
        start = stop
    return zones


def _numbers(attributes: Sequence[Any]) -> Vector | None:
    """(n - 1,) by how much the Instance Number changes across each gap, or None where it is of no use."""
    found = [elements.number(item, "00200013") for item in attributes]
    if any(number is None for number in found):
        return None
    changes = np.abs(np.diff(np.array(found, np.float64)))
    return None if (changes == 0).any() else changes


def _thicknesses(attributes: Sequence[Any]) -> Vector:
    """(n,) Slice Thickness, NaN where it is absent."""
    found = [elements.number(item, "00180050") or 0.0 for item in attributes]
    return np.array([thickness if thickness > 0 else np.nan for thickness in found])


def _check_numbers(gaps: Vector, usual: float, numbers: Vector | None) -> None:
    """Refuse gaps that skip as many Instance Numbers as slices fit in, measured by the usual step or by what is near."""
    if numbers is None:
        return
    fine = np.abs(gaps - usual) <= _MULTIPLE_TOLERANCE * usual
    changes = np.unique(numbers[fine])
    if len(changes) != 1:
        return
    padded = np.pad(gaps, 1, constant_values=np.inf)
    near = np.minimum(padded[:-2], padded[2:])
    skipped = np.zeros(len(gaps), np.bool_)
    for step in (usual, near):
        multiples = np.round(gaps / step)
        skipped |= (multiples >= 2) & (numbers == multiples * changes[0])
    if skipped.any():
        raise refusals.MissingSlices(count=int((numbers[skipped] / changes[0] - 1).sum()))


def _allowed(gaps: Vector, zones: Sequence[_Zone], usual: float, thick: Vector, numbers: Vector | None) -> Vector:
    """(n - 1,) the widest that each gap may be."""
    between = (thick[:-1] + thick[1:]) / 2
    fine = np.abs(gaps - usual) <= _MULTIPLE_TOLERANCE * usual
    ratio = np.nanmedian(gaps[fine] / between[fine]) if np.isfinite(between[fine]).any() else 1.0
    reached = np.nan_to_num(max(1.0, float(ratio)) * between, nan=0.0)
    if numbers is not None and np.isnan(thick).all() and len(np.unique(numbers)) == 1:
        for zone in zones:
            reached[zone.start : zone.stop] = zone.step_mm
    allowed = np.full(len(gaps), usual)
    zoned = thick[:-1] != thick[1:]
    for zone in zones:
        zoned[zone.start : zone.stop] = True
    allowed[zoned] = np.maximum(usual, reached[zoned])
    for before, after in pairwise(zones):
        if after.start == before.stop + 1:
            either = (allowed[before.stop - 1], allowed[after.start])
            allowed[before.stop] = max(allowed[before.stop], min(max(either), max(before.step_mm, after.step_mm)))
    return allowed


def _check_widths(gaps: Vector, allowed: Vector, usual: float) -> None:
    wide = gaps > WIDER_MAX * allowed
    multiples = np.round(gaps / allowed)
    whole = np.abs(gaps - multiples * allowed) <= _MULTIPLE_TOLERANCE * allowed
    if wide.any() and (whole[wide] & (multiples[wide] >= 2)).all():
        raise refusals.MissingSlices(count=int((multiples[wide] - 1).sum()))
    if wide.any() or float(gaps.min()) < NARROWER_MIN * usual:
        raise refusals.UnevenSpacing(steps_mm_min=round(float(gaps.min()), 3), steps_mm_max=round(float(gaps.max()), 3))
