import pytest
from pydicom.sr.codedict import codes

from models.catalog import Catalog
from pipelines.anatomy import LOCAL_SCHEME
from pipelines.match import why_not
from pipelines.outputs import ClassOutput, KeyImageOutput
from pipelines.series import (
    CT_IMAGE_STORAGE,
    SECONDARY_CAPTURE_IMAGE_STORAGE,
    ULTRASOUND_IMAGE_STORAGE,
    ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE,
    SeriesHeader,
)
from pipelines.tasks.fetal_planes import PIPELINE

(CLASSES,) = (output for output in PIPELINE.outputs if isinstance(output, ClassOutput))
(KEYS,) = (output for output in PIPELINE.outputs if isinstance(output, KeyImageOutput))


def header(**members):
    known = {"sop_classes": {ULTRASOUND_IMAGE_STORAGE}, "planar": True, "frames": 1, "instances": 1, "gap_free": True}
    found = {"modality": "US", "rows": 735, "columns": 975} | known | members
    return SeriesHeader(series_uid="1.2.3", **{**found, "sop_classes": frozenset(found["sop_classes"])})


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"colour": True, "frames": 240, "sop_classes": {ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE}},
        {"sop_classes": {SECONDARY_CAPTURE_IMAGE_STORAGE, ULTRASOUND_IMAGE_STORAGE}},
        {"body_part": "FETUS", "patient_age_years": 31.0},
        {"body_part": "UTERUS", "series_description": "OB 2nd trimester"},
        {"body_part": "PELVIS"},
        {"series_description": "Fetal heart"},
        {"series_description": "Anomaly scan: head, kidneys, femur"},
        {"protocol_name": "Obstetrics"},
        {"spacing_mm": (0.2, 0.2, 1.0)},
    ],
)
def test_what_an_obstetric_department_sends_is_taken(members):
    assert why_not(header(**members), PIPELINE) is None


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"modality": "CT", "sop_classes": {CT_IMAGE_STORAGE}, "planar": False}, "other-modality"),
        ({"modality": "CR"}, "other-modality"),
        ({"modality": "OT", "sop_classes": {SECONDARY_CAPTURE_IMAGE_STORAGE}}, "other-modality"),
        ({"planar": False}, "not-planar"),
        ({"sop_classes": {ULTRASOUND_IMAGE_STORAGE, CT_IMAGE_STORAGE}}, "other-object"),
        ({"body_part": "BREAST"}, "other-body-part"),
        ({"body_part": "HEART"}, "other-body-part"),
        ({"body_part": "THYROID"}, "other-body-part"),
        ({"series_description": "Oncentra Prostate Image Series"}, "other-body-part"),
        ({"series_description": "Carotid left"}, "other-body-part"),
        ({"series_description": "DVT leg"}, "other-body-part"),
        ({"series_description": "Echo TTE"}, "other-body-part"),
        ({"series_description": "Thyroid"}, "other-body-part"),
        ({"series_description": "Renal US"}, "other-body-part"),
        ({"series_description": "Neonatal head"}, "other-body-part"),
        ({"series_description": "Fetal phantom"}, "other-body-part"),
        ({"series_description": "1st trimester NT"}, "other-body-part"),
        ({"series_description": "Fetal face 3D"}, "derived-map"),
        ({"series_description": "Fetal doppler MCA"}, "derived-map"),
        ({"patient_age_years": 71.0}, "outside-population"),
        ({"patient_age_years": 0.1}, "outside-population"),
        ({"gap_free": False}, "unreadable-image"),
    ],
)
def test_other_series_are_not(members, code):
    assert why_not(header(**members), PIPELINE) == code


def test_the_classes_are_those_of_the_network(tmp_path):
    bundle = Catalog(tmp_path).bundle("fetal_planes")
    named = bundle.inference()["postprocessing"]["transforms"][-1]
    keys = [option.key for option in CLASSES.options]
    assert named["classes"] == keys
    channels = bundle.metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert [channels[str(number)] for number in range(14)] == keys
    assert set(bundle.metadata["evaluation_task"]["names"].values()) == set(keys)
    assert bundle.metadata["evaluation_task"]["classification"] == CLASSES.classification == KEYS.classification
    assert KEYS.without == {named["background"]}


def test_codes_are_those_of_the_dictionary_or_of_our_own():
    known = {
        "111031": codes.DCM.ImageView,
        "113013": codes.DCM.BestInSet,
        "399195005": codes.SCT.RightVentricularOutflowTractView,
    }
    used = [CLASSES.name, KEYS.title, *(option.code for option in CLASSES.options)]
    assert len({code.value for code in used}) == len(used)
    for code in used:
        if code.scheme != LOCAL_SCHEME:
            theirs = known.pop(code.value)
            assert (code.scheme, code.meaning) == (theirs.scheme_designator, theirs.meaning)
    assert not known
