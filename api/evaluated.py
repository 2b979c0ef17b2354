"""A record of an evaluation in words: what was measured, its value, its interval. For the terminal and for the pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models.evaluations import Record

Row = tuple[str, str, str]

_NAMES = {
    "auc": "area under the ROC curve",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "accuracy": "accuracy",
    "ece": "expected calibration error",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "mean_dice": "mean Dice",
}
_MEASURES = (
    ("dice", "Dice", ""),
    ("hd95_mm", "HD95", " mm"),
    ("volume_error_ml", "volume error", " ml"),
    ("volume_error_percent", "volume error", " %"),
)


def rows(record: Record) -> Iterator[Row]:
    """What, value and interval of each metric of a record."""
    metrics, dataset = record["metrics"], record["dataset"]
    refused = sum(record["refused"].values())
    yield ("data set", f"{dataset['name']} {dataset['split']}".strip(), f"sha256 {dataset['sha256'][:12]}")
    yield ("cases", str(record["n"]), "")
    yield ("refused", str(refused), ", ".join(f"{code}: {count}" for code, count in record["refused"].items()))
    if "prevalence" in metrics:
        yield _row("prevalence", metrics["prevalence"])
    for part, of in (("answered", ""), ("with_refused", ", refused counted as wrong")):
        if part == "answered" or refused:
            yield from _part(metrics[part], of)
    for name, found in metrics.get("classes", {}).items():
        for kind in ("recall", "precision"):
            if found[kind]["of"]:
                yield _row(f"{name}: {kind}", found[kind])
    for name, found in metrics.get("structures", {}).items():
        for measure, title, unit in _MEASURES:
            if found[measure]["value"] is not None:
                yield _row(f"{name}: {title}", found[measure], unit)
    yield ("engine", " ".join((record["engine"]["name"], record["engine"]["version"])), record["engine"]["precision"])


def brief(record: Record, current: bool) -> str:
    """A record in one line, for the card in a terminal."""
    lines = [row for row in rows(record) if row[0] in _NAMES.values() and row[2]]
    shown = "; ".join(f"{what} {value} ({interval})" for what, value, interval in lines[:3])
    dataset = record["dataset"]
    old = "" if current else " (of another form of this bundle)"
    return f"{dataset['name']}{dataset['split'] and ' '}{dataset['split']}, {record['n']} cases, {record['date'][:10]}{old}: {shown}"


def _part(found: Mapping[str, Any], of: str) -> Iterator[Row]:
    for key, title in _NAMES.items():
        value = found.get(key)
        if value is not None:
            yield _row(f"{title}{of}", value)
        if key == "ece" and value is not None:
            yield (
                "  of a perfect model with so few cases",
                f"{value['chance']:.3f}",
                f"up to {value['chance_high']:.3f}",
            )
        if key == "auc" and value is not None and found.get("auc_bootstrap"):
            yield ("  the same by bootstrap", "", interval(found["auc_bootstrap"]))
    if not of and "brier" in found:
        brier = found["brier"]
        yield ("Brier score", f"{brier['value']:.3f}", f"prevalence alone: {brier['of_prevalence_alone']:.3f}")
    if not of and "threshold" in found:
        yield ("threshold", f"{found['threshold']:.3f}", "")


def _row(title: str, value: Mapping[str, Any], unit: str = "") -> Row:
    shown = "none" if value["value"] is None else f"{value['value']:.3f}{unit}"
    count = f", {value['found']} of {value['of']}" if "of" in value else ""
    return (title, shown, f"{interval(value)}{count}")


def interval(value: Mapping[str, Any]) -> str:
    if value.get("low") is None:
        return "too few cases for one"
    return f"{value['low']:.3f} to {value['high']:.3f}"
