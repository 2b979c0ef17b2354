"""Measurements of a brain and the checks on them, on phantoms with known answers."""

import numpy as np
import pytest

from inference.brain_checks import (
    MeasureBraind,
    RequireBrainOnCtd,
    RequireBrainOnMrd,
    TrimBoned,
    skull_share,
    texture,
)
from inference.conform import Conformed
from inference.errors import AnatomyAbsent, ImplausibleFindings
from inference.findings import Score
from inference.geometry import Canonical
from inference.morphology import dilate
from inference.volume import Volume
from models.bundle import Bundle
from models.catalog import BUNDLES
from tests.common.body_phantom import phantom, stored_as
from tests.common.head_phantom import BRAIN, CALCIFICATION, HEAD_CT, SCALP, SKULL, VENTRICLES, Ellipsoid

SHAPE, SPACING = (75, 80, 70), (3.0, 3.0, 3.0)


def limits(bundle, name):
    """The arguments of a check as the bundle declares them."""
    steps = Bundle.load(BUNDLES / bundle).inference()["postprocessing"]["transforms"]
    found = next(step for step in steps if step["_target_"].endswith(name))
    return {key: value for key, value in found.items() if key != "_target_"}


def item_of(volume, mask, certainty=0.99):
    return {"image": Canonical.of(volume), "pred": mask.copy(), "scores": (Score("certainty", certainty),)}


@pytest.fixture(scope="module")
def head():
    return phantom(HEAD_CT, SHAPE, SPACING)


@pytest.fixture(scope="module")
def inside(head):
    return head.where(BRAIN, VENTRICLES, CALCIFICATION)


def measured(item):
    return {entry.key: entry.value for entry in item["measurements"]}


def on_ct(item):
    for made in (
        TrimBoned("pred", "image", "shares", 150.0, -100.0),
        MeasureBraind("pred", "image", (0.0, 15.0)),
        RequireBrainOnCtd(**limits("brain_ct", "RequireBrainOnCtd")),
    ):
        item = made(item)
    return item


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), (False,) * 3), ((2, 0, 1), (True, False, True))])
def test_skull_is_taken_away_and_calcification_stays(head, inside, order, flips):
    volume = stored_as(head.volume, order, flips)
    wide = stored_as(Volume(dilate(inside, (0, 1, 0)).astype("u1"), head.volume.affine, "HU"), order, flips).array > 0
    item = on_ct(item_of(volume, wide))
    truth = stored_as(Volume(inside.astype("u1"), head.volume.affine, "HU"), order, flips).array > 0
    assert np.array_equal(item["pred"], truth)
    assert item["shares"]["bone"] == pytest.approx((volume.array[wide] > 150).mean())
    values = measured(item)
    assert values["brain_volume"] == pytest.approx(inside.sum() * volume.voxel_ml)
    assert values["brain_median"] == 32.0
    assert values["csf_volume"] == pytest.approx(head.where(VENTRICLES).sum() * volume.voxel_ml)
    assert np.array_equal(next(mask.array for mask in item["masks"] if mask.key == "csf"), truth & (volume.array == 8))


def test_a_mask_of_bone_alone_is_no_brain(head):
    with pytest.raises(AnatomyAbsent):
        TrimBoned("pred", "image", "shares", 150.0, -100.0)(
            item_of(head.volume, head.where(SKULL)[::1] & (head.truth > 0) & _half(head))
        )


def _half(head):
    return np.arange(head.truth.shape[2])[None, None, :] > head.truth.shape[2] // 2


def _changed(head, values):
    array = head.volume.array.copy()
    for part, hu in values.items():
        array[head.where(part)] = hu
    return Volume(array, head.volume.affine, "HU")


@pytest.mark.parametrize(
    ("values", "grown", "certainty", "check"),
    [
        ({}, 0, 0.5, "certainty"),
        ({BRAIN: 60, VENTRICLES: 60}, 0, 0.99, "density"),
        ({BRAIN: 5}, 0, 0.99, "density"),
        ({SKULL: 120}, 0, 0.99, "skull"),
        ({VENTRICLES: -900}, 0, 0.99, "air"),
        ({}, 3, 0.99, "bone"),
    ],
)
def test_a_brain_that_none_is_is_refused_by_the_check_that_sees_it(head, inside, values, grown, certainty, check):
    item = item_of(_changed(head, values), dilate(inside, (grown,) * 3), certainty)
    with pytest.raises(ImplausibleFindings) as refused:
        on_ct(item)
    assert refused.value.context["check"] == check


@pytest.mark.parametrize(
    ("cut", "check"),
    [
        (lambda mask: mask & (np.arange(mask.shape[0])[:, None, None] > mask.shape[0] // 2), "volume"),
        (lambda mask: dilate(mask, (9, 9, 9)), "volume"),
    ],
)
def test_half_a_brain_and_twice_a_brain_are_refused(head, inside, cut, check):
    with pytest.raises(ImplausibleFindings) as refused:
        on_ct(item_of(_changed(head, {SCALP: 32, SKULL: 32}), cut(inside)))
    assert refused.value.context["check"] == check


def test_a_brain_that_is_cut_off_by_the_image_is_refused(head, inside):
    array = np.ascontiguousarray(head.volume.array[18:])
    with pytest.raises(ImplausibleFindings) as refused:
        on_ct(item_of(Volume(array, head.volume.affine, "HU"), inside[18:]))
    assert refused.value.context["check"] == "border"


def test_the_skull_is_counted_along_the_surface(head, inside):
    image = Canonical.of(head.volume)
    assert skull_share(inside, image, 200.0, 10.0) == 1.0
    half = head.volume.array.copy()
    half[:, :, half.shape[2] // 2 :][half[:, :, half.shape[2] // 2 :] > 200] = 30
    bare = Canonical.of(Volume(half, head.volume.affine, "HU"))
    assert 0.4 < skull_share(inside, bare, 200.0, 10.0) < 0.7


@pytest.fixture(scope="module")
def mr_head():
    parts = (Ellipsoid(SCALP.centre, SCALP.half_axes, 300), Ellipsoid(SKULL.centre, SKULL.half_axes, 30), BRAIN)
    made = phantom(parts, SHAPE, SPACING)
    inside = made.where(BRAIN)
    random = np.random.default_rng(5)
    array = made.volume.array.astype(np.float32) + 1000
    array[inside] = 1400 + random.normal(0, 80, np.count_nonzero(inside))
    array -= 1000
    return Volume(np.clip(array, 0, None).astype(np.int16), made.volume.affine, "arbitrary"), inside


def on_mr(volume, inside):
    item = item_of(volume, inside) | {"cube": Conformed.of(Canonical.of(volume))}
    return RequireBrainOnMrd(**limits("brain_mr", "RequireBrainOnMrd"))(MeasureBraind("pred", "image")(item))


def test_an_mr_brain_has_a_volume_and_nothing_in_hounsfield_units(mr_head):
    volume, inside = mr_head
    item = on_mr(volume, inside)
    assert [mask.key for mask in item["masks"]] == ["brain"]
    assert measured(item) == {"brain_volume": pytest.approx(inside.sum() * volume.voxel_ml)}
    variation, brightness = texture(inside, item["image"], item["cube"])
    assert variation == pytest.approx(volume.array[inside].std() / volume.array[inside].mean(), rel=1e-6)
    assert brightness > 1.5


def test_an_evenly_filled_ball_and_a_dark_one_are_refused(mr_head):
    volume, inside = mr_head
    even = volume.array.copy()
    even[inside] = 400
    dark = volume.array.copy()
    dark[inside] = dark[inside] // 8
    dark[~inside] += 600
    for array, check in ((even, "texture"), (dark, "brightness")):
        with pytest.raises(ImplausibleFindings) as refused:
            on_mr(Volume(array, volume.affine, "arbitrary"), inside)
        assert refused.value.context["check"] == check
