"""Metrics of one class a case: accuracy, each class, confusion, calibration of the certainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference.evaluation_binary import FEW, proportion, table
from inference.evaluation_statistics import calibration, resamples_for

Answer = tuple[str, float] | None


def class_metrics(answers: Sequence[Answer], truth: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    """All metrics of a classification.

    Parameters
    ----------
    answers
        (class, certainty 0 to 1), one a case; None where the bundle refused the image.
    truth
        The class that each case is of.
    rng
        Draws the resamples.

    Returns
    -------
    dict
        `answered`: accuracy over the answered cases, and the calibration error of the certainty (that the named class is
        right; Guo and others 2017). `with_refused`: accuracy with each refused case counted as wrong. `classes`: recall
        over all cases of a class (a refused one is missed) and precision. `confusion`: {truth: {answer: count}}, with
        `refused` among the answers.
    """
    named = [answer[0] if answer else "refused" for answer in answers]
    given = [place for place, answer in enumerate(answers) if answer is not None]
    right = np.array([named[place] == truth[place] for place in given], np.bool_)
    said = np.array([answer[1] for answer in answers if answer is not None], np.float64)
    answered: dict[str, Any] = {"n": len(given), "accuracy": proportion(int(right.sum()), len(given)), "ece": None}
    if given:
        error = calibration(said, right, rng)
        answered["ece"] = {
            "value": error.value,
            "low": error.low,
            "high": error.high,
            "chance": error.chance,
            "chance_high": error.chance_high,
        }
    return {
        "answered": answered,
        "with_refused": {"n": len(truth), "accuracy": proportion(int(right.sum()), len(truth))},
        "classes": {name: _of_class(name, named, truth) for name in sorted({*truth, *named} - {"refused"})},
        "confusion": _confusion(named, truth),
        "reliability": table(said, right),
        "resamples": resamples_for(len(given)),
        "remarks": _remarks(truth),
    }


def _of_class(name: str, named: Sequence[str], truth: Sequence[str]) -> dict[str, Any]:
    hits = sum(answer == actual == name for answer, actual in zip(named, truth, strict=True))
    return {
        "recall": proportion(hits, sum(actual == name for actual in truth)),
        "precision": proportion(hits, sum(answer == name for answer in named)),
    }


def _confusion(named: Sequence[str], truth: Sequence[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for answer, actual in zip(named, truth, strict=True):
        row = counts.setdefault(actual, {})
        row[answer] = row.get(answer, 0) + 1
    return {actual: dict(sorted(row.items())) for actual, row in sorted(counts.items())}


def _remarks(truth: Sequence[str]) -> list[str]:
    least = min((list(truth).count(name) for name in set(truth)), default=0)
    if least >= FEW:
        return []
    return [f"Few cases: {len(truth)} in all, {least} of the rarest class. The intervals are wide and mean it."]
