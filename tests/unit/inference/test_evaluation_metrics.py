"""What is made of scores, classes and masks; refused cases never flatter."""

from __future__ import annotations

import json

import numpy as np
import pytest

from inference.evaluation_binary import binary_metrics, curve
from inference.evaluation_classes import class_metrics
from inference.evaluation_segments import overlap, segment_metrics, surface_distance
from inference.evaluation_statistics import wilson

SCORES = [0.9, 0.8, 0.7, 0.4, 0.6, 0.3, 0.2, None, None]
TRUTH = [True, True, True, True, False, False, False, True, False]


def rng():
    return np.random.default_rng(0)


def test_decisions_by_hand():
    found = binary_metrics(SCORES, TRUTH, 0.5, rng())
    answered = found["answered"]
    assert answered["counts"] == {"true_positive": 3, "false_negative": 1, "false_positive": 1, "true_negative": 2}
    assert answered["sensitivity"]["value"] == 0.75
    assert (answered["sensitivity"]["low"], answered["sensitivity"]["high"]) == wilson(3, 4)
    assert answered["specificity"]["value"] == pytest.approx(2 / 3)
    assert answered["ppv"]["value"] == 0.75
    assert answered["npv"]["value"] == pytest.approx(2 / 3)
    assert answered["accuracy"]["value"] == pytest.approx(5 / 7)
    assert answered["auc"]["value"] == pytest.approx(11 / 12)
    squares = [0.1, 0.2, 0.3, 0.6, 0.6, 0.3, 0.2]
    assert answered["brier"]["value"] == pytest.approx(sum(value**2 for value in squares) / 7)
    assert answered["brier"]["of_prevalence_alone"] == pytest.approx(4 / 7 * 3 / 7)
    assert found["prevalence"]["value"] == pytest.approx(5 / 9)
    assert "Few cases" in found["remarks"][0]
    json.dumps(found, allow_nan=False)


def test_a_refused_case_counts_as_wrong():
    counted = binary_metrics(SCORES, TRUTH, 0.5, rng())["with_refused"]
    assert counted["n"] == 9
    assert counted["counts"] == {"true_positive": 3, "false_negative": 2, "false_positive": 2, "true_negative": 2}
    assert counted["auc"]["value"] == pytest.approx(11 / 20)


def test_a_threshold_is_met_at_its_value():
    found = binary_metrics([0.5, 0.49], [True, False], 0.5, rng())["answered"]
    assert found["sensitivity"]["value"] == found["specificity"]["value"] == 1.0


@pytest.mark.parametrize("scores", [[None, None], [0.2, None], [0.2, 0.4]])
def test_nothing_is_made_up_where_there_is_nothing(scores):
    found = binary_metrics(scores, [True, True], 0.5, rng())
    assert found["answered"]["auc"] is None
    assert found["roc"] == []
    assert "no area" in found["remarks"][0]
    json.dumps(found, allow_nan=False)


def test_perfect_separation_is_said():
    found = binary_metrics([0.9] * 40 + [0.1] * 40, [True] * 40 + [False] * 40, None, rng())
    assert "Newcombe" in found["remarks"][0]
    assert found["answered"]["auc"]["low"] < 0.96
    assert found["answered"]["calibration_slope"] is None
    assert "sensitivity" not in found["answered"]


def test_the_curve_has_its_ends_and_its_steps():
    scores, truth = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False])
    assert curve(scores, truth) == [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]
    many = np.random.default_rng(0).random(5000)
    thinned = curve(many, many > 0.4)
    assert len(thinned) == 201
    assert (thinned[0], thinned[-1]) == ([0, 0], [1, 1])


def test_classes_by_hand():
    answers = [("femur", 0.9), ("femur", 0.6), ("lips", 0.8), None]
    found = class_metrics(answers, ["femur", "lips", "lips", "femur"], rng())
    assert found["answered"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["with_refused"]["accuracy"]["value"] == 0.5
    assert found["classes"]["femur"]["recall"]["of"] == 2
    assert found["classes"]["femur"]["recall"]["value"] == 0.5
    assert found["classes"]["femur"]["precision"]["value"] == 0.5
    assert found["classes"]["lips"]["precision"]["value"] == 1.0
    assert found["confusion"] == {"femur": {"femur": 1, "refused": 1}, "lips": {"femur": 1, "lips": 1}}
    assert found["answered"]["ece"]["value"] == pytest.approx(abs((0.9 + 0.6 + 0.8) / 3 - 2 / 3))
    assert "Few cases" in found["remarks"][0]
    assert class_metrics([None], ["femur"], rng())["answered"]["accuracy"]["value"] is None


def cube(corner, size=4, shape=(12, 14, 16)):
    mask = np.zeros(shape, np.bool_)
    mask[tuple(slice(at, at + size) for at in corner)] = True
    return mask


def test_overlap_by_hand():
    found = overlap(cube((2, 2, 2)), cube((2, 2, 4)), (2.0, 1.0, 3.0))
    assert found.dice == 0.5
    assert found.volume_ml == pytest.approx(64 * 6 / 1000)
    assert (found.volume_error_ml, found.volume_error_percent) == (0.0, 0.0)
    same = overlap(cube((2, 2, 2)), cube((2, 2, 2)), (1.0, 1.0, 1.0))
    assert (same.dice, same.hd95_mm) == (1.0, 0.0)
    nothing = overlap(np.zeros((2, 2, 2), np.bool_), np.zeros((2, 2, 2), np.bool_), (1, 1, 1))
    assert (nothing.dice, nothing.hd95_mm, nothing.volume_error_percent) == (1.0, None, None)
    missed = overlap(np.zeros((12, 14, 16), np.bool_), cube((2, 2, 2)), (1, 1, 1))
    assert (missed.dice, missed.hd95_mm, missed.volume_error_percent) == (0.0, None, -100.0)


@pytest.mark.parametrize("percent", [95.0, 100.0])
def test_the_distance_of_surfaces_is_that_of_every_pair(percent):
    noise = np.random.default_rng(2).random((8, 9, 10))
    one, other = noise > 0.6, np.roll(noise, 2, 1) > 0.7
    step = np.array((3.0, 1.0, 2.0))

    def surface(mask):
        padded = np.pad(mask, 1)
        near = [np.roll(padded, way, axis) for axis in range(3) for way in (1, -1)]
        return np.argwhere((padded & ~np.logical_and.reduce(near))[1:-1, 1:-1, 1:-1]) * step

    apart = np.linalg.norm(surface(one)[:, None] - surface(other)[None], axis=2)
    both = np.concatenate((apart.min(axis=1), apart.min(axis=0)))
    assert surface_distance(one, other, (2.0, 1.0, 3.0), percent) == pytest.approx(np.percentile(both, percent))


def test_segments_over_cases():
    good, poor = (
        overlap(cube((2, 2, 2)), cube((2, 2, 2)), (1, 1, 1)),
        overlap(cube((2, 2, 2)), cube((2, 2, 4)), (1, 1, 1)),
    )
    found = segment_metrics([{"a": good}, {"a": poor}, None], ["a", "b"], rng())
    assert found["structures"]["a"]["dice"] == {"value": 0.75, "low": None, "high": None, "n": 2}
    assert found["structures"]["b"]["dice"]["value"] is None
    assert found["with_refused"]["mean_dice"]["value"] == 0.5
    assert found["each"][2] is None
    assert "Few cases: 2" in found["remarks"][0]
    json.dumps(found, allow_nan=False)
