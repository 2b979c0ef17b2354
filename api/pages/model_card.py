"""Model cards: what a bundle's metadata, its README and its manifest say, for the people who read its findings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from api.pages import markdown
from bithive.clock import as_iso
from bithive.errors import BitHiveError
from bithive.keys import fingerprint
from models import manifest
from models.bundle import NAME, Bundle
from pipelines.catalog import pipelines

BUNDLES = Path(__file__).resolve().parents[2] / "models" / "bundles"

Lines = tuple[tuple[str, str], ...]

_NONE: Mapping[str, Bundle] = MappingProxyType({})

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


def card(bundle: str, bundles: Mapping[str, Bundle] = _NONE) -> ModelCard | None:
    """The card of a bundle, or None when there is none of that name.

    Parameters
    ----------
    bundle
        Its name.
    bundles
        Those that are installed; without them only what comes with BitHive is known.
    """
    found = bundles.get(bundle)
    if found is not None and found.form == "zoo":
        return _installed(found)
    return _built_in(bundle)


@lru_cache(maxsize=64)
def _built_in(bundle: str) -> ModelCard | None:
    if not NAME.fullmatch(bundle):
        return None
    folder = BUNDLES / bundle
    path = folder / "configs" / "metadata.json"
    if not path.is_file():
        return None
    metadata = json.loads(path.read_text("utf-8"))
    return _card(bundle, folder, metadata, metadata.get("bithive", {}), ())


def _installed(bundle: Bundle) -> ModelCard:
    """With what the manifest says: licence of the weights, engines, structures, who signed, what the audit found."""
    lines: list[Entry] = [
        Entry("Licence of the weights", (("", bundle.licence),)),
        Entry("Engines", (("", ", ".join(bundle.engines)),)),
        Entry("Structures", (("", ", ".join(structure.name for structure in bundle.structures)),)),
    ]
    try:
        signed = manifest.read(bundle.folder)
        audit = tuple((row["check"].capitalize(), f"{row['outcome']}: {row['detail']}") for row in signed["audit"])
        about = (("Signed by", fingerprint(signed["signer"])), ("At", as_iso(signed["created_ms"])))
        lines += [Entry("Installed", about), Entry("Audit", audit)]
    except (BitHiveError, KeyError, TypeError, ValueError):
        lines.append(Entry("Installed", (("", "its manifest cannot be read"),)))
    return _card(bundle.name, bundle.folder, bundle.metadata, bundle.extension, tuple(lines))


def _card(
    name: str, folder: Path, metadata: Mapping[str, Any], extension: Mapping[str, Any], lines: tuple[Entry, ...]
) -> ModelCard:
    readme = folder / "docs" / "README.md"
    return ModelCard(
        bundle=name,
        title=str(metadata.get("name") or metadata.get("task") or name),
        version=str(metadata.get("version", "")),
        intended_use=str(metadata.get("intended_use", "")),
        shown=_entries(metadata, _SHOWN),
        further=(*_entries(metadata, _FURTHER), *lines),
        plausible={
            key: (float(span["least"]), float(span["most"])) for key, span in extension.get("plausibility", {}).items()
        },
        readme=markdown.render(readme.read_text("utf-8", "replace"), below=2) if readme.is_file() else Markup(""),
    )


def cards(names: Iterable[str] | None = None, bundles: Mapping[str, Bundle] = _NONE) -> list[ModelCard]:
    """The cards of these bundles, or of every bundle that a pipeline names or that is installed; each once."""
    named = (pipeline.bundle for pipeline in pipelines().values())
    wanted = names if names is not None else (*named, *sorted(bundles))
    return [found for name in dict.fromkeys(wanted) if (found := card(name, bundles)) is not None]


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
