"""Evaluate a bundle: run it as a node does over cases with known answers, and say how right it was, with intervals.

The record is plain JSON; `docs/evaluation.md` says what each number means and where its formula stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from bithive import __version__
from bithive.clock import as_iso
from bithive.errors import Refused
from inference.errors import NotEvaluable
from inference.evaluation_binary import binary_metrics
from inference.evaluation_cases import Case, Dataset
from inference.evaluation_classes import class_metrics
from inference.evaluation_segments import Overlap, overlap, segment_metrics
from inference.evaluation_task import Task, task_of
from inference.findings import Findings
from inference.volume import Volume
from models.bundle import Bundle
from models.evaluations import FORMAT, Record, method

SEED = 20_041
FILES_LISTED_MAX = 50

Told = Callable[[int, int], None]


class Loaded(Protocol):
    """What a loaded bundle gives an evaluation (`inference.run.LoadedBundle`)."""

    engine: str
    engine_version: str
    precision: str
    device: str

    def run(self, volume: Volume) -> Findings:
        """Find what the bundle finds."""


def evaluate(
    bundle: Bundle,
    loaded: Loaded,
    dataset: Dataset,
    at_ms: int,
    seed: int = SEED,
    told: Told = lambda _done, _count: None,
) -> Record:
    """Run a bundle over a data set.

    Parameters
    ----------
    bundle
        What is evaluated.
    loaded
        The same bundle as `inference.run.load` made it ready.
    dataset
        As `inference.evaluation_cases.open_dataset` found it for the bundle's task.
    at_ms
        The date of the record, milliseconds since the epoch.
    seed
        Of what is drawn at random.
    told
        Called with how many cases are done, and of how many.

    Returns
    -------
    dict
        The record: what was evaluated, on what, how, and `metrics`. Equal inputs give equal records.

    Raises
    ------
    NotEvaluable
        If the findings lack what the bundle's task is about.
    BadDataset
        If a case cannot be read.
    EngineFault
        If the engine fails; a refusal of the bundle is no failure but part of the record.
    """
    task = task_of(bundle)
    answers: list[Any] = []
    truths: list[Any] = []
    refused: Counter[str] = Counter()
    for place, case in enumerate(dataset):
        told(place, dataset.count)
        try:
            answers.append(_answer(task, loaded.run(case.volume), case))
        except Refused as refusal:
            refused[refusal.code] += 1
            answers.append(None)
        truths.append(case.truth if task.kind != "segmentation" else None)
    told(dataset.count, dataset.count)
    metrics = _metrics(task, answers, truths, np.random.default_rng(seed))
    metrics["remarks"] += _remarks(dataset, sum(refused.values()))
    return {
        "format": FORMAT,
        "kind": task.kind,
        "bundle": bundle.name,
        "version": bundle.version,
        "sha256": bundle.sha256,
        "method": method(bundle),
        "weights": {pinned.file: pinned.sha256 for pinned in bundle.weights},
        "dataset": _described(dataset),
        "n": len(answers),
        "refused": dict(sorted(refused.items())),
        "metrics": metrics,
        "seed": seed,
        "engine": {
            "name": loaded.engine,
            "version": loaded.engine_version,
            "precision": loaded.precision,
            "device": loaded.device,
        },
        "bithive": __version__,
        "date": as_iso(at_ms),
    }


def _answer(task: Task, findings: Findings, case: Case) -> Any:
    if task.kind == "binary":
        score = next((item for item in findings.scores if item.key == task.key), None)
        if score is None or not 0.0 <= score.value <= 1.0:
            raise NotEvaluable("the findings hold no such score between 0 and 1", score=task.key)
        return score.value
    if task.kind == "classes":
        found = next((item for item in findings.classes if (item.key, item.frame) == (task.key, 0)), None)
        if found is None:
            raise NotEvaluable("the findings hold no such classification", classification=task.key)
        return (found.value, found.certainty)
    return _overlaps(task, findings, case)


def _overlaps(task: Task, findings: Findings, case: Case) -> dict[str, Overlap]:
    assert not isinstance(case.truth, bool | str), "a segmentation is compared with labels"
    rows = {}
    for label, key in task.structures.items():
        truth = case.truth == label
        mask = findings.mask(key)
        found = mask.array if mask is not None else np.zeros(truth.shape, np.bool_)
        if found.any() or truth.any():
            rows[key] = overlap(found, truth, case.volume.spacing_mm)
    return rows


def _metrics(task: Task, answers: list[Any], truths: list[Any], rng: np.random.Generator) -> dict[str, Any]:
    if task.kind == "binary":
        return binary_metrics(answers, truths, task.threshold, rng)
    if task.kind == "classes":
        return class_metrics(answers, truths, rng)
    return segment_metrics(answers, list(task.structures.values()), rng)


def _described(dataset: Dataset) -> dict[str, Any]:
    listed = dict(dataset.files) if len(dataset.files) <= FILES_LISTED_MAX else {}
    return {
        "name": dataset.name,
        "form": dataset.form,
        "split": dataset.split,
        "sha256": dataset.sha256,
        "files": listed,
        "file_count": len(dataset.files),
        "unlabelled": dataset.unlabelled,
    }


def _remarks(dataset: Dataset, refused: int) -> list[str]:
    remarks = []
    if refused:
        remarks.append(f"The bundle refused {refused} of {dataset.count} images; both ways of counting them are given.")
    if dataset.unlabelled:
        remarks.append(f"{dataset.unlabelled} files had no label and were left out.")
    if dataset.split in {"train", "all"} and dataset.form == "arrays":
        remarks.append("The training split is among these cases: the figures flatter.")
    return remarks
