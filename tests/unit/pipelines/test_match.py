import dataclasses
import re
from pathlib import Path

import pytest

from pipelines.catalog import pipelines
from pipelines.match import match, reasons, why_not
from pipelines.series import (
    COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
    CT_IMAGE_STORAGE,
    MR_IMAGE_STORAGE,
    RADIOGRAPH_STORAGES,
    SECONDARY_CAPTURE_IMAGE_STORAGE,
    SeriesHeader,
)
from pipelines.tasks.intracranial_volume_t1 import PIPELINE

T1_HEAD = SeriesHeader(
    series_uid="1.2.3",
    modality="MR",
    sop_classes=frozenset({MR_IMAGE_STORAGE}),
    series_description="anat-T1w",
    protocol_name="anat-T1w",
    image_type=("DERIVED", "SECONDARY"),
    instances=384,
    rows=384,
    columns=274,
    spacing_mm=(0.7, 0.667, 0.667),
    gap_free=True,
    patient_age_years=47.0,
)
SAGITTAL_2D = SeriesHeader(
    series_uid="1.2.4",
    modality="MR",
    sop_classes=frozenset({MR_IMAGE_STORAGE}),
    body_part="BRAIN",
    series_description="t1_fl2d_sag",
    protocol_name="t1_fl2d_sag",
    image_type=("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),
    mr_acquisition_type="2D",
    scanning_sequence=("GR",),
    echo_time_ms=2.46,
    repetition_time_ms=300.0,
    instances=35,
    rows=256,
    columns=256,
    spacing_mm=(1.015625, 1.015625, 4.8),
    gap_free=True,
    patient_age_years=51.0,
)


def header(**changes):
    return dataclasses.replace(T1_HEAD, **changes)


def named(text):
    return header(series_description=text, protocol_name="")


def test_the_two_real_series():
    assert why_not(T1_HEAD, PIPELINE) is None
    assert why_not(SAGITTAL_2D, PIPELINE) == "too-coarse"


@pytest.mark.parametrize(
    "text",
    [
        "T1", "T1w", "anat-T1w", "t1_mprage_sag_p2_iso", "t1_mpr_sag", "MPRAGE", "ADNI_mprage", "MP-RAGE".replace("-", ""),
        "Sag 3D T1 BRAVO", "BRAVO", "AX FSPGR 3D", "SPGR", "IR-FSPGR", "sT1W_3D_TFE", "3D_T1_TFE", "t1_space_sag",
        "Cube T1", "t1_tfl3d", "MP2RAGE_UNI_Images", "mp2rage_uni-den", "sub-01_T1w", "T1 without contrast", "T1 non contrast",
        "T1w 3D sagittal, sample", "HEAD T1 3D", "T1-weighted", "t1_vol",
    ],
)  # fmt: skip
def test_what_shows_t1_is_taken(text):
    assert why_not(named(text), PIPELINE) is None


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        ("other-weighting", ("T2|t2_space|T2*|T2w_3D|FLAIR|t1_flair|3D FLAIR T2|DWI|DTI_64|ep2d_diff|dMRI_b1000 dif|SWI|swi3d|SWAN|"
         "BOLD|bold_rest|fMRI_task|TOF|TOF_3D_multi-slab|MRA|MRV|angio T1|PD|pdw T1|perfusion T1|ASL|pcASL|STIR|"
         "gre_field_mapping|B1 map|MP2RAGE_INV1|mp2rage inv2|T1rho|CISS|FIESTA")),
        ("weighting-not-shown", "|head|3D sagittal|brain routine|anatomical|part1 scan|T10|t1ce|mp2rage|unknown"),
        ("derived-map", ("localizer|LOC|Scout T1|survey|AAHead_Scout|T1 MIP|ADC|eADC|FA map|T1_map|T1 maps|MP2RAGE_T1_Images uni|T1_Images|"
         "QSM|T1 brain mask|T1 seg|T1 stripped|T1_bet|T1 subtraction|calibration scan|Reformat T1")),
        ("other-body-part", ("T1 knee|t1_spine_sag|C-spine T1|L-Spine T1|T1 neck|liver T1|T1 pelvis|prostate t1|T1 hip|T1 orbits|"
         "pituitary T1|T1 IAC|breast T1|t1 shoulder|T1 phantom")),
        ("post-contrast", ("T1 post|T1_post_gd|T1 +C|T1+C|T1 C+|t1_gd|T1 Gad|T1 with contrast|T1 postcontrast|T1 post-contrast|"
         "T1 KM|T1+Gd|T1 enhanced|CE T1|t1_mprage_post")),
    ],
)  # fmt: skip
def test_what_does_not_is_refused_with_its_code(code, texts):
    assert {text: why_not(named(text), PIPELINE) for text in texts.split("|")} == dict.fromkeys(texts.split("|"), code)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("other-modality", {"modality": "CT"}),
        ("other-object", {"sop_classes": frozenset({CT_IMAGE_STORAGE})}),
        ("other-object", {"sop_classes": frozenset({MR_IMAGE_STORAGE, SECONDARY_CAPTURE_IMAGE_STORAGE})}),
        ("other-object", {"sop_classes": frozenset()}),
        ("derived-map", {"image_type": ("DERIVED", "PRIMARY", "MPR")}),
        ("derived-map", {"image_type": ("ORIGINAL", "PRIMARY", "M", "MOSAIC")}),
        ("derived-map", {"image_type": ("ORIGINAL", "PRIMARY", "P")}),
        ("other-body-part", {"body_part": "KNEE"}),
        ("other-weighting", {"echo_time_ms": 90.0}),
        ("other-weighting", {"inversion_time_ms": 2500.0}),
        ("post-contrast", {"contrast": True}),
        ("outside-population", {"patient_age_years": 17.9}),
        ("outside-population", {"patient_age_years": 0.0}),
        ("outside-population", {"patient_age_years": 130.0}),
        ("no-geometry", {"spacing_mm": None}),
        ("no-geometry", {"spacing_mm": (0.0, 1.0, 1.0)}),
        ("too-coarse", {"spacing_mm": (0.7, 0.7, 2.01)}),
        ("too-coarse", {"spacing_mm": (2.1, 0.7, 0.7)}),
        ("too-few-slices", {"instances": 59, "spacing_mm": (0.7, 0.7, 2.0)}),
        ("too-small", {"instances": 60, "spacing_mm": (1.0, 1.0, 1.0)}),
        ("gaps", {"gap_free": False}),
    ],
)
def test_each_rule_has_its_code(code, changes):
    assert why_not(header(**changes), PIPELINE) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"body_part": "HEAD"},
        {"body_part": "brain "},
        {"patient_age_years": None},
        {"patient_age_years": 18.0},
        {"spacing_mm": (2.0, 2.0, 2.0), "instances": 60, "rows": 96, "columns": 96},
        {"image_type": ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")},
        {"image_type": ()},
    ],
)
def test_at_the_limit_it_is_taken(changes):
    assert why_not(header(**changes), PIPELINE) is None


@pytest.mark.parametrize(
    ("taken", "timings"),
    [
        (True, {"echo_time_ms": 2.98, "repetition_time_ms": 2300.0, "inversion_time_ms": 900.0}),
        (True, {"echo_time_ms": 3.2, "repetition_time_ms": 8.2, "inversion_time_ms": 450.0}),
        (True, {"echo_time_ms": 12.0, "repetition_time_ms": 600.0, "scanning_sequence": ("SE",)}),
        (False, {"echo_time_ms": 3.2, "repetition_time_ms": 8.2}),
        (False, {"echo_time_ms": 12.0, "repetition_time_ms": 600.0, "scanning_sequence": ("GR",)}),
        (False, {"repetition_time_ms": 2300.0, "inversion_time_ms": 900.0}),
    ],
)
def test_timings_alone_may_show_it(taken, timings):
    silent = header(series_description="", protocol_name="", **timings)
    assert why_not(silent, PIPELINE) == (None if taken else "weighting-not-shown")


def test_matching_keeps_the_order_of_the_series():
    headers = [header(series_uid="9"), SAGITTAL_2D, header(series_uid="1")]
    found = match(headers, {PIPELINE.name: PIPELINE, "other": dataclasses.replace(PIPELINE, withheld="switched-off")})
    assert [(item.pipeline.name, item.series_uid) for item in found] == [(PIPELINE.name, "9"), (PIPELINE.name, "1")]
    assert match(headers, [PIPELINE]) == found
    assert match(headers, {}) == []
    assert match([], pipelines()) == []


def test_every_code_is_explained_in_the_documents():
    text = (Path(__file__).resolve().parents[3] / "docs" / "pipelines" / "series.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == set(reasons())


def test_body_parts_are_compared_without_blanks_and_marks():
    assert why_not(header(body_part="head neck"), PIPELINE) is None
    assert why_not(header(body_part="HEAD-NECK "), PIPELINE) is None
    assert why_not(header(body_part="123"), PIPELINE) is None
    assert why_not(header(body_part="NECK"), PIPELINE) == "other-body-part"


def test_what_is_withheld_is_said_last():
    withheld = dataclasses.replace(PIPELINE, withheld="licence-not-accepted")
    assert why_not(T1_HEAD, withheld) == "licence-not-accepted"
    assert why_not(SAGITTAL_2D, withheld) == "too-coarse"
    assert match([T1_HEAD], [withheld]) == []
    assert list(reasons())[-3:] == ["licence-not-accepted", "weights-absent", "switched-off"]


CHEST = SeriesHeader(
    series_uid="1.2.4",
    modality="CR",
    sop_classes=frozenset({COMPUTED_RADIOGRAPHY_IMAGE_STORAGE}),
    body_part="CHEST",
    instances=1,
    frames=1,
    rows=2000,
    columns=1800,
    spacing_mm=(0.2, 0.2, 1.0),
    gap_free=True,
    planar=True,
    views=frozenset({"PA"}),
)
NOTHING, ANYTHING = re.compile(r"(?!)"), re.compile("")
FILM = dataclasses.replace(
    PIPELINE,
    selector=dataclasses.replace(
        PIPELINE.selector,
        modality="CR",
        further_modalities=frozenset({"DX"}),
        sop_classes=RADIOGRAPH_STORAGES,
        body_parts=frozenset({"CHEST", "THORAX"}),
        body_part_required=True,
        shown_by_words=ANYTHING,
        contrary_words=NOTHING,
        other_anatomy_words=NOTHING,
        derived_words=NOTHING,
        contrast_words=NOTHING,
        age_years=(0.0, 130.0),
        spacing_mm_max=1.0,
        slices_min=1,
        extent_mm_min=100.0,
        planar=True,
        views=frozenset({"PA", "AP"}),
    ),
)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (None, {}),
        (None, {"modality": "DX"}),
        (None, {"sop_classes": frozenset({SECONDARY_CAPTURE_IMAGE_STORAGE})}),
        (None, {"views": frozenset({"LL", "AP"})}),
        (None, {"spacing_mm": None}),
        (None, {"body_part": "Thorax "}),
        ("other-modality", {"modality": "XC"}),
        ("other-modality", {"modality": "MG"}),
        ("for-processing", {"for_processing": True}),
        ("not-planar", {"planar": False}),
        ("other-object", {"sop_classes": frozenset({MR_IMAGE_STORAGE})}),
        ("colour-image", {"colour": True}),
        ("other-body-part", {"body_part": "HAND"}),
        ("other-body-part", {"body_part": "CHEST ABDOMEN"}),
        ("body-part-not-shown", {"body_part": ""}),
        ("other-view", {"views": frozenset({"LL"})}),
        ("other-view", {"views": frozenset()}),
        ("other-view", {"views": frozenset({"", "LL"})}),
        ("too-coarse", {"spacing_mm": (1.5, 1.5, 1.0)}),
        ("too-small", {"rows": 40}),
        ("too-few-slices", {"frames": 0}),
        ("unreadable-image", {"gap_free": False}),
    ],
)
def test_a_radiograph_is_taken_or_refused_with_the_first_reason(code, changes):
    assert why_not(dataclasses.replace(CHEST, **changes), FILM) == code


@pytest.mark.parametrize(("views", "taken"), [((), True), (("",), True), (("", "LL"), True), (("LL",), False)])
def test_a_view_may_be_absent_where_the_pipeline_says_so(views, taken):
    lenient = dataclasses.replace(FILM, selector=dataclasses.replace(FILM.selector, view_may_be_absent=True))
    assert (why_not(dataclasses.replace(CHEST, views=frozenset(views)), lenient) is None) is taken
    assert lenient.selector.image_views == {"PA", "AP", ""}


def test_planar_images_are_nothing_for_a_pipeline_of_slices():
    assert why_not(header(planar=True), PIPELINE) == "planar-images"
    assert why_not(T1_HEAD, FILM) == "other-modality"
