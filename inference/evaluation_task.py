"""What an evaluation asks of a bundle: declared as `evaluation_task` in its metadata, or plain from its findings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inference.errors import NotEvaluable
from models.bundle import Bundle

Kind = Literal["binary", "classes", "segmentation"]

_NEGATIVES = ("normal", "negative", "healthy", "no", "0")
_POSITIVES = ("positive", "abnormal", "yes", "1")


@dataclass(frozen=True, slots=True)
class Task:
    """What a bundle answers, and how a data set's labels are to be read.

    Attributes
    ----------
    kind
        `binary`: a score against yes and no; `classes`: one class an image; `segmentation`: masks against labels.
    key
        Of the score or the classification in the Findings.
    threshold
        From which a score is called positive; None when none is declared.
    names
        What a label, a file or a folder is called, as `squash` makes it: of a binary task `1` or `0`, of a
        classification the key of the class.
    structures
        Of a segmentation: the mask's or structure's key for each label of the truth.
    unit
        Of volumes that do not say it: `HU` for CT, else `arbitrary`.
    """

    kind: Kind
    key: str
    threshold: float | None
    names: Mapping[str, str]
    structures: Mapping[int, str]
    unit: str


def squash(name: str) -> str:
    """A name as names are compared: its letters and digits, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def task_of(bundle: Bundle) -> Task:
    """The task of a bundle.

    Raises
    ------
    NotEvaluable
        If it declares none and finds neither masks nor structures, or declares one that cannot be read.
    """
    declared = bundle.extension.get("evaluation_task", bundle.metadata.get("evaluation_task"))
    unit = "HU" if _modality(bundle) == "CT" else "arbitrary"
    if declared is None:
        structures = _structures(bundle)
        if not structures:
            raise NotEvaluable("the bundle declares no evaluation_task, and finds no masks", bundle=bundle.name)
        return Task("segmentation", "", None, {}, structures, unit)
    try:
        kind = declared["kind"]
        if kind == "binary":
            return _binary(declared, unit)
        if kind == "classes":
            names = {squash(str(name)): str(key) for name, key in declared["names"].items()}
            return Task("classes", str(declared["classification"]), None, names, {}, unit)
        if kind == "segmentation":
            given = {int(label): str(key) for label, key in declared.get("structures", {}).items()}
            return Task("segmentation", "", None, {}, given or _structures(bundle), unit)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NotEvaluable("the bundle's evaluation_task cannot be read", bundle=bundle.name) from None
    raise NotEvaluable("the bundle's evaluation_task is of a kind that is not evaluated", bundle=bundle.name)


def _binary(declared: Mapping[str, Any], unit: str) -> Task:
    score, positive = str(declared["score"]), str(declared.get("positive", 1))
    threshold = declared.get("threshold")
    names = dict.fromkeys((*_POSITIVES, squash(score)), "1") | dict.fromkeys((*_NEGATIVES, f"no{squash(score)}"), "0")
    names |= {squash(str(name)): str(int(label)) for name, label in declared.get("names", {}).items()}
    if positive == "0":
        names |= {"0": "1", "1": "0"}
    return Task("binary", score, None if threshold is None else float(threshold), names, {}, unit)


def _structures(bundle: Bundle) -> dict[int, str]:
    """By the label map's own labels; without one by the order of the masks, from 1."""
    if bundle.structures:
        return {structure.label: structure.key for structure in bundle.structures}
    masks = bundle.extension.get("findings", {}).get("masks", {})
    return dict(enumerate(masks, 1)) if isinstance(masks, Mapping) else {}


def _modality(bundle: Bundle) -> str:
    inputs = bundle.metadata.get("network_data_format", {}).get("inputs", {})
    found = inputs.get("image", {}) if isinstance(inputs, Mapping) else {}
    return str(found.get("modality", "")) if isinstance(found, Mapping) else ""
