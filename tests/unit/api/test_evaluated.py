from __future__ import annotations

import numpy as np

from api.evaluated import brief, rows
from inference.evaluation_binary import binary_metrics
from inference.evaluation_segments import Overlap, segment_metrics

COMMON = {
    "dataset": {"name": "set", "split": "", "sha256": "a" * 64},
    "date": "2026-11-22T00:00:00.000Z",
    "engine": {"name": "numpy", "version": "1", "precision": "f64"},
}


def test_a_binary_record_in_rows():
    rng = np.random.default_rng(0)
    metrics = binary_metrics([0.9, 0.2, None, 0.7], [True, False, True, True], 0.5, rng)
    record = {**COMMON, "kind": "binary", "n": 4, "refused": {"unsupported-volume": 1}, "metrics": metrics}
    shown = {what: (value, between) for what, value, between in rows(record)}
    assert shown["refused"] == ("1", "unsupported-volume: 1")
    assert shown["sensitivity"][0] == "1.000"
    assert shown["sensitivity, refused counted as wrong"][0] == "0.667"
    assert shown["expected calibration error"][1] == "too few cases for one"
    assert shown["threshold"][0] == "0.500"
    assert brief(record, current=True).startswith("set, 4 cases, 2026-11-22: area under the ROC curve 1.000")
    assert "another form" in brief(record, current=False)


def test_segments_in_rows():
    metrics = segment_metrics([{"liver": Overlap(0.9, 2.5, 1500.0, 1450.0)}], ["liver"], np.random.default_rng(0))
    record = {**COMMON, "kind": "segmentation", "n": 1, "refused": {}, "metrics": metrics}
    shown = {what: (value, between) for what, value, between in rows(record)}
    assert shown["liver: Dice"] == ("0.900", "too few cases for one")
    assert shown["liver: HD95"][0] == "2.500 mm"
