"""What an analysis found, put for a clinician: remarks first, then what is said, key images, values, published ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from api.pages import words
from api.pages.measures import Compared, Table, compared, table
from api.pages.plots import probability_bar
from clinic.elements import text
from clinic.headers import age_years
from clinic.instance import StudyRow
from clinic.refusals import REMARKS
from clinic.statements import percent
from clinic.workitem import State, Statement, Workitem
from pipelines.outputs import ClassOutput, KeyImageOutput, MapOutput, ScoreOutput
from pipelines.spec import Pipeline

SEX = "00100040"
BEST_MAX = 14
SLICES = (("axial", "Axial"), ("coronal", "Coronal"), ("sagittal", "Sagittal"))


@dataclass(frozen=True, slots=True)
class Scored:
    """A score: what it is about, what is said, its bar, and in which tone (`positive`, `negative`, `unjudged`)."""

    label: str
    text: str
    tone: str
    bar: Markup


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame with its class: its number from 1, what it shows, how certainly."""

    number: int
    text: str
    certainty: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A key image: where it is, what it shows, and what stands below it."""

    href: str
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Found:
    """What one finished analysis found.

    Attributes
    ----------
    remarks
        Sentences that have to be said with it, before anything else.
    scores, frames
        What was scored, and the class of each frame; `asked` is what the classes answer.
    pictures
        Key images.
    table
        Values by structure where they are many.
    compared
        Values beside published ranges.
    values
        How many values there are.
    """

    remarks: tuple[str, ...] = ()
    scores: tuple[Scored, ...] = ()
    asked: str = ""
    frames: tuple[Frame, ...] = ()
    pictures: tuple[Picture, ...] = ()
    table: Table | None = None
    compared: tuple[Compared, ...] = ()
    values: int = 0


NOTHING = Found()


def found_of(item: Workitem, pipeline: Pipeline | None, study: StudyRow) -> Found:
    """What a Workitem found; nothing while it is not completed.

    Parameters
    ----------
    item
        Which.
    pipeline
        That made it; None when it is not here any more.
    study
        Of the patient: sex and age choose among published ranges.
    """
    if item.state is not State.COMPLETED:
        return NOTHING
    framed = [said for said in item.statements if said.frame is not None]
    sex = text(study.attributes, SEX)
    return Found(
        remarks=tuple(REMARKS.get(code, code) for code in item.remarks),
        scores=tuple(_scored(said, pipeline) for said in item.statements if said.frame is None),
        asked=framed[0].label if framed else "",
        frames=tuple(_frame(said) for said in framed),
        pictures=(*_slices(item), *_mapped(item, pipeline), *_best(item, pipeline, framed)),
        table=table(item.measured, pipeline),
        compared=compared(item.measured, pipeline, sex, age_years(study.attributes)),
        values=len(item.measured),
    )


def headline(item: Workitem, pipeline: Pipeline | None) -> str:
    """What the list of studies says of scores and classes; empty where there are none."""
    scores = [said for said in item.statements if said.frame is None]
    if scores:
        return f"{scores[0].label}: {scores[0].text}"
    framed = [said for said in item.statements if said.frame is not None]
    kept = _without(pipeline)
    named = list(dict.fromkeys(said.text for said in framed if said.text not in kept))
    if len(framed) == 1:
        return f"{framed[0].text} ({percent(framed[0].certainty or 0.0)})"
    return f"{words.counted(len(named), 'class', 'classes')} in {words.counted(len(framed), 'frame')}" if framed else ""


def _scored(said: Statement, pipeline: Pipeline | None) -> Scored:
    outputs = pipeline.outputs if pipeline else ()
    output = next((one for one in outputs if isinstance(one, ScoreOutput) and one.score == said.key), None)
    tone = {True: "positive", False: "negative", None: "unjudged"}[said.positive]
    return Scored(
        said.label,
        said.text,
        tone,
        probability_bar(said.certainty or 0.0, output.positive_from if output else None, tone),
    )


def _frame(said: Statement) -> Frame:
    assert said.frame is not None, "a class is of a frame"
    return Frame(said.frame + 1, said.text, percent(said.certainty) if said.certainty is not None else "")


def _address(item: Workitem, rest: str) -> str:
    return f"/studies/{item.study_uid}/analyses/{item.workitem_id}/{rest}"


def _slices(item: Workitem) -> Sequence[Picture]:
    if item.reference("seg") is None:
        return ()
    return [
        Picture(_address(item, f"slice/{plane}"), f"{name} slice through the middle of what was found, outlined", name)
        for plane, name in SLICES
    ]


def _mapped(item: Workitem, pipeline: Pipeline | None) -> Sequence[Picture]:
    """The first image with and without its map."""
    outputs = pipeline.outputs if pipeline else ()
    output = next((one for one in outputs if isinstance(one, MapOutput)), None)
    if output is None or item.reference("map") is None or pipeline is None or not pipeline.selector.planar:
        return ()
    return [
        Picture(_address(item, "frame/0"), "The image as it was analysed", "As analysed"),
        Picture(_address(item, "map/0"), f"{output.label}, from amber to red over the image", output.label),
    ]


def _best(item: Workitem, pipeline: Pipeline | None, framed: Sequence[Statement]) -> Sequence[Picture]:
    """The most certain frame of each class that is worth showing, in order of the frames."""
    without, best = _without(pipeline), dict[str, Statement]()
    for said in sorted(framed, key=lambda one: (-(one.certainty or 0.0), one.frame or 0)):
        if said.text not in without:
            best.setdefault(said.text, said)
    chosen = sorted(best.values(), key=lambda one: one.frame or 0)[:BEST_MAX]
    return [
        Picture(
            _address(item, f"frame/{said.frame}"),
            f"Frame {(said.frame or 0) + 1}: {said.text}",
            f"{said.text}, {percent(said.certainty or 0.0)}, frame {(said.frame or 0) + 1}",
        )
        for said in chosen
    ]


def _without(pipeline: Pipeline | None) -> frozenset[str]:
    """Labels of the classes that no key image is made of, as `no standard plane`."""
    outputs = pipeline.outputs if pipeline else ()
    left = {(one.classification, key) for one in outputs if isinstance(one, KeyImageOutput) for key in one.without}
    return frozenset(
        option.label
        for one in outputs
        if isinstance(one, ClassOutput)
        for option in one.options
        if (one.classification, option.key) in left
    )
