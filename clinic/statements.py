"""What a Workitem, its report and its preview say of Findings in words: the same everywhere.

Nothing is flagged of a patient outside the population that the pipeline was validated on, nor of one whose age is not
known: the number stands, with the remark `outside-population`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clinic.workitem import Measured, Statement
from inference.findings import Classification, Findings, Region
from pipelines.outputs import (
    ClassOption,
    ClassOutput,
    KeyImageOutput,
    MeasurementOutput,
    Output,
    RegionOutput,
    ScoreOutput,
    SegmentOutput,
)
from pipelines.spec import Pipeline

OUTSIDE_POPULATION = "outside-population"
FRAMES_TOLD_MAX = 120
"""Of a longer clip a Workitem holds the best frame of each class; the report has them all."""

BOXES_TOLD_MAX = 30
"""Of more boxes a Workitem holds the most certain; the report has them all."""

_UNITS = {"[hnsf'U]": "HU", "1": ""}


@dataclass(frozen=True, slots=True)
class Best:
    """The frame that shows a class best: the most certain one, the earliest of equals."""

    option: ClassOption
    found: Classification


def remarks_of(pipeline: Pipeline, age_years: float | None) -> tuple[str, ...]:
    """What has to be said with the findings of a patient of that age: codes of `clinic.refusals.REMARKS`."""
    return () if pipeline.validated_on(age_years) else (OUTSIDE_POPULATION,)


def measured_of(pipeline: Pipeline, findings: Findings, there: Collection[str]) -> tuple[Measured, ...]:
    """The measured outputs of what is there, in the pipeline's order.

    Parameters
    ----------
    pipeline, findings
        What was asked, and what was found.
    there
        Masks and structures that have a voxel.
    """
    labels = {item.mask: item.label for item in pipeline.outputs if isinstance(item, SegmentOutput)}
    found = [(item, findings.measurement(item.measurement)) for item in written_measurements(pipeline.outputs, there)]
    return tuple(
        Measured(item.measurement, item.label or labels[item.mask], value.value, value.unit)
        for item, value in found
        if value
    )


def written_measurements(outputs: Sequence[Output], there: Collection[str]) -> list[MeasurementOutput]:
    """The measurements of what is there, and of the image as a whole."""
    return [item for item in outputs if isinstance(item, MeasurementOutput) and (not item.mask or item.mask in there)]


def statements_of(pipeline: Pipeline, findings: Findings, remarks: Collection[str]) -> tuple[Statement, ...]:
    """What was scored and classified, in words and in the pipeline's order.

    Parameters
    ----------
    pipeline, findings
        What was asked, and what was found; `clinic.checking.check_findings` has held.
    remarks
        As `remarks_of` gave them.
    """
    said: list[Statement] = []
    for output in pipeline.outputs:
        if isinstance(output, ScoreOutput):
            score = findings.score(output.score)
            assert score is not None, "findings are checked before"
            said.append(of_score(output, score.value, remarks))
        elif isinstance(output, ClassOutput):
            found = findings.classified(output.classification)
            if len(found) > FRAMES_TOLD_MAX:
                found = tuple(sorted((item.found for item in best_frames(output, found)), key=lambda item: item.frame))
            said += [of_class(output, item) for item in found]
        elif isinstance(output, RegionOutput):
            said += of_boxes(output, findings.boxed(output.region, output.least))
    return tuple(said)


def of_score(output: ScoreOutput, value: float, remarks: Collection[str]) -> Statement:
    """One score (0 to 1) in words."""
    positive = flag(output, value, remarks)
    text = percent(value)
    if positive is not None:
        text = f"{'Present' if positive else 'Not found'} ({text})"
    elif OUTSIDE_POPULATION in remarks:
        text = f"{text}, outside the intended population"
    return Statement(output.score, output.label, text, certainty=value, positive=positive)


def of_class(output: ClassOutput, found: Classification) -> Statement:
    """The class of one frame in words."""
    option = output.option(found.value)
    assert option is not None, "findings are checked before"
    return Statement(output.classification, output.label, option.label, certainty=found.certainty, frame=found.frame)


def of_boxes(output: RegionOutput, found: Sequence[Region]) -> list[Statement]:
    """How many boxes there are, then each in words: how long its longest edge is, and where its middle lies (LPS)."""
    boxes = f"{len(found)} box{'' if len(found) == 1 else 'es'}" if found else "no box"
    said = [Statement(output.region, output.label, f"{boxes} at a certainty of {percent(output.least)} or more")]
    for item in found[:BOXES_TOLD_MAX]:
        place = ", ".join(
            f"{ends[value < 0]} {abs(value):.0f}"
            for ends, value in zip(("LR", "PA", "SI"), item.centre_mm, strict=True)
        )
        text = f"longest edge of box {item.longest_mm:.1f} mm, middle at {place} mm ({percent(item.certainty)})"
        said.append(Statement(output.region, output.label, text, certainty=item.certainty))
    return said


def flag(output: ScoreOutput, value: float, remarks: Collection[str]) -> bool | None:
    """Whether the finding is said to be there; None when nothing is said."""
    if output.positive_from is None or OUTSIDE_POPULATION in remarks:
        return None
    return value >= output.positive_from


def best_frames(output: ClassOutput, found: Sequence[Classification]) -> list[Best]:
    """Of each class that a frame was given the frame that shows it best, in the order of the options."""
    best: dict[str, Classification] = {}
    for item in sorted(found, key=lambda item: (-item.certainty, item.frame)):
        best.setdefault(item.value, item)
    return [Best(option, best[option.key]) for option in output.options if option.key in best]


def key_frames(output: KeyImageOutput, asked: ClassOutput, found: Sequence[Classification]) -> list[Best]:
    """The best frames that are certain enough, of the classes that are chosen."""
    return [
        item
        for item in best_frames(asked, found)
        if item.found.certainty >= output.least and item.option.key not in output.without
    ]


def percent(value: float) -> str:
    """A probability for people, never rounded to certainty: `<1 %`, `87 %`, `>99 %`."""
    if 0.0 < value < 0.01:
        return "<1 %"
    if 0.99 < value < 1.0:
        return ">99 %"
    return f"{100.0 * value:.0f} %"


def values_of(measured: Sequence[MeasurementOutput], findings: Findings) -> list[str]:
    """Measured values with their units, as people write them."""
    found = [(item, findings.measurement(item.measurement)) for item in measured]
    return [
        f"{value.value:{_form(value.value)}} {_UNITS.get(item.unit.value, item.unit.value)}".rstrip()
        for item, value in found
        if value is not None
    ]


def _form(value: float) -> str:
    return ".0f" if abs(value) >= 10 else ".2g"
