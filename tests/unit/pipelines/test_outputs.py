from dataclasses import replace

import pytest
from pydicom.sr.codedict import codes

from pipelines import outputs
from pipelines.outputs import ClassOption, Code, ReferenceRange
from tests.common.planar_written import BRIGHTNESS, CLASSIFIED, PLANES, SALIENCY, SCORE, SCORED
from tests.common.written import MEASUREMENT

RANGE = ReferenceRange(1200.0, 1800.0, "adults", "somebody, somewhere")
KEY_IMAGES = CLASSIFIED.outputs[1]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (outputs.PERCENT, codes.UCUM.Percent),
        (outputs.UNITY, codes.UCUM.NoUnits),
        (outputs.MEAN, codes.SCT.Mean),
        (outputs.MEDIAN, codes.SCT.Median),
        (outputs.STANDARD_DEVIATION, codes.SCT.StandardDeviation),
        (outputs.CERTAINTY, codes.DCM.CertaintyOfFinding),
        (outputs.ARTIFICIAL_INTELLIGENCE, codes.DCM.ArtificialIntelligence),
        (outputs.MORPHOLOGICAL_OPERATIONS, codes.DCM.MorphologicalOperations),
        (outputs.OF_INTEREST, codes.DCM.OfInterest),
    ],
)
def test_codes_are_those_of_the_dictionary(ours, theirs):
    assert (ours.value, ours.scheme, ours.meaning) == (theirs.value, theirs.scheme_designator, theirs.meaning)


def test_codes_are_in_the_context_groups_that_the_templates_name():
    assert codes.SCT.Mean in codes.CID7464
    assert codes.SCT.Median in codes.CID7464
    assert codes.DCM.OfInterest in codes.CID7010
    assert codes.DCM.ArtificialIntelligence in codes.CID7162
    assert codes.DCM.MorphologicalOperations in codes.CID7162


@pytest.mark.parametrize(
    "make",
    [
        lambda: replace(RANGE, low=1800.0),
        lambda: replace(RANGE, low=float("nan")),
        lambda: replace(RANGE, high=float("inf")),
        lambda: replace(RANGE, population=""),
        lambda: replace(RANGE, source=""),
        lambda: replace(RANGE, sex="X"),
        lambda: replace(RANGE, age_years=(60.0, 20.0)),
        lambda: replace(MEASUREMENT, unit=Code("1", "SCT", "no unit")),
        lambda: replace(BRIGHTNESS, label=""),
        lambda: replace(BRIGHTNESS, label="x" * 65),
        lambda: replace(SCORE, unit=outputs.MILLILITRE),
        lambda: replace(SCORE, positive_from=0.0),
        lambda: replace(SCORE, positive_from=1.01),
        lambda: replace(SCORE, label=""),
        lambda: replace(PLANES, options=()),
        lambda: replace(PLANES, options=(*PLANES.options, PLANES.options[0])),
        lambda: ClassOption("a", "", PLANES.name),
        lambda: replace(SALIENCY, unit=Code("1", "DCM", "no unit")),
        lambda: replace(KEY_IMAGES, least=1.01),
        lambda: replace(CLASSIFIED, outputs=(KEY_IMAGES,)),
        lambda: replace(CLASSIFIED, outputs=(PLANES, replace(KEY_IMAGES, without=frozenset({"thorax"})))),
        lambda: replace(SCORED, validated_age_years=None),
        lambda: replace(SCORED, validated_age_years=(6.0, 1.0)),
        lambda: replace(SCORED, validated_age_years=(-1.0, 1.0)),
        lambda: replace(SCORED, outputs=(replace(BRIGHTNESS, mask="absent"),)),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(make):
    with pytest.raises(AssertionError):
        make()


def test_a_score_that_flags_nothing_needs_no_population():
    assert replace(SCORED, outputs=(replace(SCORE, positive_from=None),), validated_age_years=None).validated_on(None)
