"""Each statistic against hand-computed or published values, or against brute force."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from inference.evaluation_statistics import (
    Z,
    area,
    area_bootstrap,
    bins_for,
    calibration,
    calibration_error,
    mean_bootstrap,
    midranks,
    newcombe,
    recalibration,
    reliability,
    resamples_for,
    wilson,
)

RNG = np.random.default_rng(7)


def scored(count, shift=1.5, places=1, seed=3):
    """Scores with ties, and truths."""
    rng = np.random.default_rng(seed)
    positive = rng.random(count) < 0.6
    return np.round(rng.normal(0, 1, count) + shift * positive, places), positive


@pytest.mark.parametrize(
    ("found", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (7, 7, 0.6457, 1.0),
    ],
)
def test_wilson_as_published(found, total, low, high):
    """The four examples of Newcombe (Stat Med 17:857-872, 1998), Table I, method 3; 7 of 7 is 7 / (7 + z^2)."""
    assert wilson(found, total) == pytest.approx((low, high), abs=6e-5)


def test_wilson_covers_what_it_says():
    total = 20
    for truth in (0.3, 0.5, 0.7, 0.9):
        chance = [math.comb(total, k) * truth**k * (1 - truth) ** (total - k) for k in range(total + 1)]
        covered = sum(share for k, share in enumerate(chance) if wilson(k, total)[0] <= truth <= wilson(k, total)[1])
        assert 0.93 < covered <= 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_ranks_of_equal_values_are_their_mean():
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4, 1, 4, 2, 4]


def brute_area(scores, positive):
    """Area and DeLong's variance straight from their definitions: every pair compared."""
    above, below = scores[positive], scores[~positive]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    spread = wins.mean(axis=1).var(ddof=1) / len(above) + wins.mean(axis=0).var(ddof=1) / len(below)
    return wins.mean(), spread


@pytest.mark.parametrize(("count", "places"), [(12, 1), (60, 0), (60, 6), (400, 1)])
def test_the_area_and_its_interval_are_those_of_the_definition(count, places):
    scores, positive = scored(count, shift=0.5, places=places)
    value, spread = brute_area(scores, positive)
    found = area(scores, positive)
    assert found.value == pytest.approx(value)
    assert found.low == pytest.approx(max(0, value - Z * math.sqrt(spread)))
    assert found.high == pytest.approx(min(1, value + Z * math.sqrt(spread)))
    assert found.method == "DeLong 1988"


def test_the_area_by_hand():
    found = area(np.array([3.0, 4.0, 1.0, 3.5]), np.array([True, True, False, False]))
    assert found.value == 0.75
    refused = area(np.array([-np.inf, 4.0, 1.0, np.inf]), np.array([True, True, False, False]))
    assert refused.value == 0.25
    assert area(np.array([1.0, 2.0]), np.array([True, True])) is None


def test_perfect_separation_is_no_certainty():
    scores = np.arange(20.0)
    found = area(scores, scores >= 10)
    assert (found.value, found.high, found.method) == (1.0, 1.0, "Newcombe 2006")
    assert 0.75 < found.low < 0.85
    single = area(np.array([1.0, 2.0]), np.array([False, True]))
    assert single.low < 0.3


def test_newcombes_limits_solve_his_equation_and_narrow():
    for value, above, below in ((1.0, 10, 10), (0.9, 30, 20), (0.5, 8, 9)):
        low, high = newcombe(value, above, below)
        for theta in {low, high} - {0.0, 1.0}:
            half = (above + below) / 2 - 1
            spread = (
                theta * (1 - theta) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (above * below)
            )
            assert (value - theta) ** 2 == pytest.approx(Z * Z * spread, rel=1e-6)
        assert low < value <= high
    lows = [newcombe(1.0, count, count)[0] for count in (2, 5, 20, 100)]
    assert all(one < other for one, other in pairwise(lows))


def test_the_bootstrap_agrees_with_delong_and_repeats():
    scores, positive = scored(300, places=2)
    found = area(scores, positive)
    low, high = area_bootstrap(scores, positive, np.random.default_rng(1))
    assert (low, high) == area_bootstrap(scores, positive, np.random.default_rng(1))
    assert abs(low - found.low) < 0.012
    assert abs(high - found.high) < 0.012
    assert area_bootstrap(scores[positive], positive[positive], RNG) is None


def test_few_values_have_no_bootstrap_interval():
    assert mean_bootstrap(np.array([1.0, 2.0]), RNG) is None
    low, high = mean_bootstrap(np.arange(50.0), np.random.default_rng(0))
    assert low == pytest.approx(24.5 - 4.0, abs=0.6)
    assert high == pytest.approx(24.5 + 4.0, abs=0.6)
    assert (resamples_for(10), resamples_for(10**9)) == (2000, 200)


def test_the_calibration_error_by_hand():
    said = np.repeat([0.1, 0.9], 25)
    so = np.array([True] * 5 + [False] * 20 + [True] * 20 + [False] * 5)
    assert bins_for(50) == 2
    assert calibration_error(said, so) == pytest.approx(0.1)
    first, second = reliability(said, so)
    assert (first.cases, first.said, first.seen, first.found) == (25, pytest.approx(0.1), 0.2, 5)
    assert (second.seen, second.low, second.high) == (0.8, *wilson(20, 25))


def test_equal_values_stay_in_one_bin():
    said = np.array([0.5] * 90 + [0.9] * 10)
    rows = reliability(said, said > 0.6)
    assert [row.cases for row in rows] == [90, 10]
    assert sum(row.cases for row in reliability(np.full(1000, 0.3), np.zeros(1000, np.bool_))) == 1000


def test_a_perfect_model_is_within_what_chance_shows():
    rng = np.random.default_rng(5)
    said = rng.random(500)
    good = calibration(said, rng.random(500) < said, np.random.default_rng(0))
    assert good.value < good.chance_high
    bad = calibration(said, rng.random(500) < said**3, np.random.default_rng(0))
    assert bad.value > bad.chance_high
    assert bad.low < bad.value < bad.high
    few = calibration(said[:20], said[:20] > 0.5, np.random.default_rng(0))
    assert few.low is None
    assert few.chance > 0.03


def test_the_recalibration_by_hand():
    """With two values said, the fit passes through both shares seen: slope = logit(0.6) / logit(0.8), intercept 0."""
    said = np.repeat([0.2, 0.8], 50)
    so = np.array([True] * 20 + [False] * 30 + [True] * 30 + [False] * 20)
    found = recalibration(said, so)
    assert found.slope == pytest.approx(math.log(1.5) / math.log(4))
    assert found.intercept == pytest.approx(0.0, abs=1e-9)
    error = math.sqrt((1 / 20 + 1 / 30) * 2) / (2 * math.log(4))
    assert found.slope_high - found.slope == pytest.approx(Z * error)


def test_a_recalibration_that_does_not_exist_is_not_given():
    said = np.array([0.1, 0.2, 0.8, 0.9])
    assert recalibration(said, said > 0.5) is None
    assert recalibration(said, np.ones(4, np.bool_)) is None
    assert recalibration(np.full(4, 0.5), said > 0.5) is None
    assert recalibration(np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]), np.array([0, 1, 1, 0, 0, 1], np.bool_)) is not None
