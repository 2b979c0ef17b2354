"""Measured values as tables and plots: by structure, left beside right, each quantity a column.

A handful of values is a list. Many become a table: one row for each structure without its side, columns for each
quantity, so that 103 structures with volume, share and asymmetry stay readable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from api.pages import words
from api.pages.plots import Band, balance_bar, range_plot
from clinic.workitem import Measured
from pipelines.brains import ASYMMETRY, GYRI, SHARE
from pipelines.outputs import Code, MeasurementOutput, ReferenceRange
from pipelines.spec import Pipeline

LIST_MAX = 6
MINUS = "\N{MINUS SIGN}"
SIDES = ("right", "left")
"""In the order of images: the patient's right on the left."""

_SHORT: dict[Code, str] = {SHARE: "Share of ICV", ASYMMETRY: "Asymmetry"}
_UNITS = {"mL": "ml", "[hnsf'U]": "HU", "1": "", "mm2": "mm²", "mm3": "mm³"}
_MEANINGS = {"F": "women", "M": "men"}

_DEEP = frozenset(
    ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens_area", "ventral_dc")
)
_FLUID = frozenset(("lateral_ventricle", "inf_lat_vent", "3rd_ventricle", "4th_ventricle", "cerebrospinal_fluid"))
_BEHIND = frozenset(("brain_stem", "cerebellum_white_matter", "cerebellum_exterior"))
_SECTIONS: tuple[tuple[str, frozenset[str]], ...] = (
    ("Cerebral cortex", frozenset(key for key, _ in GYRI) | {"cerebral_cortex"}),
    ("Deep grey matter", _DEEP),
    ("White matter", frozenset(("cerebral_white_matter", "white_matter"))),
    ("Ventricles and fluid", _FLUID),
    ("Cerebellum and brain stem", _BEHIND),
    (
        "Corpus callosum",
        frozenset(f"cc_{part}" for part in ("posterior", "mid_posterior", "central", "mid_anterior", "anterior")),
    ),
)
"""Sections of a long table: what a brain's structures belong to."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value; `span` of 2 stands over the columns of both sides. `bar` is drawn beside it."""

    text: str
    span: int = 1
    bar: Markup | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One structure: its name, and a cell for each column."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Lines that belong together; `title` is empty where there is but one section."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A quantity with its unit, over one column or over right and left."""

    name: str
    unit: str
    sided: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Values by structure. `sided` says whether a second line of the head names right and left."""

    columns: tuple[Column, ...]
    sections: tuple[Section, ...]

    @property
    def sided(self) -> bool:
        """Whether any column stands over both sides."""
        return any(column.sided for column in self.columns)

    @property
    def width(self) -> int:
        """Columns in all, that of the names included."""
        return 1 + sum(1 + column.sided for column in self.columns)


@dataclass(frozen=True, slots=True)
class Compared:
    """A value beside published ranges: the plot, and each range's population and source in words."""

    name: str
    plot: Markup
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Value:
    """A measured value with what it is a value of."""

    row: str
    side: str
    label: str
    quantity: tuple[Code, Code | None, str]
    value: float


def unit_of(code: str) -> str:
    """A UCUM unit as people write it."""
    return _UNITS.get(code, code)


def table(measured: Sequence[Measured], pipeline: Pipeline | None) -> Table | None:
    """The table of an analysis; None where a list says it better, or nobody knows its pipeline.

    Parameters
    ----------
    measured
        Of the Workitem, in the pipeline's order.
    pipeline
        That measured them.
    """
    outputs = _outputs(pipeline)
    values = [_value(item, outputs[item.key]) for item in measured if item.key in outputs]
    if len(values) <= LIST_MAX:
        return None
    quantities = list(dict.fromkeys(value.quantity for value in values))
    sided = {value.quantity for value in values if value.side}
    columns = tuple(_column(quantity, sided=quantity in sided) for quantity in quantities)
    rows: dict[str, list[_Value]] = {}
    for value in values:
        rows.setdefault(value.row, []).append(value)
    lines = {key: _line(found, quantities, sided) for key, found in rows.items()}
    return Table(columns, _sections(lines))


def compared(
    measured: Sequence[Measured], pipeline: Pipeline | None, sex: str, age_years: float | None
) -> tuple[Compared, ...]:
    """Each value that has published ranges beside those that are for such a patient.

    Parameters
    ----------
    sex
        `M`, `F`, or anything else: then the ranges of both are shown.
    age_years
        None when it is not known: then no range is left out.
    """
    outputs = _outputs(pipeline)
    found = []
    for item in measured:
        output = outputs.get(item.key)
        ranges = [one for one in output.references if _fits(one, sex, age_years)] if output else []
        if ranges:
            unit = unit_of(item.unit)
            bands = [Band(_MEANINGS.get(one.sex, ""), one.low, one.high) for one in ranges]
            sources = tuple(dict.fromkeys((one.population, one.source) for one in ranges))
            found.append(Compared(item.name, range_plot(item.value, unit, bands, item.name), sources))
    return tuple(found)


def _fits(one: ReferenceRange, sex: str, age_years: float | None) -> bool:
    if one.sex and sex in {"M", "F"} and one.sex != sex:
        return False
    return one.age_years is None or age_years is None or one.age_years[0] <= age_years <= one.age_years[1]


def _outputs(pipeline: Pipeline | None) -> Mapping[str, MeasurementOutput]:
    outputs = pipeline.outputs if pipeline else ()
    return {output.measurement: output for output in outputs if isinstance(output, MeasurementOutput)}


def _value(item: Measured, output: MeasurementOutput) -> _Value:
    row = output.mask or item.key.rpartition("_")[0] or item.key
    side = next((side for side in SIDES if row.startswith(f"{side}_")), "")
    quantity = (output.name, output.statistic, unit_of(item.unit))
    return _Value(row.removeprefix(f"{side}_"), side, item.name, quantity, item.value)


def _column(quantity: tuple[Code, Code | None, str], *, sided: bool) -> Column:
    name, statistic, unit = quantity
    said = _SHORT.get(name) or name.meaning.partition(" (")[0]
    return Column(f"{said}, {statistic.meaning.lower()}" if statistic else said, unit, sided)


def _line(
    values: Sequence[_Value],
    quantities: Sequence[tuple[Code, Code | None, str]],
    sided: set[tuple[Code, Code | None, str]],
) -> Line:
    by_place = {(value.quantity, value.side): value for value in values}
    cells: list[Cell] = []
    for quantity in quantities:
        plain = by_place.get((quantity, ""))
        if quantity in sided and any((quantity, side) in by_place for side in SIDES):
            cells += [_cell(by_place.get((quantity, side))) for side in SIDES]
        else:
            cells.append(_cell(plain, 2 if quantity in sided else 1))
    return Line(_name(values), tuple(cells))


def _cell(value: _Value | None, span: int = 1) -> Cell:
    if value is None:
        return Cell("–", span)
    name, _, unit = value.quantity
    if name == ASYMMETRY:
        return Cell(f"{value.value:+.1f}".replace("-", MINUS), span, balance_bar(value.value))
    return Cell(_figure(value.value, unit).replace("-", MINUS), span)


def _figure(value: float, unit: str) -> str:
    """With as many places as its neighbours in a column."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else words.figure(value, unit)


def _name(values: Sequence[_Value]) -> str:
    """What the labels of a row have in common: without side and quantity."""
    labels = [_sideless(value.label) for value in values]
    if len(set(labels)) == 1:
        return labels[0]
    heads = {label.rpartition(", ")[0] or label for label in labels}
    plain = [label for label in labels if label in heads]
    return plain[0] if plain else min(heads, key=len)


def _sideless(label: str) -> str:
    for side in SIDES:
        if label.lower().startswith(f"{side} "):
            rest = label[len(side) + 1 :]
            return rest[:1].upper() + rest[1:]
    return label


def _sections(lines: Mapping[str, Line]) -> tuple[Section, ...]:
    """In the order of `_SECTIONS`, what belongs to none of them first; one section when there are few lines."""
    placed = {key: next((title for title, keys in _SECTIONS if key in keys), "") for key in lines}
    titles = [title for title, _ in _SECTIONS if title in placed.values()]
    if len(titles) < 2:
        return (Section("", tuple(lines.values())),)
    rest = "Whole" if "" in placed.values() else None
    found = [] if rest is None else [Section(rest, tuple(line for key, line in lines.items() if not placed[key]))]
    return (
        *found,
        *(Section(title, tuple(line for key, line in lines.items() if placed[key] == title)) for title in titles),
    )
