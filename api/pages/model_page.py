"""The page of one model, and the list of them: state, pipelines, engines, weights, and what was measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from api.evaluated import interval, rows
from api.pages import words
from api.pages.model_card import BUNDLES, ModelCard, card
from api.pages.plots import reliability_plot, roc_plot
from api.services import Services
from bithive.errors import BitHiveError
from bithive.offer import DataClass
from models.bundle import Bundle
from models.catalog import Catalog
from models.evaluations import Evaluations, Record, is_current
from models.pins import AddressSource, BundledSource, ConvertedSource, InstalledSource, PinnedFile, WheelSource
from pipelines.catalog import Repertoire
from pipelines.match import reasons

_CLASSES: dict[DataClass, str] = {
    DataClass.P0: "Public or synthetic: any cell may have it.",
    DataClass.P1: "De-identified, and neither head nor face: vetted operators may have it.",
    DataClass.P2: "De-identified, but a head or a genome can be recognised: it stays within one legal entity.",
    DataClass.P3: "Possibly identifying, for instance by burned-in text: it never leaves the institution’s own cell.",
}
_MEASURES = {
    "dice": "Dice overlap of masks",
    "labels": "share of voxels with the same label",
    "allclose": "share of values that agree",
}
_SKIPPED = ("data set", "cases", "refused", "engine")
_LINES_MAX = 40


@dataclass(frozen=True, slots=True)
class State:
    """Whether a model can run here: tone and word of the pill, and why not."""

    tone: str
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot and what it shows."""

    plot: Markup
    caption: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One record of an evaluation as shown.

    Attributes
    ----------
    dataset, date, cases, refused, engine
        On what, when, how many, how many were refused and why, with what.
    digest
        SHA-256 of the data set.
    current
        Whether it is of what the bundle does now.
    rows, more
        What, value, interval; those behind a click.
    figures, confusion
        Plots; of classes the table of answers: head, and (truth, counts).
    remarks
        What has to be said with it.
    """

    dataset: str
    date: str
    cases: str
    refused: str
    engine: str
    digest: str
    current: bool
    rows: tuple[tuple[str, str, str], ...]
    more: tuple[tuple[str, str, str], ...]
    figures: tuple[Figure, ...]
    confusion: tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]] | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A pipeline that runs the model, and whether it is on."""

    title: str
    state: State
    intended_use: str


@dataclass(frozen=True, slots=True)
class ModelPage:
    """All that the page of one model says.

    Attributes
    ----------
    card
        What its metadata says.
    state
        Whether its weights are here.
    by_rule, method
        Whether it has no network, and what it does.
    tasks
        Pipelines that run it.
    engines
        (engine, precision, parity).
    weights
        (file, size, SHA-256, source).
    data_class, data_class_reason
        Whose eyes may see the payload, and why.
    evaluated
        Records, the newest first.
    """

    card: ModelCard
    state: State
    by_rule: bool
    method: str
    tasks: tuple[Task, ...]
    engines: tuple[tuple[str, str, str], ...]
    weights: tuple[tuple[str, str, str, str], ...]
    data_class: str
    data_class_reason: str
    evaluated: tuple[Evaluated, ...]


def model_page(services: Services, name: str) -> ModelPage | None:
    """The page of a model, or None when there is none of that name here."""
    repertoire = services.repertoire()
    found, bundle = card(name, repertoire.bundles), _bundle(repertoire, name)
    if found is None or bundle is None:
        return None
    records = Evaluations(services.settings.model_store).records(bundle)
    tasks = [pipeline for pipeline in repertoire.pipelines.values() if pipeline.bundle == name]
    return ModelPage(
        card=found,
        state=_state(services, bundle),
        by_rule=not bundle.weights,
        method=str(bundle.metadata.get("description", "")),
        tasks=tuple(Task(one.title, _on(one.withheld), one.intended_use) for one in tasks),
        engines=tuple(_engine(engine, row) for engine, row in bundle.extension["engines"].items()),
        weights=tuple(_weight(pinned) for pinned in bundle.weights),
        data_class=str(bundle.data_class),
        data_class_reason=str(bundle.extension.get("data_class_why") or _CLASSES[bundle.data_class]),
        evaluated=tuple(evaluated(record, current=is_current(record, bundle)) for record in records),
    )


def model_lines(services: Services) -> tuple[tuple[ModelCard, State, str], ...]:
    """Every model: its card, its state, and in a few words what was measured here."""
    repertoire = services.repertoire()
    store = Evaluations(services.settings.model_store)
    names = dict.fromkeys((*(one.bundle for one in repertoire.pipelines.values()), *sorted(repertoire.bundles)))
    found = []
    for name in names:
        shown, bundle = card(name, repertoire.bundles), _bundle(repertoire, name)
        if shown is not None and bundle is not None:
            records = store.records(bundle)
            said = f"Evaluated here on {words.counted(len(records), 'data set')}" if records else "Not evaluated here"
            found.append((shown, _state(services, bundle), said))
    return tuple(found)


def evaluated(record: Record, *, current: bool) -> Evaluated:
    """A record as shown. Raises nothing for one that `models.evaluations.is_record` accepted but that lacks a part."""
    try:
        listed = [row for row in rows(record) if row[0] not in _SKIPPED]
        figures = tuple(_figures(record))
        confusion = _confusion(record["metrics"].get("confusion"))
        engine = f"{record['engine']['name']} {record['engine']['version']}, {record['engine']['precision']}"
        refused = ", ".join(f"{count} {code}" for code, count in record["refused"].items()) or "none"
        cases = words.counted(int(record["n"]), "case")
        remarks = tuple(map(str, record["metrics"]["remarks"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        listed, figures, confusion, engine, refused, cases = [], (), None, "", "", ""
        remarks = ("This record cannot be read.",)
    first = 14 if record["kind"] == "binary" else _LINES_MAX
    dataset = record["dataset"]
    return Evaluated(
        dataset=" ".join(filter(None, (dataset["name"], str(dataset.get("split", ""))))),
        date=record["date"][:10],
        cases=cases,
        refused=refused,
        engine=engine,
        digest=dataset["sha256"],
        current=current,
        rows=tuple(listed[:first]),
        more=tuple(listed[first:]),
        figures=figures,
        confusion=confusion,
        remarks=remarks,
    )


def _figures(record: Record) -> Sequence[Figure]:
    metrics, found = record["metrics"], []
    if metrics.get("roc"):
        area = metrics["answered"]["auc"]
        said = f"AUC {area['value']:.3f} ({interval(area)})"
        found.append(
            Figure(roc_plot(metrics["roc"], said), f"ROC curve of the answered cases; interval by {area['method']}.")
        )
    if metrics.get("reliability"):
        names = (
            ("Certainty said", "Share right") if record["kind"] == "classes" else ("Probability said", "Share positive")
        )
        caption = (
            "Reliability: on the dashed line what is said is what is seen. Bars: Wilson 95 %; larger dots: more cases."
        )
        found.append(Figure(reliability_plot(metrics["reliability"], *names), caption))
    return found


def _confusion(counts: Mapping[str, Mapping[str, int]] | None) -> Any:
    if not counts:
        return None
    answers = sorted({answer for row in counts.values() for answer in row})
    plain = tuple(
        (truth.replace("_", " "), tuple(str(row.get(one, "")) for one in answers)) for truth, row in counts.items()
    )
    return tuple(one.replace("_", " ") for one in answers), plain


def _bundle(repertoire: Repertoire, name: str) -> Bundle | None:
    found = repertoire.bundles.get(name)
    if found is None and (BUNDLES / name / "configs").is_dir():
        found = _built_in().get(name)
    return found


def _built_in() -> Mapping[str, Bundle]:
    return Catalog(BUNDLES.parent, folder=BUNDLES).built_in()


def _state(services: Services, bundle: Bundle) -> State:
    if not bundle.weights:
        return State("good", "Ready", "A rule: it needs no weights.")
    try:
        ready = Catalog.of(services.settings).ready(bundle)
    except BitHiveError as error:
        return State("bad", "Not sound", error.title)
    if ready:
        return State("good", "Ready")
    return State("quiet", "Weights absent", f"bithive models pull {bundle.name}")


def _on(withheld: str) -> State:
    if not withheld:
        return State("good", "On")
    return State("quiet", "Withheld", reasons().get(withheld, withheld))


def _engine(name: str, row: Mapping[str, Any]) -> tuple[str, str, str]:
    parity = row.get("parity")
    if name == "numpy":
        return ("numpy", str(row.get("precision", "")), "a rule: there is nothing to compare")
    if not parity:
        return (name, str(row.get("precision", "")), "the reference")
    measure = _MEASURES.get(str(parity["measure"]), str(parity["measure"]))
    return (name, str(row.get("precision", "")), f"{measure} with {parity['reference']} at least {parity['least']:g}")


def _weight(pinned: PinnedFile) -> tuple[str, str, str, str]:
    source = pinned.source
    said = "elsewhere"
    if isinstance(source, WheelSource):
        said = f"the Python package {source.distribution} {source.version}"
    elif isinstance(source, AddressSource):
        said = source.address
    elif isinstance(source, BundledSource):
        said = "comes with BitHive"
    elif isinstance(source, ConvertedSource):
        said = f"made by {source.converter} of {', '.join(part.address for part in source.parts)}"
    elif isinstance(source, InstalledSource):
        said = "installed with the bundle"
    return (pinned.file, words.size(pinned.size_bytes), pinned.sha256, said)
