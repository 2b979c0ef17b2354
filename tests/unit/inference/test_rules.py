"""The CT rules through their bundles: exact on phantoms with known answers, and a coded reason for what they do not take."""

import numpy as np
import pytest

from inference.config import build
from inference.errors import (
    AnatomyAbsent,
    AnatomyTruncated,
    BundleRefused,
    ImplausibleFindings,
    LungAbsent,
    UnsupportedVolume,
)
from inference.findings import Findings
from inference.rules import percentile_of
from inference.run import load
from inference.volume import Volume
from models.bundle import Bundle
from models.catalog import BUNDLES
from tests.common.body_phantom import (
    AIR,
    ARMS,
    BODY,
    BONE,
    LUNG,
    LUNG_AXES,
    LUNGS,
    TABLE,
    TRACHEA,
    Ellipsoid,
    affine_of,
    graded,
    phantom,
    stored_as,
    turned_by,
)

SIDES = ("left_lung", "right_lung")
WAYS = [
    ((0, 1, 2), (False, False, False)),
    ((0, 1, 2), (True, False, True)),
    ((1, 0, 2), (True, False, False)),
    ((2, 0, 1), (False, True, True)),
]


@pytest.fixture(scope="module")
def lungs():
    return load(Bundle.load(BUNDLES / "lungs_ct"), {})


@pytest.fixture(scope="module")
def composition():
    return load(Bundle.load(BUNDLES / "composition_ct"), {})


@pytest.fixture(scope="module")
def chest():
    made = phantom((*TABLE, *ARMS, *BODY, *LUNGS, *TRACHEA))
    return graded(made, made.where(*LUNGS))


@pytest.fixture(scope="module")
def trunk():
    marrow = Ellipsoid((0, 95, 0), (12, 7, np.inf), -60)
    gas = Ellipsoid((40, -30, 0), (20, 15, np.inf), -990)
    return phantom((*TABLE, *ARMS, *BODY, marrow, gas), (24, 100, 132))


def values(findings):
    return {item.key: item.value for item in findings.measurements}


def truth_of(array, voxel_ml):
    """The known answers of a set of voxels, by another way: sorted."""
    ordered = np.sort(array.astype(np.float64))
    return {
        "volume": len(ordered) * voxel_ml,
        "mean": ordered.mean(),
        "laa950": 100.0 * np.searchsorted(ordered, -950, side="left") / len(ordered),
        "pd15": ordered[int(np.ceil(0.15 * len(ordered))) - 1],
    }


@pytest.mark.parametrize(("order", "flips"), WAYS)
def test_lungs_are_exact_however_the_image_is_stored(lungs, chest, order, flips):
    findings = lungs.run(stored_as(chest.volume, order, flips))
    found = values(findings)
    masks = dict(zip(SIDES, ([LUNGS[0]], [LUNGS[1]]), strict=True)) | {"lungs": list(LUNGS)}
    for name, parts in masks.items():
        for key, expected in truth_of(chest.volume.array[chest.where(*parts)], chest.volume.voxel_ml).items():
            assert found[f"{name}_{key}"] == pytest.approx(expected, rel=1e-12), (name, key)
    for key, part in zip(SIDES, LUNGS, strict=True):
        truth = Volume(chest.where(part).astype(np.uint8), chest.volume.affine, "HU")
        assert np.array_equal(findings.mask(key).array, stored_as(truth, order, flips).array > 0)


def test_the_known_mixture_has_the_known_index_and_percentile(lungs, chest):
    found = values(lungs.run(chest.volume))
    assert found["lungs_laa950"] == pytest.approx(14.0, abs=0.01), "14 of 100 densities lie below -950 HU"
    assert found["lungs_pd15"] == -948.0, "-990 + 3 x 14: the fifteenth of a hundred"
    assert found["lungs_mean"] == pytest.approx(-990 + 3 * 49.5, abs=0.1)
    analytic_ml = 2 * 4 / 3 * np.pi * np.prod(LUNG_AXES) / 1000
    assert found["lungs_volume"] == pytest.approx(analytic_ml, rel=0.005)


def test_an_oblique_chest_gives_the_same(lungs):
    shape = (90, 100, 132)
    made = phantom((*BODY, *LUNGS), shape, affine=affine_of(shape, (4.0, 4.0, 4.0), turned_by(12.0, 0)))
    found = values(lungs.run(made.volume))
    assert found["left_lung_volume"] == np.count_nonzero(made.where(LUNGS[0])) * made.volume.voxel_ml
    assert found["right_lung_volume"] == np.count_nonzero(made.where(LUNGS[1])) * made.volume.voxel_ml


def test_findings_of_rules_travel_and_repeat(lungs, chest):
    stages = []
    sent = lungs.run(chest.volume, lambda stage, fraction: stages.append((stage, fraction))).to_bytes()
    assert Findings.from_bytes(sent, chest.volume.array.shape).to_bytes() == sent
    assert lungs.run(Volume.from_bytes(chest.volume.to_bytes())).to_bytes() == sent
    assert [stage for stage, _ in stages] == ["preparing", "segmenting", "measuring", "measuring"]


def test_a_receipt_of_rules_can_say_how_they_ran(lungs):
    assert (lungs.engine, lungs.precision, lungs.device, lungs.deterministic) == ("numpy", "f64", "cpu", True)
    assert (lungs.tf32, lungs.bf16, lungs.engine_version) == (False, False, np.__version__)
    assert lungs.memory_bytes == 0


@pytest.mark.parametrize("engine", ["auto", "torch", "openvino", "numpy"])
def test_a_cell_of_any_engine_runs_rules(engine, chest):
    loaded = load(Bundle.load(BUNDLES / "lungs_ct"), {}, engine, threads=3)
    assert (loaded.engine, loaded.threads) == ("numpy", 3)


def test_lungs_that_are_cut_off_are_refused(lungs, chest):
    array = np.ascontiguousarray(chest.volume.array[30:])
    with pytest.raises(AnatomyTruncated) as refused:
        lungs.run(Volume(array, chest.volume.affine, "HU"))
    assert refused.value.code == "anatomy-truncated"


@pytest.mark.parametrize(
    ("parts", "error", "check"),
    [
        (BODY, LungAbsent, None),
        ((*BODY, LUNGS[0], *TRACHEA), ImplausibleFindings, "sides"),
        ((*BODY, LUNGS[0], Ellipsoid((-80, 0, 0), (40, 45, 60), LUNG)), ImplausibleFindings, "sides"),
        (
            (*BODY, *(Ellipsoid((side * 80, 0, 0), (35, 50, 60), LUNG) for side in (1, -1))),
            ImplausibleFindings,
            "volume",
        ),
        ((*BODY, *(Ellipsoid(part.centre, LUNG_AXES, -520) for part in LUNGS)), ImplausibleFindings, "density"),
    ],
)
def test_what_no_chest_has_is_refused_with_its_reason(lungs, parts, error, check):
    with pytest.raises(error) as refused:
        lungs.run(phantom(parts).volume)
    assert refused.value.context.get("check") == check


@pytest.mark.parametrize(("order", "flips"), WAYS)
def test_tissues_are_exact_however_the_image_is_stored(composition, trunk, order, flips):
    findings = composition.run(stored_as(trunk.volume, order, flips))
    inside = trunk.truth > len(TABLE) + len(ARMS)
    array = trunk.volume.array
    truths = {
        "bone": inside & (array > 150),
        "fat": inside & (array >= -190) & (array <= -30),
        "muscle": inside & (array >= -29) & (array <= 150),
    }
    for key, truth in truths.items():
        assert values(findings)[f"{key}_volume"] == pytest.approx(truth.sum() * trunk.volume.voxel_ml, rel=1e-12)
        shown = stored_as(Volume(truth.astype(np.uint8), trunk.volume.affine, "HU"), order, flips).array > 0
        assert np.array_equal(findings.mask(key).array, shown)
    assert values(findings)["muscle_mean"] == 50.0


def test_both_ends_of_each_range_belong_to_it(composition, trunk):
    array = trunk.volume.array.copy()
    inside = np.argwhere(trunk.where(BODY[1]))[1000:1008]
    for place, hu in zip(inside, (-191, -190, -30, -29, 150, 151, 3000, 3001), strict=True):
        array[tuple(place)] = hu
    findings = composition.run(Volume(array, trunk.volume.affine, "HU"))
    named = [next((m.key for m in findings.masks if m.array[tuple(place)]), None) for place in inside]
    assert named == [None, "fat", "fat", "muscle", "muscle", "bone", "bone", None]


def test_fractions_of_a_unit_are_rounded_and_belong_to_one_range(composition, trunk):
    array = trunk.volume.array.astype(np.float32)
    array[trunk.where(BODY[1])] = -29.4
    findings = composition.run(Volume(array, trunk.volume.affine, "HU"))
    assert findings.mask("muscle").array[trunk.where(BODY[1])].all()


@pytest.mark.parametrize(
    ("parts", "check"),
    [
        ((Ellipsoid((0, 0, 0), (180, 130, np.inf), 0),), "bone"),
        ((Ellipsoid((0, 0, 0), (75, 95, np.inf), 40), Ellipsoid((0, 0, 0), (15, 15, np.inf), BONE)), "width"),
        (
            (
                Ellipsoid((0, 0, 0), (180, 130, np.inf), 1000),
                Ellipsoid((0, 0, 0), (100, 60, np.inf), -100),
                Ellipsoid((0, 0, 0), (80, 50, np.inf), 30),
            ),
            "bone",
        ),
    ],
)
def test_what_is_no_trunk_is_refused_with_its_reason(composition, parts, check):
    with pytest.raises(ImplausibleFindings) as refused:
        composition.run(phantom(parts, (20, 100, 132)).volume)
    assert refused.value.context["check"] == check


def test_neither_takes_an_image_without_hounsfield_units_nor_air(lungs, composition, chest):
    for loaded in (lungs, composition):
        with pytest.raises(UnsupportedVolume):
            loaded.run(Volume(chest.volume.array, chest.volume.affine, "arbitrary"))
        with pytest.raises(AnatomyAbsent):
            loaded.run(Volume(np.full((40, 60, 60), AIR, np.int16), affine_of((40, 60, 60), (4, 4, 4)), "HU"))


def test_real_data_has_its_answers(lungs, composition, shared):
    from tests.golden.conftest import read_series

    body = read_series(shared / "data" / "ct-body-j2k", "HU")
    with pytest.raises(LungAbsent):
        lungs.run(body)
    found = values(composition.run(body))
    assert found["bone_volume"] < found["fat_volume"] < found["muscle_volume"]
    phantom_head = read_series(shared / "data" / "ct-head-philips", "HU")
    with pytest.raises(LungAbsent):
        lungs.run(phantom_head)
    with pytest.raises(ImplausibleFindings):
        composition.run(phantom_head)


@pytest.mark.parametrize("percent", [0.5, 15, 50, 99.9, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 100, 1001])
def test_a_percentile_is_one_of_the_values(count, percent):
    array = np.random.default_rng(1).integers(-1000, 0, count)
    assert percentile_of(array, percent) == np.percentile(array, percent, method="inverted_cdf")


def test_ranges_that_overlap_are_refused():
    step = {"keys": "image", "threshold_hu": -500.0, "neck_mm": 3.0, "ranges": {"a": [0, 10], "b": [10, 20]}}
    chain = {"_target_": "Compose", "transforms": [{"_target_": "inference.rules.SegmentTissuesd", **step}]}
    with pytest.raises(BundleRefused):
        build({"preprocessing": chain, "postprocessing": chain}, {})
