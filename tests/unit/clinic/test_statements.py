from dataclasses import replace

import pytest

from clinic.refusals import REMARKS
from clinic.statements import (
    FRAMES_TOLD_MAX,
    OUTSIDE_POPULATION,
    best_frames,
    flag,
    key_frames,
    measured_of,
    percent,
    remarks_of,
    statements_of,
    values_of,
)
from clinic.workitem import Measured, Statement
from inference.findings import Classification, Findings, Measurement, Score
from tests.common.planar_written import BRIGHTNESS, CLASSIFIED, PLANES, SCORE, SCORED
from tests.common.written import MEASUREMENT, PIPELINE

KEY_IMAGES = CLASSIFIED.outputs[1]


@pytest.mark.parametrize(
    ("age", "remarks"),
    [(1.0, ()), (6.0, ()), (0.99, (OUTSIDE_POPULATION,)), (6.1, (OUTSIDE_POPULATION,)), (None, (OUTSIDE_POPULATION,))],
)
def test_outside_is_whoever_is_not_known_to_be_inside(age, remarks):
    assert remarks_of(SCORED, age) == remarks


def test_a_pipeline_that_names_no_population_has_no_outside():
    assert remarks_of(PIPELINE, None) == ()


def test_every_remark_has_a_sentence():
    assert OUTSIDE_POPULATION in REMARKS
    assert all(sentence.endswith(".") for sentence in REMARKS.values())


@pytest.mark.parametrize(
    ("value", "remarks", "positive", "text"),
    [
        (0.5, (), True, "Present (50 %)"),
        (0.4999, (), False, "Not found (50 %)"),
        (1.0, (), True, "Present (100 %)"),
        (0.9999, (OUTSIDE_POPULATION,), None, ">99 %, outside the intended population"),
        (0.001, (OUTSIDE_POPULATION,), None, "<1 %, outside the intended population"),
    ],
)
def test_nothing_is_flagged_outside_the_population(value, remarks, positive, text):
    assert flag(SCORE, value, remarks) is positive
    (said,) = statements_of(SCORED, Findings(scores=(Score("pneumonia", value),)), remarks)
    assert said == Statement("pneumonia", "Pneumonia", text, value, None, positive)


def test_without_a_threshold_only_the_number_is_said():
    bare = replace(SCORED, outputs=(replace(SCORE, positive_from=None),))
    (said,) = statements_of(bare, Findings(scores=(Score("pneumonia", 0.93),)), ())
    assert (said.text, said.positive) == ("93 %", None)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (0.004, "<1 %"), (0.0149, "1 %"), (0.985, "98 %"), (0.995, ">99 %"), (1.0, "100 %")],
)
def test_a_probability_is_not_rounded_to_certainty(value, text):
    assert percent(value) == text


def found(*rows):
    return tuple(Classification("plane", frame, value, certainty) for frame, value, certainty in rows)


def test_the_best_frame_is_the_most_certain_and_of_equals_the_earliest():
    best = best_frames(PLANES, found((2, "head", 0.9), (1, "head", 0.9), (0, "background", 0.2), (3, "head", 0.1)))
    assert [(item.option.key, item.found.frame) for item in best] == [("head", 1), ("background", 0)]


def test_key_frames_are_certain_enough_and_of_a_class_that_is_chosen():
    rows = found((0, "head", 0.5), (1, "abdomen", 0.4999), (2, "background", 1.0))
    assert [item.found.frame for item in key_frames(KEY_IMAGES, PLANES, rows)] == [0]


def test_every_frame_of_a_short_clip_is_told_and_of_a_long_one_the_best():
    count = FRAMES_TOLD_MAX
    rows = found(*((frame, "abdomen" if frame % 2 else "head", frame / 1000) for frame in range(count)))
    said = statements_of(CLASSIFIED, Findings(classes=rows), ())
    assert [item.frame for item in said] == list(range(count))
    assert said[1] == Statement("plane", "Standard plane", "Abdomen", 0.001, 1)
    longer = rows + found((count, "head", 0.9))
    said = statements_of(CLASSIFIED, Findings(classes=longer), ())
    assert [(item.frame, item.text) for item in said] == [(count - 1, "Abdomen"), (count, "Head")]


def test_what_was_measured_is_called_by_its_own_label_or_the_segments():
    assert measured_of(SCORED, Findings(measurements=(Measurement("brightness", 7.5, "1"),)), ()) == (
        Measured("brightness", "Mean brightness", 7.5, "1"),
    )
    volume = Findings(measurements=(Measurement("intracranial_volume", 1432.0, "mL"),))
    assert measured_of(PIPELINE, volume, {"intracranial"})[0].name == "Intracranial volume"
    assert measured_of(PIPELINE, volume, ()) == ()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1432.4, "mL", "1432 mL"), (0.5432, "%", "0.54 %"), (-871.0, "[hnsf'U]", "-871 HU"), (0.25, "1", "0.25")],
)
def test_values_are_written_as_people_do(value, unit, text):
    output = replace(MEASUREMENT, unit=replace(BRIGHTNESS.unit, value=unit))
    taken = Findings(measurements=(Measurement("intracranial_volume", value, unit),))
    assert values_of([output], taken) == [text]
