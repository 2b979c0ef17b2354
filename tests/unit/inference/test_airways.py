"""The trachea is followed from the neck down; nothing else is taken for one."""

import numpy as np
import pytest

from inference.airways import airways_of
from inference.body import Stack, body_of
from tests.common.body_phantom import BODY, LUNGS, TRACHEA, Ellipsoid, phantom, stored_as


def airways(volume):
    stack = Stack.of(volume)
    body = body_of(stack, -500.0, 3.0)
    return stack.stored(airways_of(stack, body & (stack.array < -500), body))


@pytest.mark.parametrize(
    ("order", "flips"), [((0, 1, 2), (False,) * 3), ((0, 1, 2), (True, False, False)), ((2, 1, 0), (False, True, True))]
)
def test_the_trachea_is_found_whichever_way_the_planes_are_stored(order, flips):
    made = phantom((*BODY, *LUNGS, *TRACHEA))
    truth = made.where(*TRACHEA)
    from inference.volume import Volume

    shown = stored_as(Volume(truth.astype("u1"), made.volume.affine, "HU"), order, flips).array > 0
    found = airways(stored_as(made.volume, order, flips))
    assert not (found & ~shown).any()
    assert np.count_nonzero(found) >= 0.95 * np.count_nonzero(truth)


@pytest.mark.parametrize(
    "part",
    [
        Ellipsoid((70, 10, 110), (9, 10, 60), -1000),
        Ellipsoid((0, 10, 110), (40, 40, 60), -1000),
        Ellipsoid((0, 10, 160), (9, 10, 10), -1000),
        Ellipsoid((0, 10, 110), (40, 6, 60), -1000),
    ],
    ids=["to the side", "too wide", "too short", "flat"],
)
def test_other_holes_are_no_trachea(part):
    assert not airways(phantom((*BODY, part)).volume).any()


def test_a_body_without_air_has_none():
    assert not airways(phantom(BODY, (20, 100, 132)).volume).any()
