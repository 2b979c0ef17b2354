import dataclasses

import pytest

from bithive.offer import DataClass
from pipelines.errors import ModalityUnserved, SeveralInputs, StructuresAbsent
from pipelines.from_bundle import NOT_SAID, RESEARCH_USE, pipeline_of
from pipelines.match import why_not
from pipelines.outputs import MeasurementOutput, PreviewOutput, SegmentOutput
from pipelines.series import (
    CT_IMAGE_STORAGE,
    ENHANCED_CT_IMAGE_STORAGE,
    ENHANCED_MR_IMAGE_STORAGE,
    MR_IMAGE_STORAGE,
    SECONDARY_CAPTURE_IMAGE_STORAGE,
    SeriesHeader,
)
from tests.common.installed import installed
from tests.unit.pipelines.zoo_names import BUNDLES

CT = SeriesHeader(
    series_uid="1.2.3",
    modality="CT",
    sop_classes=frozenset({CT_IMAGE_STORAGE}),
    body_part="ABDOMEN",
    series_description="Abd pv 3.0 B30f",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    instances=120,
    rows=512,
    columns=512,
    spacing_mm=(0.8, 0.8, 3.0),
    gap_free=True,
    patient_age_years=60.0,
    contrast=True,
)
MR = dataclasses.replace(
    CT,
    modality="MR",
    sop_classes=frozenset({MR_IMAGE_STORAGE}),
    body_part="HEAD",
    series_description="t1_mprage_sag",
    image_type=("ORIGINAL", "PRIMARY", "M"),
    instances=176,
    rows=256,
    columns=256,
    spacing_mm=(1.0, 1.0, 1.0),
    contrast=False,
)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The pipeline of each bundle of the zoo that takes one series."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        name: pipeline_of(installed(folder, name, names, modality, task=task))
        for name, (modality, task, names) in BUNDLES.items()
    }


def told(pipeline, header, **changes):
    return why_not(dataclasses.replace(header, **changes), pipeline)


def test_each_bundle_of_the_zoo_gives_a_pipeline_of_its_name(zoo):
    for name, pipeline in zoo.items():
        _, _, names = BUNDLES[name]
        segments = [output for output in pipeline.outputs if isinstance(output, SegmentOutput)]
        measured = [output for output in pipeline.outputs if isinstance(output, MeasurementOutput)]
        assert pipeline.name == pipeline.bundle == name
        assert len(segments) == len(measured) == len(names)
        assert sum(isinstance(output, PreviewOutput) for output in pipeline.outputs) == 1
        assert all(output.may_be_absent for output in (*segments, *measured))
        assert [output.measurement for output in measured] == [f"{output.mask}_volume" for output in segments]
        assert len({output.label for output in segments}) == len(segments)
        assert pipeline.data_class is DataClass.P3
        assert pipeline.intended_use.startswith(RESEARCH_USE)
        assert pipeline.withheld == ""


def test_colours_are_apart_and_always_the_same(zoo, tmp_path):
    for name, pipeline in zoo.items():
        colours = [output.colour_rgb for output in pipeline.outputs if isinstance(output, SegmentOutput)]
        nearest = min(
            (
                sum(abs(a - b) for a, b in zip(one, other, strict=True))
                for one in colours
                for other in colours
                if one != other
            ),
            default=255,
        )
        assert len(set(colours)) == len(colours), name
        assert nearest >= 24, name
    modality, task, names = BUNDLES["wholeBody_ct_segmentation"]
    again = pipeline_of(installed(tmp_path, "wholeBody_ct_segmentation", names, modality, task=task))
    assert again.outputs == zoo["wholeBody_ct_segmentation"].outputs


def test_a_paired_structure_says_its_side(zoo):
    outputs = {
        output.mask: output for output in zoo["wholeBody_ct_segmentation"].outputs if isinstance(output, SegmentOutput)
    }
    measured = {
        output.mask: output
        for output in zoo["wholeBody_ct_segmentation"].outputs
        if isinstance(output, MeasurementOutput)
    }
    for key, side in (("kidney_left", "Left"), ("kidney_right", "Right")):
        assert outputs[key].laterality.meaning == measured[key].laterality.meaning == side
    assert outputs["spleen"].laterality is None


def test_an_abdominal_ct_goes_to_the_abdominal_bundles(zoo):
    taken = {name for name, pipeline in zoo.items() if told(pipeline, CT) is None}
    assert taken == {
        "spleen_ct_segmentation",
        "wholeBody_ct_segmentation",
        "swin_unetr_btcv_segmentation",
        "multi_organ_segmentation",
        "pancreas_ct_dints_segmentation",
        "renalStructures_UNEST_segmentation",
        "renalStructures_CECT_segmentation",
    }
    assert told(zoo["pediatric_abdominal_ct_segmentation"], CT) == "outside-population"
    assert told(zoo["pediatric_abdominal_ct_segmentation"], CT, patient_age_years=7.0) is None
    assert told(zoo["spleen_ct_segmentation"], CT, patient_age_years=7.0) == "outside-population"


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (None, {}),
        (None, {"body_part": ""}),
        (None, {"body_part": "CHEST_ABDOMEN", "series_description": "Chest Abdomen 5.0"}),
        (None, {"body_part": "", "series_description": "Thorax Abdomen venous"}),
        (None, {"body_part": "", "series_description": "CAP with contrast"}),
        (None, {"sop_classes": frozenset({ENHANCED_CT_IMAGE_STORAGE})}),
        (None, {"spacing_mm": (0.8, 0.8, 5.0)}),
        (None, {"series_description": "Low dose abdomen"}),
        (None, {"patient_age_years": None}),
        ("other-modality", {"modality": "PT"}),
        ("other-object", {"sop_classes": frozenset({CT_IMAGE_STORAGE, SECONDARY_CAPTURE_IMAGE_STORAGE})}),
        ("other-object", {"sop_classes": frozenset({ENHANCED_MR_IMAGE_STORAGE})}),
        ("derived-map", {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}),
        ("derived-map", {"series_description": "Topogram 0.6"}),
        ("derived-map", {"series_description": "Premonitoring"}),
        ("derived-map", {"series_description": "Abdomen MIP"}),
        ("derived-map", {"series_description": "Dose Report"}),
        ("derived-map", {"series_description": "Coronal MPR"}),
        ("other-body-part", {"body_part": "HEAD"}),
        ("other-body-part", {"body_part": "CHEST", "series_description": ""}),
        ("other-body-part", {"body_part": "", "series_description": "C-Spine"}),
        ("other-body-part", {"body_part": "", "series_description": "Phantom abdomen"}),
        ("other-body-part", {"body_part": "", "series_description": "Knee left"}),
        ("no-geometry", {"spacing_mm": None}),
        ("too-coarse", {"spacing_mm": (0.8, 0.8, 5.1)}),
        ("too-few-slices", {"instances": 11, "spacing_mm": (0.8, 0.8, 5.0)}),
        ("too-small", {"rows": 64, "columns": 64}),
        ("gaps", {"gap_free": False}),
    ],
)
def test_what_a_ct_bundle_takes(zoo, code, changes):
    assert told(zoo["spleen_ct_segmentation"], CT, **changes) == code


def test_a_bundle_of_the_whole_body_takes_any_part(zoo):
    whole = zoo["wholeBody_ct_segmentation"]
    for part, text in (("HEAD", "Head"), ("CHEST", "Lung 1.0"), ("PELVIS", "Pelvis"), ("", "Abdomen"), ("", "")):
        assert told(whole, CT, body_part=part, series_description=text) is None, part
    assert told(whole, CT, body_part="", series_description="phantom") == "other-body-part"


def test_a_bundle_for_t1_takes_t1_heads_only(zoo):
    brain = zoo["wholeBrainSeg_Large_UNEST_segmentation"]
    assert told(brain, MR) is None
    assert told(brain, MR, sop_classes=frozenset({ENHANCED_MR_IMAGE_STORAGE})) is None
    assert told(brain, MR, series_description="t2_space") == "other-weighting"
    assert told(brain, MR, series_description="3D") == "weighting-not-shown"
    assert told(brain, MR, contrast=True) == "post-contrast"
    assert told(brain, MR, spacing_mm=(1.0, 1.0, 2.5)) == "too-coarse"
    assert told(brain, MR, body_part="PELVIS") == "other-body-part"
    assert told(brain, CT) == "other-modality"


def test_a_bundle_that_names_no_weighting_takes_any_image_but_maps(zoo):
    prostate = zoo["prostate_mri_anatomy"]
    pelvis = dataclasses.replace(MR, body_part="PROSTATE", series_description="t2_tse_tra", instances=24)
    pelvis = dataclasses.replace(pelvis, spacing_mm=(0.5, 0.5, 3.0), rows=320, columns=320)
    assert told(prostate, pelvis) is None
    assert told(prostate, pelvis, series_description="ep2d_diff_b1000") == "other-weighting"
    assert told(prostate, pelvis, series_description="ADC") == "derived-map"
    assert told(prostate, pelvis, body_part="HEAD") == "other-body-part"


@pytest.mark.parametrize(
    ("task", "taken", "refused"),
    [
        ("Brain segmentation from T2 images", "t2_tse", "t1_mprage"),
        ("White matter lesions in FLAIR", "t2_flair_3d", "t2_tse"),
        ("White matter lesions in T2-FLAIR", "dark_fluid", "t1_mprage"),
        ("Brain segmentation from T1-weighted MRI", "MPRAGE", "t2_tse"),
    ],
)
def test_the_weighting_that_the_metadata_names(tmp_path, task, taken, refused):
    pipeline = pipeline_of(installed(tmp_path, "brain_mri", ("brain",), "MR", task=task))
    silent = dataclasses.replace(MR, protocol_name="")
    assert told(pipeline, silent, series_description=taken) is None
    assert told(pipeline, silent, series_description=refused) in {"other-weighting", "weighting-not-shown"}


def test_several_weightings_are_none(tmp_path):
    pipeline = pipeline_of(installed(tmp_path, "brain_mri", ("brain",), "MR", task="Brain from T1 or T2"))
    assert told(pipeline, MR) is None
    assert told(pipeline, MR, series_description="t2_tse") is None


def test_a_contrast_agent_that_the_metadata_names_may_be_given(tmp_path):
    task = "Tumour segmentation from contrast-enhanced T1"
    pipeline = pipeline_of(installed(tmp_path, "tumour_mri", ("tumour",), "MR", task=task))
    assert told(pipeline, MR, contrast=True) is None


def test_structures_that_nobody_knows_are_placed_by_the_words_of_the_metadata(tmp_path):
    pipeline = pipeline_of(installed(tmp_path, "some_ct", ("thing",), task="Something in the lung"))
    assert told(pipeline, CT, body_part="CHEST", series_description="") is None
    assert told(pipeline, CT, body_part="HEAD", series_description="") == "other-body-part"
    anywhere = pipeline_of(installed(tmp_path, "other_ct", ("thing",), task="Something"))
    assert told(anywhere, CT, body_part="HEAD", series_description="") is None


def test_voxels_as_coarse_as_the_bundle_s_own_are_taken(tmp_path):
    pipeline = pipeline_of(installed(tmp_path, "coarse_ct", ("liver",), pixdim=(3.0, 3.0, 8.0)))
    assert told(pipeline, CT, spacing_mm=(0.8, 0.8, 8.0)) is None
    assert told(pipeline, CT, spacing_mm=(0.8, 0.8, 8.1)) == "too-coarse"


def test_what_is_withheld_is_said_of_series_that_would_suit(tmp_path):
    pipeline = pipeline_of(installed(tmp_path), withheld="licence-not-accepted")
    assert told(pipeline, CT) == "licence-not-accepted"
    assert told(pipeline, MR) == "other-modality"
    assert told(pipeline, CT, gap_free=False) == "gaps"


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (ModalityUnserved, {"modality": "US"}),
        (ModalityUnserved, {"modality": ""}),
        (ModalityUnserved, {"inputs": {"type": "vector"}}),
        (SeveralInputs, {"modality": "MR", "inputs": {"num_channels": 4}}),
    ],
)
def test_bundles_that_give_none(tmp_path, error, arguments):
    with pytest.raises(error):
        pipeline_of(installed(tmp_path, **arguments))


def test_a_bundle_of_masks_gives_none(tmp_path):
    from models.catalog import Catalog

    built_in = Catalog(tmp_path).bundle("intracranial_t1")
    with pytest.raises(StructuresAbsent):
        pipeline_of(built_in)


def test_hostile_texts_become_one_short_line(tmp_path):
    hostile = {"title": "x\x00\n\\é" * 200, "intended_use": "y\r\n\t" * 500, "task": 7, "description": ["z"]}
    pipeline = pipeline_of(installed(tmp_path, **hostile))
    assert len(pipeline.title) <= 64
    assert pipeline.title.isprintable()
    assert pipeline.title.isascii()
    assert "\\" not in pipeline.title
    assert len(pipeline.intended_use) < 500
    assert pipeline.intended_use.isprintable()
    silent = pipeline_of(installed(tmp_path, "liver_ct", title="", intended_use="", task=""))
    assert silent.intended_use == f"{RESEARCH_USE} {NOT_SAID}"
    assert silent.title == "Liver CT"


def test_two_structures_of_one_label_keep_their_own_names(tmp_path):
    pipeline = pipeline_of(installed(tmp_path, names=("ivc", "postcava", "inferior vena cava")))
    labels = [output.label for output in pipeline.outputs if isinstance(output, SegmentOutput)]
    assert labels == ["ivc", "postcava", "inferior vena cava"]
