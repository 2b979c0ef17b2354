"""Metrics of a score against yes and no: discrimination, decisions at a threshold, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference.evaluation_statistics import (
    Bools,
    Floats,
    area,
    area_bootstrap,
    calibration,
    recalibration,
    reliability,
    resamples_for,
    wilson,
)

FEW = 30
_CURVE_POINTS_MAX = 201


def binary_metrics(
    scores: Sequence[float | None], positive: Sequence[bool], threshold: float | None, rng: np.random.Generator
) -> dict[str, Any]:
    """All metrics of a score.

    Parameters
    ----------
    scores
        0 to 1, one a case; None where the bundle refused the image.
    positive
        Whether each case is positive in truth.
    threshold
        At or above it a case is called positive; None leaves decisions out.
    rng
        Draws the resamples.

    Returns
    -------
    dict
        `answered`: over the cases that were given a score. `with_refused`: over all, each refused case counted as
        wrong (Schuetz and others, BMJ 345:e6717, 2012): a positive as missed, a negative as called positive, and in the
        area as the lowest and the highest of all scores. `prevalence`, `reliability`, `roc` and `remarks`.
    """
    truth = np.asarray(positive, np.bool_)
    given = np.array([score is not None for score in scores], np.bool_)
    values = np.array([score if score is not None else np.nan for score in scores], np.float64)
    worst = np.where(given, values, np.where(truth, -np.inf, np.inf))
    answered = _discrimination(values[given], truth[given], threshold, rng)
    if given.any():
        answered |= _calibration(values[given], truth[given], rng)
    return {
        "answered": answered,
        "with_refused": _discrimination(worst, truth, threshold, rng),
        "prevalence": proportion(int(truth.sum()), len(truth)),
        "reliability": table(values[given], truth[given]),
        "roc": curve(values[given], truth[given]),
        "resamples": resamples_for(int(given.sum())),
        "remarks": _remarks(values[given], truth[given]),
    }


def proportion(found: int, total: int) -> dict[str, Any]:
    """A proportion with its Wilson interval; `value` is None of nothing."""
    low, high = wilson(found, total)
    return {"value": found / total if total else None, "low": low, "high": high, "found": found, "of": total}


def decisions(called: Bools, truth: Bools) -> dict[str, Any]:
    """What follows from calling cases positive: each a proportion with its interval."""
    hit, miss = int((called & truth).sum()), int((~called & truth).sum())
    alarm, clear = int((called & ~truth).sum()), int((~called & ~truth).sum())
    return {
        "sensitivity": proportion(hit, hit + miss),
        "specificity": proportion(clear, clear + alarm),
        "ppv": proportion(hit, hit + alarm),
        "npv": proportion(clear, clear + miss),
        "accuracy": proportion(hit + clear, len(truth)),
        "counts": {"true_positive": hit, "false_negative": miss, "false_positive": alarm, "true_negative": clear},
    }


def table(said: Floats, so: Bools) -> list[dict[str, Any]]:
    """The reliability table as plain values."""
    if not len(said):
        return []
    return [
        {"cases": row.cases, "said": row.said, "seen": row.seen, "low": row.low, "high": row.high}
        for row in reliability(said, so)
    ]


def curve(scores: Floats, truth: Bools) -> list[list[float]]:
    """The ROC curve as [false positive rate, sensitivity], from (0, 0) to (1, 1), thinned to 201 points.

    Empty without both positives and negatives.
    """
    if not truth.any() or truth.all():
        return []
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    up = np.cumsum(truth[order])[ends] / truth.sum()
    across = np.cumsum(~truth[order])[ends] / (~truth).sum()
    points = np.concatenate((np.zeros((1, 2)), np.stack((across, up), axis=1)))
    if len(points) > _CURVE_POINTS_MAX:
        points = points[np.unique(np.linspace(0, len(points) - 1, _CURVE_POINTS_MAX).round().astype(int))]
    return [[round(float(x), 5), round(float(y), 5)] for x, y in points]


def _discrimination(scores: Floats, truth: Bools, threshold: float | None, rng: np.random.Generator) -> dict[str, Any]:
    found = area(scores, truth) if len(scores) else None
    again = area_bootstrap(scores, truth, rng) if found else None
    metrics: dict[str, Any] = {"n": len(scores), "positives": int(truth.sum()), "auc": None}
    if found is not None:
        metrics["auc"] = {"value": found.value, "low": found.low, "high": found.high, "method": found.method}
        metrics["auc_bootstrap"] = {"low": again[0], "high": again[1]} if again else None
    if threshold is not None and len(scores):
        metrics |= {"threshold": threshold} | decisions(scores >= threshold, truth)
    return metrics


def _calibration(said: Floats, truth: Bools, rng: np.random.Generator) -> dict[str, Any]:
    error = calibration(said, truth, rng)
    line = recalibration(said, truth)
    brier = float(np.mean((said - truth) ** 2))
    climate = float(truth.mean() * (1 - truth.mean()))
    return {
        "brier": {"value": brier, "of_prevalence_alone": climate},
        "ece": {
            "value": error.value,
            "low": error.low,
            "high": error.high,
            "chance": error.chance,
            "chance_high": error.chance_high,
        },
        "calibration_slope": line and {"value": line.slope, "low": line.slope_low, "high": line.slope_high},
        "calibration_intercept": line
        and {"value": line.intercept, "low": line.intercept_low, "high": line.intercept_high},
    }


def _remarks(scores: Floats, truth: Bools) -> list[str]:
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return ["Cases of one kind only: no area under the curve can be given."]
    if min(positives, negatives) < FEW:
        return [f"Few cases: {positives} positive, {negatives} negative. The intervals are wide and mean it."]
    if scores[truth].min() > scores[~truth].max():
        return ["Every positive scored above every negative: DeLong's interval has no width, so Newcombe's is given."]
    return []
