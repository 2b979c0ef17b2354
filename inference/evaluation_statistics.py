"""The statistics of an evaluation: intervals, areas under curves and calibration, each from its published source.

Everything is deterministic: what draws at random takes a generator. Nothing is printed where there is no variance to
speak of: an interval is either right or absent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Interval = tuple[float, float]

Z = 1.959963984540054
"""Of a two-sided 95 % interval."""

RESAMPLES = 2000
_DRAWS_MAX = 40_000_000
_RESAMPLES_MIN = 200
BINS_MAX, _CASES_A_BIN = 10, 25
_CLIP = 1e-6
_STEPS_MAX = 50
_SLOPE_MAX = 50.0


def wilson(found: int, total: int) -> Interval:
    """The score interval of a proportion at 95 % (Wilson, J Am Stat Assoc 22:209-212, 1927).

    Parameters
    ----------
    found, total
        0 <= found <= total; of nothing the interval is (0, 1).
    """
    assert 0 <= found <= total, "a part is no more than the whole"
    if total == 0:
        return (0.0, 1.0)
    share, weight = found / total, Z * Z / total
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return (0.0 if found == 0 else max(0.0, middle - half), 1.0 if found == total else min(1.0, middle + half))


def midranks(values: Floats) -> Floats:
    """Ranks from 1, of equal values their mean."""
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    return ranks


@dataclass(frozen=True, slots=True)
class Area:
    """An area under the ROC curve with its 95 % interval, and which method gave the interval."""

    value: float
    low: float
    high: float
    method: str


def area(scores: Floats, positive: Bools) -> Area | None:
    """The area under the ROC curve (Mann-Whitney) with its interval; None without both positives and negatives.

    The interval is DeLong's (DeLong, DeLong, Clarke-Pearson, Biometrics 44:837-845, 1988). Where the sample shows no
    variance at all, as with perfect separation or a single case on a side, it is the score interval of Newcombe
    (Stat Med 25:559-573, 2006, method 5), which never claims certainty.

    Parameters
    ----------
    scores
        (n,), higher means more likely positive.
    positive
        (n,).
    """
    above, below = scores[positive], scores[~positive]
    if not len(above) or not len(below):
        return None
    ranks = midranks(np.concatenate((above, below)))
    over = (ranks[: len(above)] - midranks(above)) / len(below)
    under = 1 - (ranks[len(above) :] - midranks(below)) / len(above)
    value = float(over.mean())
    spread = 0.0
    if len(above) > 1 and len(below) > 1:
        spread = float(over.var(ddof=1) / len(above) + under.var(ddof=1) / len(below))
    if spread <= 0.0:
        return Area(value, *newcombe(value, len(above), len(below)), "Newcombe 2006")
    half = Z * math.sqrt(spread)
    return Area(value, max(0.0, value - half), min(1.0, value + half), "DeLong 1988")


def newcombe(value: float, positives: int, negatives: int) -> Interval:
    """The score interval of an area under the ROC curve, also at 0 and 1 (Newcombe 2006, method 5)."""
    half_sum = (positives + negatives) / 2 - 1

    def beyond(theta: float) -> bool:
        terms = 1 + half_sum * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (value - theta) ** 2 > Z * Z * theta * (1 - theta) * terms / (positives * negatives)

    return (_edge(0.0, value, beyond), _edge(1.0, value, beyond))


def _edge(outer: float, inner: float, beyond: Any) -> float:
    if outer == inner:
        return outer
    for _ in range(60):
        middle = (outer + inner) / 2
        outer, inner = (middle, inner) if beyond(middle) else (outer, middle)
    return (outer + inner) / 2


def resamples_for(cases: int) -> int:
    """How often so many cases are drawn again: 2,000 times, fewer where there are very many."""
    return int(min(RESAMPLES, max(_RESAMPLES_MIN, _DRAWS_MAX // max(cases, 1))))


def area_bootstrap(scores: Floats, positive: Bools, rng: np.random.Generator) -> Interval | None:
    """Percentile interval of the area over resamples of positives and of negatives (Efron and Tibshirani 1993)."""
    if not positive.any() or positive.all():
        return None
    _, place = np.unique(scores, return_inverse=True)
    levels = int(place.max()) + 1
    above, below = place[positive], place[~positive]
    found = []
    for _ in range(resamples_for(len(scores))):
        up = np.bincount(above[rng.integers(0, len(above), len(above))], minlength=levels)
        down = np.bincount(below[rng.integers(0, len(below), len(below))], minlength=levels)
        found.append(float(up @ (np.cumsum(down) - down / 2)) / (len(above) * len(below)))
    return _percentiles(found)


def mean_bootstrap(values: Floats, rng: np.random.Generator) -> Interval | None:
    """Percentile interval of a mean over cases; None below three of them, where resampling says nothing."""
    if len(values) < 3:
        return None
    drawn = [float(values[rng.integers(0, len(values), len(values))].mean()) for _ in range(resamples_for(len(values)))]
    return _percentiles(drawn)


def _percentiles(values: list[float]) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return (float(low), float(high))


@dataclass(frozen=True, slots=True)
class Bin:
    """One row of a reliability table: how many cases, the mean of what was said, the share that was so."""

    cases: int
    said: float
    seen: float
    found: int
    low: float
    high: float


def bins_for(cases: int) -> int:
    """Bins of a reliability table: at least 25 cases each, at most 10."""
    return min(BINS_MAX, max(1, cases // _CASES_A_BIN))


def reliability(said: Floats, so: Bools) -> list[Bin]:
    """The reliability table over bins of equal mass; equal values stay together.

    Parameters
    ----------
    said
        (n,) probabilities.
    so
        (n,) whether it was so.
    """
    order = np.argsort(said, kind="stable")
    ordered, true = said[order], so[order]
    starts, sizes = _cut(ordered, bins_for(len(said)))
    rows = []
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        found = int(true[start : start + size].sum())
        rows.append(Bin(size, float(ordered[start : start + size].mean()), found / size, found, *wilson(found, size)))
    return rows


def calibration_error(said: Floats, so: Bools) -> float:
    """Expected calibration error over bins of equal mass, 0 to 1.

    The mean over cases of the distance between what was said and what was seen in a case's bin (Guo and others, ICML
    2017), with bins of equal mass instead of equal width (Nixon and others, CVPR Workshops 2019).
    """
    order = np.argsort(said, kind="stable")
    ordered, true = said[order], so[order].astype(np.float64)
    starts, _ = _cut(ordered, bins_for(len(said)))
    return float(np.abs(np.add.reduceat(ordered - true, starts)).sum() / len(said))


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Expected calibration error, its bootstrap interval, and what a perfect model would show with so few cases.

    Attributes
    ----------
    low, high
        None below 50 cases, where resampling makes an interval look narrower than it is.
    chance, chance_high
        Mean and 97.5th percentile of the error when every outcome is drawn with exactly the probability that was said:
        the error of few cases is above 0 even then.
    """

    value: float
    low: float | None
    high: float | None
    chance: float
    chance_high: float


def calibration(said: Floats, so: Bools, rng: np.random.Generator) -> CalibrationError:
    """The calibration error of probabilities, with its interval and its chance level."""
    times, count = resamples_for(len(said)), len(said)
    drawn, chance = [], []
    for _ in range(times):
        chosen = rng.integers(0, count, count)
        drawn.append(calibration_error(said[chosen], so[chosen]))
        chance.append(calibration_error(said, rng.random(count) < said))
    low, high = _percentiles(drawn) if count >= 2 * _CASES_A_BIN else (None, None)
    return CalibrationError(
        calibration_error(said, so), low, high, float(np.mean(chance)), float(np.percentile(chance, 97.5))
    )


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Slope of the logistic recalibration, and intercept at slope one, with 95 % intervals (Wald).

    A slope below 1 says that the probabilities are too extreme; an intercept above 0 that they are too low on the whole
    (Cox, Biometrika 45:562-565, 1958; Van Calster and others, BMC Medicine 17:230, 2019).
    """

    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    intercept_low: float
    intercept_high: float


def recalibration(said: Floats, so: Bools) -> Recalibration | None:
    """Slope and intercept of probabilities; None where the outcomes are all alike or perfectly separated."""
    if so.all() or not so.any():
        return None
    clipped = np.clip(said, _CLIP, 1 - _CLIP)
    logits = np.log(clipped / (1 - clipped))
    ones = np.ones_like(logits)
    both = _logistic(np.stack((ones, logits), axis=1), so, np.zeros_like(logits))
    level = _logistic(ones[:, None], so, logits)
    if both is None or level is None or np.ptp(logits) == 0.0:
        return None
    (_, slope), (_, slope_error) = both
    (intercept,), (error,) = level
    return Recalibration(
        *(slope, slope - Z * slope_error, slope + Z * slope_error),
        *(intercept, intercept - Z * error, intercept + Z * error),
    )


def _logistic(design: Floats, so: Bools, offset: Floats) -> tuple[list[float], list[float]] | None:
    """Coefficients and standard errors of a logistic regression by Newton's method; None when it does not settle."""
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS_MAX):
        expected = 1 / (1 + np.exp(-np.clip(design @ weights + offset, -500, 500)))
        information = design.T @ (design * (expected * (1 - expected))[:, None])
        try:
            step = np.linalg.solve(information, design.T @ (so - expected))
        except np.linalg.LinAlgError:
            return None
        weights = weights + step
        if not np.isfinite(weights).all() or np.abs(weights).max() > _SLOPE_MAX:
            return None
        if np.abs(step).max() < 1e-9:
            errors = np.sqrt(np.diag(np.linalg.inv(information)))
            return weights.tolist(), errors.tolist()
    return None


def _cut(ordered: Floats, count: int) -> tuple[Ints, Ints]:
    """Starts and sizes of bins of about equal mass over sorted values, equal values in one bin, many of them in their own."""
    first = ordered[np.arange(count) * len(ordered) // count]
    left, right = np.searchsorted(ordered, first, "left"), np.searchsorted(ordered, first, "right")
    ends = right[(right - left) * count >= len(ordered)]
    starts = np.unique(np.concatenate((left, ends[ends < len(ordered)])))
    return starts, np.diff(np.append(starts, len(ordered)))
