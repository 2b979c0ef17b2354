"""Hard cases of the lung rule: touching lungs, airways, vessels, gas, one lung."""

import numpy as np
import pytest

from inference.body import Stack
from inference.errors import AnatomyAbsent, ImplausibleFindings, LungAbsent
from inference.lungs import lungs_of
from inference.volume import Volume
from tests.common.body_phantom import (
    ARMS,
    BODY,
    FAT,
    LUNG,
    LUNGS,
    MUSCLE,
    TABLE,
    TRACHEA,
    Ellipsoid,
    affine_of,
    phantom,
    stored_as,
    turned_by,
)

LEFT, RIGHT = LUNGS
ROOM = (*TABLE, *ARMS, *BODY)


def found(volume):
    stack = Stack.of(volume)
    lungs = lungs_of(stack)
    return stack.stored(lungs.left), stack.stored(lungs.right)


def apart(mask, truth):
    return np.count_nonzero(mask ^ truth)


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        ((0, 1, 2), (False, False, False)),
        ((0, 1, 2), (False, False, True)),
        ((0, 1, 2), (True, True, True)),
        ((1, 0, 2), (True, False, False)),
        ((2, 1, 0), (False, True, False)),
        ((2, 0, 1), (True, False, True)),
    ],
)
def test_left_is_the_patients_left_however_the_image_is_stored(order, flips):
    small = (Ellipsoid(LEFT.centre, (45.0, 70.0, 100.0), LUNG), RIGHT)
    made = phantom((*ROOM, *small, *TRACHEA))
    left, right = found(stored_as(made.volume, order, flips))
    assert (
        apart(left, stored_as(Volume(made.where(small[0]).astype("u1"), made.volume.affine, "HU"), order, flips).array)
        == 0
    )
    assert (
        apart(right, stored_as(Volume(made.where(RIGHT).astype("u1"), made.volume.affine, "HU"), order, flips).array)
        == 0
    )
    assert left.sum() < right.sum()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_oblique_image_gives_every_voxel_too(axis):
    shape = (90, 100, 132)
    affine = affine_of(shape, (4.0, 4.0, 4.0), turned_by(17.0, axis))
    made = phantom((*BODY, *LUNGS, *TRACHEA), shape, affine=affine)
    left, right = found(made.volume)
    assert (apart(left, made.where(LEFT)), apart(right, made.where(RIGHT))) == (0, 0)


def test_uneven_voxels_give_every_voxel_too():
    made = phantom((*ROOM, *LUNGS, *TRACHEA), (60, 140, 180), (3.0, 2.8, 5.0))
    left, right = found(made.volume)
    assert (apart(left, made.where(LEFT)), apart(right, made.where(RIGHT))) == (0, 0)


def test_lungs_that_touch_are_parted_where_they_touch():
    junction = Ellipsoid((0, -40, 10), (40, 6, 40), LUNG)
    made = phantom((*ROOM, *LUNGS, junction, *TRACHEA))
    left, right = found(made.volume)
    both = made.where(*LUNGS, junction)
    assert apart(left | right, both) <= 0.002 * both.sum()
    assert not (left & right).any()
    assert not (left & made.where(RIGHT)).any()
    assert not (right & made.where(LEFT)).any()
    share = np.count_nonzero(left & made.where(junction)) / np.count_nonzero(made.where(junction))
    assert 0.35 < share < 0.65


def test_trachea_and_bronchi_are_not_lung():
    bronchi = (
        Ellipsoid((14, 10, 12), (6, 6, 30), -1000),
        Ellipsoid((-14, 10, 12), (6, 6, 30), -1000),
    )
    made = phantom((*ROOM, *LUNGS, *TRACHEA, *bronchi), (140, 130, 180), (3.0, 3.0, 2.5))
    left, right = found(made.volume)
    air = made.where(*TRACHEA, *bronchi)
    assert not ((left | right) & air).any()
    assert (apart(left, made.where(LEFT)), apart(right, made.where(RIGHT))) == (0, 0)


def test_a_trachea_that_opens_into_a_lung_ends_there():
    opening = Ellipsoid((20, 10, 30), (30, 6, 6), -1000)
    made = phantom((*ROOM, *LUNGS, *TRACHEA, opening))
    left, right = found(made.volume)
    high = np.zeros(made.truth.shape, bool)
    high[60:] = True
    assert not ((left | right) & made.where(*TRACHEA) & high).any()
    assert apart(left & high, made.where(LEFT) & high) == 0
    assert apart(right, made.where(RIGHT)) == 0


def test_vessels_narrower_than_the_gap_count_with_the_lung_and_a_tumour_does_not():
    vessel = Ellipsoid((80, 0, 0), (2.5, 2.5, 60), 40)
    tumour = Ellipsoid((-135, 0, 0), (25, 25, 25), 40)
    made = phantom((*ROOM, *LUNGS, vessel, tumour, *TRACHEA), (120, 130, 200), (2.5, 3.0, 3.0))
    left, right = found(made.volume)
    assert apart(left, made.where(LEFT, vessel)) == 0
    assert np.count_nonzero(right & made.where(tumour)) < 0.05 * np.count_nonzero(made.where(tumour))


def test_gas_without_tissue_is_no_lung():
    gas = (Ellipsoid(LEFT.centre, LEFT.half_axes, -1000), Ellipsoid(RIGHT.centre, RIGHT.half_axes, -998))
    with pytest.raises(LungAbsent) as refused:
        found(phantom((*ROOM, *gas)).volume)
    assert refused.value.code == "no-lung"


@pytest.mark.parametrize("parts", [BODY, ROOM, (*BODY, Ellipsoid((40, 0, 0), (25, 25, 25), LUNG))])
def test_a_trunk_without_lungs_is_told(parts):
    with pytest.raises(LungAbsent):
        found(phantom(parts, (20, 100, 132)).volume)


def test_one_lung_is_refused():
    with pytest.raises(ImplausibleFindings) as refused:
        found(phantom((*ROOM, LEFT, *TRACHEA)).volume)
    assert refused.value.context["check"] == "sides"


def test_air_in_one_ball_across_the_middle_is_not_two_lungs():
    with pytest.raises(ImplausibleFindings) as refused:
        found(phantom((*ROOM, Ellipsoid((0, 0, 0), (100, 80, 100), LUNG))).volume)
    assert refused.value.context["check"] == "sides"


def test_air_alone_and_an_empty_table_are_nobody():
    with pytest.raises(AnatomyAbsent):
        found(Volume(np.full((20, 40, 40), -1000, np.int16), affine_of((20, 40, 40), (4, 4, 4)), "HU"))
    with pytest.raises(AnatomyAbsent):
        found(phantom(TABLE, (30, 100, 132)).volume)


def test_noise_moves_no_boundary():
    made = phantom((*ROOM, *LUNGS, *TRACHEA))
    noise = np.random.default_rng(3).normal(0, 40, made.truth.shape)
    left, right = found(Volume((made.volume.array + noise).astype(np.int16), made.volume.affine, "HU"))
    assert (apart(left, made.where(LEFT)), apart(right, made.where(RIGHT))) == (0, 0)


def test_the_image_is_not_changed_and_the_answer_is_the_same_again():
    made = phantom((*ROOM, *LUNGS, *TRACHEA))
    before = made.volume.array.copy()
    first, second = found(made.volume), found(made.volume)
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert np.array_equal(made.volume.array, before)
    assert FAT < MUSCLE
