"""The zoo's bundles that are declared here: stand-ins of exactly their form are installed, matched and run."""

import dataclasses

import numpy as np
import pytest

from inference.run import load
from inference.volume import Volume
from inference.zoo_plan import plan_of
from models.catalog import Catalog
from models.zoo import entries
from pipelines.catalog import pipelines, zoo_files
from pipelines.match import why_not
from pipelines.outputs import MeasurementOutput, SegmentOutput
from pipelines.series import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, SeriesHeader
from tests.common.installed import installed
from tests.common.zoo import zoo_bundle
from tests.unit.pipelines.test_anatomy import meanings
from tests.unit.pipelines.zoo_names import BUNDLES

TUMOURS = "brats_mri_segmentation"
VENTRICLES = "ventricular_short_axis_3label"
HEADER = SeriesHeader(
    series_uid="1.2",
    modality="MR",
    sop_classes=frozenset({MR_IMAGE_STORAGE}),
    body_part="PELVIS",
    series_description="t2_tse_tra",
    image_type=("ORIGINAL", "PRIMARY", "M"),
    instances=30,
    rows=384,
    columns=384,
    spacing_mm=(0.5, 0.5, 3.0),
    gap_free=True,
    plane="axial",
)
CT = dataclasses.replace(
    HEADER,
    modality="CT",
    sop_classes=frozenset({CT_IMAGE_STORAGE}),
    body_part="",
    series_description="Abdomen 2.0",
    instances=200,
    spacing_mm=(0.8, 0.8, 2.0),
)
HEART = dataclasses.replace(
    HEADER,
    body_part="HEART",
    series_description="cine short axis stack ED",
    instances=10,
    rows=256,
    columns=256,
    spacing_mm=(1.4, 1.4, 10.0),
    plane="oblique",
)


def standing_in(folder, name):
    """An installed bundle of that name, release and structures, without weights."""
    modality, task, names = BUNDLES[name]
    four = {"num_channels": 4, "channel_def": {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}}
    inputs = four if name == TUMOURS else None
    return installed(folder, name, names, modality, inputs=inputs, task=task, version=entries()[name].version)


@pytest.fixture
def zoo(tmp_path):
    return {name: standing_in(tmp_path, name) for name in zoo_files()}


def test_the_declared_releases_are_those_that_are_pulled():
    assert set(zoo_files()) >= {
        "spleen_ct_segmentation",
        "wholeBody_ct_segmentation",
        "prostate_mri_anatomy",
        VENTRICLES,
        TUMOURS,
    }
    for name, file in zoo_files().items():
        assert file.name == name
        assert file.bundle["version"] == entries()[name].version


def test_every_declaration_fits_its_bundle(zoo):
    found = pipelines(zoo)
    for name, file in zoo_files().items():
        pipeline = found[name]
        assert pipeline.title == file.members["title"]
        assert pipeline.bundle_version == entries()[name].version
        assert (str(pipeline.data_class), pipeline.withheld) == ("P3", "")
        assert "Not evaluated here." in pipeline.intended_use
        labels = [item.label for item in pipeline.outputs if isinstance(item, SegmentOutput)]
        assert len(labels) == len(set(labels)) == len(BUNDLES[name][2])


def test_another_release_speaks_for_itself(tmp_path):
    modality, _, names = BUNDLES["prostate_mri_anatomy"]
    other = installed(tmp_path, "prostate_mri_anatomy", names, modality, version="9.9.9")
    assert pipelines({other.name: other})["prostate_mri_anatomy"].title != "Zones of the prostate (T2 MR)"


@pytest.mark.parametrize(
    ("name", "header", "members", "code"),
    [
        ("spleen_ct_segmentation", CT, {}, None),
        ("spleen_ct_segmentation", CT, {"series_description": "Thorax"}, "other-body-part"),
        ("wholeBody_ct_segmentation", CT, {}, None),
        ("wholeBody_ct_segmentation", CT, {"series_description": "Thorax Abdomen"}, None),
        ("wholeBody_ct_segmentation", CT, {"series_description": "Head"}, "other-body-part"),
        ("wholeBody_ct_segmentation", CT, {"instances": 20}, "too-small"),
        ("prostate_mri_anatomy", HEADER, {}, None),
        ("prostate_mri_anatomy", HEADER, {"plane": "sagittal"}, "other-plane"),
        ("prostate_mri_anatomy", HEADER, {"plane": ""}, "other-plane"),
        ("prostate_mri_anatomy", HEADER, {"series_description": "t1_tse_tra"}, "other-weighting"),
        ("prostate_mri_anatomy", HEADER, {"series_description": "ep2d_diff_b800"}, "other-weighting"),
        ("prostate_mri_anatomy", HEADER, {"series_description": "tra"}, "weighting-not-shown"),
        ("prostate_mri_anatomy", HEADER, {"body_part": "KNEE"}, "other-body-part"),
        ("prostate_mri_anatomy", HEADER, {"spacing_mm": (0.5, 0.5, 6.0)}, "too-coarse"),
        (VENTRICLES, HEART, {}, None),
        (VENTRICLES, HEART, {"series_description": "cine 4ch"}, "other-name"),
        (VENTRICLES, HEART, {"series_description": "cine"}, "other-name"),
        (VENTRICLES, HEART, {"series_description": "LGE short axis"}, "other-name"),
        (VENTRICLES, HEART, {"instances": 3}, "too-few-slices"),
        (VENTRICLES, HEART, {"gap_free": False}, "gaps"),
        (VENTRICLES, HEART, {"patient_age_years": 9.0}, "outside-population"),
    ],
)
def test_each_takes_what_its_network_was_made_for(zoo, name, header, members, code):
    assert why_not(dataclasses.replace(header, **members), pipelines(zoo)[name]) == code


def test_the_heart_is_coded_as_what_it_is(zoo):
    outputs = pipelines(zoo)[VENTRICLES].outputs
    coded = {item.label: (item.type.scheme, item.type.value) for item in outputs if isinstance(item, SegmentOutput)}
    assert coded == {
        "Left ventricle, blood pool": ("SCT", "87878005"),
        "Left ventricle, myocardium": ("SCT", "49848007"),
        "Right ventricle, blood pool": ("SCT", "53085002"),
    }
    assert {item.finding.value for item in outputs if isinstance(item, MeasurementOutput)} == {
        value for _, value in coded.values()
    }


def test_a_network_of_two_dimensions_is_pulled_and_run_slice_by_slice(tmp_path):
    centres = (0.0, 0.4, 0.7, 1.0)
    made = zoo_bundle(
        tmp_path / "made",
        VENTRICLES,
        labels=dict(enumerate(BUNDLES[VENTRICLES][2], start=1)),
        centres=centres,
        modality="MR",
        roi=(64, 64),
        across=2,
        version=entries()[VENTRICLES].version,
        change={
            "preprocessing": {
                "_target_": "Compose",
                "transforms": [
                    {"_target_": "LoadImaged", "keys": "image", "image_only": False},
                    {"_target_": "EnsureChannelFirstd", "keys": "image"},
                    {"_target_": "ScaleIntensityd", "keys": "image"},
                    {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
                ],
            }
        },
    )
    catalog = Catalog(tmp_path / "store")
    assert catalog.pull(str(made), judge=plan_of) == VENTRICLES
    bundle = catalog.bundle(VENTRICLES)
    assert catalog.ready(bundle)
    (network,) = bundle.extension["networks"].values()
    assert network["input_shape"] == [1, 1, 64, 64]
    assert pipelines(catalog.bundles())[VENTRICLES].title == "Ventricles of the heart (short-axis MR)"
    expected = np.random.default_rng(1).integers(0, 4, (7, 80, 72))
    image = np.rint(np.array(centres)[expected] * 1000).astype(np.int16)
    volume = Volume(image, np.diag([1.4, 1.4, 10.0, 1.0]), "arbitrary")
    findings = load(bundle, catalog.weights(bundle), engine="torch", threads=1).run(volume)
    assert findings.labels is not None
    assert np.array_equal(findings.labels.array, expected)
    assert findings.labels.keys == ("lv_pool", "myocardium", "rv_pool")


def test_codes_of_the_declarations_are_those_of_the_dictionary():
    known = meanings()
    coded = [
        members[member]
        for file in zoo_files().values()
        for _, members in file.members.get("outputs", {}).values()
        for member in ("code", "site")
        if member in members
    ]
    assert len(coded) >= 5
    assert [code for code in coded if code.meaning not in known.get(code.value, ())] == []
