"""Metrics of masks against masks: overlap, distance of surfaces, volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.evaluation_statistics import Bools, mean_bootstrap, resamples_for

FEW_CASES = 10
_MEASURES = ("dice", "hd95_mm", "volume_error_ml", "volume_error_percent")


@dataclass(frozen=True, slots=True)
class Overlap:
    """How one mask lies on another.

    Attributes
    ----------
    dice
        0 to 1; 1 when both are empty.
    hd95_mm
        95th percentile of the distances of each surface's voxels to the other surface; None when either is empty.
    volume_ml, truth_ml
        Of the mask, and of the truth.
    """

    dice: float
    hd95_mm: float | None
    volume_ml: float
    truth_ml: float

    @property
    def volume_error_ml(self) -> float:
        """What was found more than there is."""
        return self.volume_ml - self.truth_ml

    @property
    def volume_error_percent(self) -> float | None:
        """The same as a share of what there is; None where there is nothing."""
        return 100 * self.volume_error_ml / self.truth_ml if self.truth_ml else None


def overlap(found: Bools, truth: Bools, spacing_mm: tuple[float, float, float]) -> Overlap:
    """Compare two masks.

    Parameters
    ----------
    found, truth
        Axes (z, y, x), of one shape.
    spacing_mm
        Along (x, y, z).
    """
    assert found.shape == truth.shape, "masks of one image have one shape"
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    one, other = int(found.sum()), int(truth.sum())
    dice = 2 * int((found & truth).sum()) / (one + other) if one + other else 1.0
    distance = surface_distance(found, truth, spacing_mm) if one and other else None
    return Overlap(dice, distance, one * voxel_ml, other * voxel_ml)


def surface_distance(
    found: Bools, truth: Bools, spacing_mm: tuple[float, float, float], percent: float = 95.0
) -> float:
    """A percentile of the distances of each surface's voxels to the other surface, both ways together, in mm."""
    from scipy.spatial import cKDTree

    step = np.array(spacing_mm[::-1], np.float64)
    one, other = (np.argwhere(_surface(mask)) * step for mask in (found, truth))
    there, back = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    return float(np.percentile(np.concatenate((there, back)), percent))


def segment_metrics(
    cases: Sequence[dict[str, Overlap] | None], names: Sequence[str], rng: np.random.Generator
) -> dict[str, Any]:
    """All metrics of a segmentation.

    Parameters
    ----------
    cases
        For each case its overlaps by structure; None where the bundle refused the image.
    names
        Of the structures.
    rng
        Draws the cases again.

    Returns
    -------
    dict
        `structures`: of each the mean over answered cases of Dice, HD95, volume error in ml and per cent, with a
        bootstrap interval over cases (None below three). `with_refused`: the mean Dice with 0 for each refused case.
        `each`: every case on its own, in order.
    """
    answered = [case for case in cases if case is not None]
    structures = {}
    for name in names:
        rows = [case[name] for case in answered if name in case]
        structures[name] = {measure: _mean([getattr(row, measure) for row in rows], rng) for measure in _MEASURES}
    dice = [float(np.mean([row.dice for row in case.values()])) for case in answered if case]
    remarks = []
    if len(answered) < FEW_CASES:
        remarks = [f"Few cases: {len(answered)}. A mean of so few says how these went, not how the next one will."]
    return {
        "answered": {"n": len(answered), "mean_dice": _mean(list(dice), rng)},
        "with_refused": {"n": len(cases), "mean_dice": _mean([*dice, *[0.0] * (len(cases) - len(answered))], rng)},
        "structures": structures,
        "each": [case and {name: _plain(row) for name, row in case.items()} for case in cases],
        "resamples": resamples_for(len(answered)),
        "remarks": remarks,
    }


def _mean(values: Sequence[float | None], rng: np.random.Generator) -> dict[str, Any]:
    kept = np.array([value for value in values if value is not None], np.float64)
    interval = mean_bootstrap(kept, rng)
    return {
        "value": float(kept.mean()) if len(kept) else None,
        "low": interval[0] if interval else None,
        "high": interval[1] if interval else None,
        "n": len(kept),
    }


def _plain(row: Overlap) -> dict[str, float | None]:
    return {"dice": row.dice, "hd95_mm": row.hd95_mm, "volume_ml": row.volume_ml, "truth_ml": row.truth_ml}


def _surface(mask: Bools) -> Bools:
    """The voxels of a mask that have a neighbour outside it, along an axis; beyond the array is outside."""
    inner = mask.copy()
    for axis in range(3):
        for step in (1, -1):
            near = np.roll(mask, step, axis)
            near[(slice(None),) * axis + (0 if step == 1 else -1,)] = False
            inner &= near
    return mask & ~inner
