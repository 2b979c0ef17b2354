"""Model cards: what a bundle's metadata and its README say, for the people who read its findings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from api.pages import markdown
from pipelines.catalog import pipelines

BUNDLES = Path(__file__).resolve().parents[2] / "models" / "bundles"

Lines = tuple[tuple[str, str], ...]

_SHOWN = {
    "Intended use": ("intended_use",),
    "Population": ("population",),
    "Evaluation": ("evaluation", "eval_metrics"),
}
_FURTHER = {
    "Licence": ("license", "licence"),
    "Authors": ("authors",),
    "Training": ("data_source",),
    "References": ("references",),
}
"""Where each entry of a card stands in a bundle's metadata; the first that is filled."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a card: its name, and (what, text) for each thing said; `what` is empty where there is but one."""

    name: str
    lines: Lines


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What one shows of a bundle.

    Attributes
    ----------
    bundle, title, version
        Which.
    intended_use
        One text.
    shown, further
        What is always shown; what stands behind a click.
    plausible
        For each measurement the (least, greatest) value that the bundle lets pass.
    readme
        `docs/README.md` of the bundle as safe HTML; empty when there is none.
    """

    bundle: str
    title: str
    version: str
    intended_use: str
    shown: tuple[Entry, ...]
    further: tuple[Entry, ...]
    plausible: Mapping[str, tuple[float, float]]
    readme: Markup


@cache
def card(bundle: str) -> ModelCard | None:
    """The card of a bundle of this installation, or None when it has no metadata."""
    folder = BUNDLES / bundle
    path = folder / "configs" / "metadata.json"
    if not path.is_file():
        return None
    metadata = json.loads(path.read_text("utf-8"))
    readme = folder / "docs" / "README.md"
    return ModelCard(
        bundle=bundle,
        title=str(metadata.get("name") or metadata.get("task") or bundle),
        version=str(metadata.get("version", "")),
        intended_use=str(metadata.get("intended_use", "")),
        shown=_entries(metadata, _SHOWN),
        further=_entries(metadata, _FURTHER),
        plausible={
            key: (float(span["least"]), float(span["most"]))
            for key, span in metadata.get("bithive", {}).get("plausibility", {}).items()
        },
        readme=markdown.render(readme.read_text("utf-8"), below=2) if readme.is_file() else Markup(""),
    )


def cards(names: Iterable[str] | None = None) -> list[ModelCard]:
    """The cards of these bundles, or of every bundle that a pipeline names; each once."""
    wanted = names if names is not None else (pipeline.bundle for pipeline in pipelines().values())
    return [found for name in dict.fromkeys(wanted) if (found := card(name)) is not None]


def _entries(metadata: Mapping[str, Any], table: Mapping[str, tuple[str, ...]]) -> tuple[Entry, ...]:
    found = []
    for name, keys in table.items():
        value = next((metadata[key] for key in keys if metadata.get(key)), None)
        if value is not None:
            found.append(Entry(name, _lines(value)))
    return tuple(found)


def _lines(value: Any) -> Lines:
    if isinstance(value, Mapping):
        return tuple((str(key).replace("_", " ").capitalize(), str(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(("", str(item)) for item in value)
    return (("", str(value)),)
