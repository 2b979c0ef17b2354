import pytest
from pydicom.sr.codedict import codes

from models.catalog import Catalog
from pipelines.match import why_not
from pipelines.outputs import MapOutput, ScoreOutput
from pipelines.series import (
    COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
    CT_IMAGE_STORAGE,
    DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    SECONDARY_CAPTURE_IMAGE_STORAGE,
    SeriesHeader,
)
from pipelines.tasks.chest_pneumonia import PIPELINE

(SCORE,) = (output for output in PIPELINE.outputs if isinstance(output, ScoreOutput))
(MAP,) = (output for output in PIPELINE.outputs if isinstance(output, MapOutput))


def header(**members):
    found = {
        "modality": "DX",
        "sop_classes": {DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION},
        "body_part": "CHEST",
        "views": {"PA"},
        "planar": True,
        "frames": 1,
        "instances": 1,
        "rows": 2500,
        "columns": 2048,
        "gap_free": True,
    } | members
    for name in ("sop_classes", "views"):
        found[name] = frozenset(found[name])
    return SeriesHeader(series_uid="1.2.3", **found)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"modality": "CR", "sop_classes": {COMPUTED_RADIOGRAPHY_IMAGE_STORAGE}, "views": {"AP"}},
        {"modality": "CR", "sop_classes": {SECONDARY_CAPTURE_IMAGE_STORAGE}, "series_description": "view: PA"},
        {"views": {"PA", "LL"}, "frames": 2, "instances": 2},
        {"body_part": "Thorax", "patient_age_years": 3.0},
        {"patient_age_years": 62.0},
        {"spacing_mm": (0.14, 0.14, 1.0)},
    ],
)
def test_frontal_chest_films_are_taken(members):
    assert why_not(header(**members), PIPELINE) is None


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"modality": "CT", "sop_classes": {CT_IMAGE_STORAGE}, "planar": False}, "other-modality"),
        ({"modality": "US"}, "other-modality"),
        ({"modality": "OT", "sop_classes": {SECONDARY_CAPTURE_IMAGE_STORAGE}}, "other-modality"),
        ({"for_processing": True}, "for-processing"),
        ({"sop_classes": {CT_IMAGE_STORAGE}}, "other-object"),
        ({"colour": True}, "colour-image"),
        ({"body_part": "HAND"}, "other-body-part"),
        ({"series_description": "Knee left"}, "other-body-part"),
        ({"body_part": ""}, "body-part-not-shown"),
        ({"views": {"LL"}}, "other-view"),
        ({"views": set()}, "other-view"),
        ({"views": {""}}, "other-view"),
        ({"series_description": "Chest lateral"}, "derived-map"),
        ({"series_description": "Ribs oblique"}, "derived-map"),
        ({"series_description": "Chest bone suppression"}, "derived-map"),
        ({"gap_free": False}, "unreadable-image"),
    ],
)
def test_other_series_are_not(members, code):
    assert why_not(header(**members), PIPELINE) == code


def test_only_children_of_the_population_are_flagged():
    assert [PIPELINE.validated_on(age) for age in (None, 0.5, 1.0, 3.0, 6.0, 6.5, 62.0)] == [
        *(False, False, True, True, True, False, False)
    ]


def test_codes_are_those_of_the_dictionary():
    for found, expected in ((SCORE.name, codes.DCM.CertaintyOfFinding), (MAP.quantity, codes.DCM.Saliency)):
        assert (found.value, found.scheme) == (expected.value, expected.scheme_designator)
    assert (SCORE.finding_site.value, SCORE.finding_site.scheme) == (codes.SCT.Lung.value, "SCT")
    assert (SCORE.finding.value, SCORE.finding.scheme) == ("233604007", "SCT")


def test_the_bundle_finds_what_the_pipeline_writes(tmp_path):
    bundle = Catalog(tmp_path).bundle(PIPELINE.bundle)
    assert bundle.version == PIPELINE.bundle_version
    assert set(bundle.extension["findings"]["scores"]) == {SCORE.score}
    assert set(bundle.extension["findings"]["maps"]) == {MAP.map}
    assert bundle.data_class == PIPELINE.data_class
