"""Which real series the tasks of this page take: brain_ct, brain_mr, lungs_ct, composition_ct."""

import warnings

import pytest

from clinic.headers import series_header
from pipelines.match import why_not
from pipelines.series import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, SeriesHeader
from pipelines.tasks import brain_ct, brain_mr, composition_ct, lungs_ct
from tests.common.dicom_factory import rows_of

CT = SeriesHeader(
    series_uid="1.2.3",
    modality="CT",
    sop_classes=frozenset({CT_IMAGE_STORAGE}),
    instances=60,
    rows=512,
    columns=512,
    spacing_mm=(0.8, 0.8, 5.0),
    gap_free=True,
)
MR = SeriesHeader(
    series_uid="1.2.4",
    modality="MR",
    sop_classes=frozenset({MR_IMAGE_STORAGE}),
    instances=30,
    rows=256,
    columns=256,
    spacing_mm=(0.9, 0.9, 5.0),
    gap_free=True,
)


def of(header, **changes):
    from dataclasses import replace

    return replace(header, **changes)


@pytest.fixture(scope="module")
def header_of(shared):
    def header(folder, pattern="*"):
        contents = [path.read_bytes() for path in sorted((shared / "data" / folder).glob(pattern))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return series_header(rows_of([item for item in contents if item[128:132] == b"DICM"])[0])

    return header


def test_a_real_body_goes_to_the_rules_and_not_to_a_head(header_of):
    body = header_of("ct-body-j2k", "CT*")
    assert why_not(body, lungs_ct.PIPELINE) is None
    assert why_not(body, composition_ct.PIPELINE) is None
    assert why_not(body, brain_ct.PIPELINE) == "other-body-part"
    assert why_not(body, brain_mr.PIPELINE) == "other-modality"


@pytest.mark.parametrize(("folder", "pattern"), [("ct-head-tilted", "*.dcm"), ("ct-head-philips", "I*")])
def test_a_real_ct_head_goes_to_the_head_alone(header_of, folder, pattern):
    head = header_of(folder, pattern)
    assert why_not(head, brain_ct.PIPELINE) is None
    assert why_not(head, lungs_ct.PIPELINE) == "other-body-part"
    assert why_not(head, composition_ct.PIPELINE) == "other-body-part"


def test_a_real_mr_head_of_thick_slices_is_taken(header_of):
    head = header_of("mr-head-sagittal", "*.dcm")
    assert why_not(head, brain_mr.PIPELINE) is None
    assert why_not(head, brain_ct.PIPELINE) == "other-modality"


@pytest.mark.parametrize(
    ("part", "brain", "lungs", "composition"),
    [
        ("HEAD", None, "other-body-part", "other-body-part"),
        ("CHEST", "other-body-part", None, None),
        ("ABDOMEN", "other-body-part", None, None),
        ("PELVIS", "other-body-part", "other-body-part", None),
        ("KNEE", "other-body-part", "other-body-part", "other-body-part"),
        ("", "body-part-not-shown", "body-part-not-shown", "body-part-not-shown"),
    ],
)
def test_the_body_part_decides(part, brain, lungs, composition):
    header = of(CT, body_part=part)
    found = [why_not(header, task.PIPELINE) for task in (brain_ct, lungs_ct, composition_ct)]
    assert found == [brain, lungs, composition]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"series_description": "Topogram"}, "derived-map"),
        ({"series_description": "head sagittal MPR"}, "derived-map"),
        ({"contrast": True}, "post-contrast"),
        ({"series_description": "CTA head"}, "post-contrast"),
        ({"patient_age_years": 3.0}, "outside-population"),
        ({"instances": 5}, "too-few-slices"),
        ({"gap_free": False}, "gaps"),
        ({"series_description": "cervical spine"}, "other-body-part"),
        ({"series_description": "QA phantom"}, "other-body-part"),
    ],
)
def test_a_ct_head_that_does_not_suit_has_its_code(changes, code):
    assert why_not(of(CT, body_part="HEAD", **changes), brain_ct.PIPELINE) == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("t1 mprage", None),
        ("T2 TSE tra", None),
        ("t2_tirm_tra_dark-fluid", None),
        ("FLAIR 3D", None),
        ("ep2d_diff_b1000", "other-weighting"),
        ("swi", "other-weighting"),
        ("TOF angio", "other-weighting"),
        ("T1 post gd", "post-contrast"),
        ("localizer", "derived-map"),
        ("T1 map", "derived-map"),
        ("knee t2", "other-body-part"),
        ("axial", "weighting-not-shown"),
    ],
)
def test_three_weightings_of_a_head_are_taken_and_no_other(words, code):
    assert why_not(of(MR, series_description=words), brain_mr.PIPELINE) == code


def test_an_abdomen_and_a_survey_of_few_slices_are_no_mr_head():
    assert why_not(of(MR, body_part="ABDOMEN", series_description="T2 TSE"), brain_mr.PIPELINE) == "other-body-part"
    assert why_not(of(MR, instances=7, series_description="T2 TSE"), brain_mr.PIPELINE) == "too-few-slices"
