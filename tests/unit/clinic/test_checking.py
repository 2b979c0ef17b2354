"""What of planar Findings is refused; masks, label maps and measurements of segments are in `test_taking`."""

from dataclasses import replace

import numpy as np
import pytest

from clinic.checking import check_findings
from clinic.refusals import FindingsRefused
from clinic.statements import statements_of
from clinic.writers import write
from inference.findings import Classification, Findings, Mask, Measurement, ScalarMap, Score
from tests.common.planar_written import BRIGHTNESS, SCORED, classified, scored


@pytest.fixture(scope="module")
def film():
    return scored()


@pytest.fixture(scope="module")
def clip():
    return classified()


def check(case, pipeline=None, **members):
    return check_findings(replace(case.findings, **members), pipeline or case.context.pipeline, case.source)


def test_what_is_declared_is_let_pass(film, clip):
    assert check(film) == check(clip) == frozenset()


@pytest.mark.parametrize(
    "members",
    [
        {"scores": ()},
        {"scores": (Score("other", 0.5),)},
        {"scores": (Score("pneumonia", 1.0001),)},
        {"scores": (Score("pneumonia", -1e-9),)},
        {"maps": ()},
        {"maps": (ScalarMap("other", np.zeros((2, 60, 48), np.float32)),)},
        {"maps": (ScalarMap("saliency", np.zeros((2, 48, 60), np.float32)),)},
        {"maps": (ScalarMap("saliency", np.zeros((1, 60, 48), np.float32)),)},
        {"measurements": ()},
        {"measurements": (Measurement("brightness", 1.0, "%"),)},
        {"measurements": (Measurement("brightness", 1.0, "1"), Measurement("undeclared", 1.0, "1"))},
        {"classes": (Classification("plane", 0, "head", 1.0),)},
        {"masks": (Mask("undeclared", np.ones((2, 60, 48), bool)),)},
    ],
)
def test_what_does_not_fit_a_scored_film_is_refused(film, members):
    with pytest.raises(FindingsRefused):
        check(film, **members)


def test_a_score_that_is_not_declared_is_not_written(film):
    more = (Score("pneumonia", 0.5), Score("certainty", 7.5))
    assert check(film, scores=more) == frozenset()
    findings = replace(film.findings, scores=more)
    assert b"7.5" not in write(film.source, findings, film.context)[0].content
    assert len(statements_of(film.context.pipeline, findings, ())) == 1


@pytest.mark.parametrize(
    "row",
    [
        Classification("plane", 9, "head", 1.0),
        Classification("plane", 4_000, "head", 1.0),
        Classification("plane", 0, "thorax", 1.0),
        Classification("quality", 0, "head", 1.0),
    ],
)
def test_a_class_of_no_frame_or_of_no_declared_class_is_refused(clip, row):
    with pytest.raises(FindingsRefused):
        check(clip, classes=(row,))
    with pytest.raises(FindingsRefused):
        check(clip, classes=())


def test_a_whole_measurement_may_be_absent_where_that_is_declared(film):
    lenient = replace(SCORED, outputs=(replace(BRIGHTNESS, may_be_absent=True),))
    only = Findings(measurements=())
    assert check_findings(only, lenient, film.source) == frozenset()
    with pytest.raises(FindingsRefused):
        check_findings(only, replace(lenient, outputs=(BRIGHTNESS,)), film.source)
