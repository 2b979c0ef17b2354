"""Which four series of a study a pipeline takes together."""

from dataclasses import replace

import pytest

from pipelines.from_bundle import pipeline_of
from pipelines.match import match, reasons
from pipelines.series import MR_IMAGE_STORAGE, SeriesHeader
from pipelines.together import Together, together, why_not_together
from tests.common.installed import installed

FOUR = {"num_channels": 4, "channel_def": {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}}
T1 = SeriesHeader(
    series_uid="t1",
    modality="MR",
    sop_classes=frozenset({MR_IMAGE_STORAGE}),
    body_part="HEAD",
    series_description="T1 MPRAGE stripped",
    image_type=("DERIVED", "PRIMARY"),
    instances=155,
    rows=240,
    columns=240,
    spacing_mm=(1.0, 1.0, 1.0),
    gap_free=True,
    plane="axial",
    frame_of_reference_uid="1.9",
)
T1C = replace(T1, series_uid="t1c", contrast=True)
T2 = replace(T1, series_uid="t2", series_description="T2 TSE bet")
FLAIR = replace(T1, series_uid="flair", series_description="t2 FLAIR")
STUDY = [FLAIR, T1, T2, T1C]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    names = ("tumor core", "whole tumor", "enhancing tumor")
    folder = tmp_path_factory.mktemp("bundles")
    return pipeline_of(
        installed(folder, "tumours_of_the_brain", names, "MR", inputs=FOUR, task="parts of brain tumours")
    )


def test_each_role_takes_its_series_whatever_their_order(pipeline):
    for study in (STUDY, STUDY[::-1]):
        found = together(study, pipeline)
        assert found == Together(("t1c", "t1", "t2", "flair"))
        assert [why_not_together(header, pipeline, found) for header in study] == [None] * 4
    assert match(STUDY, [pipeline]) == []


@pytest.mark.parametrize("left_out", [T1C, T1, T2, FLAIR])
def test_a_missing_role_is_named(pipeline, left_out):
    found = together([item for item in STUDY if item is not left_out], pipeline)
    assert (found.code, found.series) == ("series-missing", ())
    assert [role.lower() for role in found.roles] == [left_out.series_uid]


def test_the_finest_is_taken_and_of_equals_none(pipeline):
    coarse = replace(FLAIR, series_uid="coarse", spacing_mm=(1.0, 1.0, 3.0), instances=60)
    found = together([*STUDY, coarse], pipeline)
    assert found.series[-1] == "flair"
    assert why_not_together(coarse, pipeline, found) == "better-series"
    for twice in STUDY:
        found = together([*STUDY, replace(twice, series_uid="again")], pipeline)
        assert found.code == "several-candidates"
        assert why_not_together(twice, pipeline, found) == "several-candidates"


def test_all_lie_in_one_frame_of_reference(pipeline):
    for other in ("1.8", ""):
        found = together([replace(FLAIR, frame_of_reference_uid=other), T1, T2, T1C], pipeline)
        assert (found.code, found.roles) == ("other-frame-of-reference", ("FLAIR",))
    near = replace(FLAIR, series_uid="near", spacing_mm=(1.0, 1.0, 2.0), instances=80)
    assert together([replace(FLAIR, frame_of_reference_uid="1.8"), near, T1, T2, T1C], pipeline).series[-1] == "near"


def test_what_takes_no_role_is_told_why(pipeline):
    diffusion = replace(T1, series_uid="dwi", series_description="DWI b1000")
    found = together([*STUDY, diffusion], pipeline)
    assert found.series
    assert why_not_together(diffusion, pipeline, found) == "other-weighting"
    off = replace(pipeline, withheld="switched-off")
    assert why_not_together(T1, off, found) == "switched-off"
    assert {"series-missing", "several-candidates", "better-series", "other-frame-of-reference"} <= set(reasons())
