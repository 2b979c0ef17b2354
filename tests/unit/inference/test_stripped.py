import numpy as np
import pytest

from inference.errors import NotSkullStripped
from inference.stripped import check_stripped
from inference.volume import Volume, VolumeSet

SHAPE = (120, 130, 124)


def depth():
    """Millimetres below the surface of an ellipsoid, roughly; negative outside."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    radius = np.sqrt(((z - 60) / 52) ** 2 + ((y - 65) / 57) ** 2 + ((x - 62) / 53) ** 2)
    return (1.0 - radius) * 54


def pair(*images):
    return VolumeSet(tuple(Volume(image.astype(np.int16), np.eye(4), "arbitrary") for image in images))


BRAIN = np.where(depth() > 0, 100, 0) + np.where((depth() > 0) & (depth() < 3), -70, 0)
HEAD = np.where(depth() > 0, 100, 0)
HEAD[(depth() > 4) & (depth() < 10)] = 10


def test_a_brain_without_its_skull_passes():
    check_stripped(pair(BRAIN, BRAIN * 2))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (BRAIN + 3, "not exactly zero"),
        (HEAD, "scalp"),
        (np.roll(BRAIN, 40, axis=0), "edge"),
        (np.where(depth() > 25, 100, 0), "size of a brain"),
        (np.zeros(SHAPE), "size of a brain"),
    ],
)
def test_whatever_else_is_refused(image, said):
    for given in (pair(image, image), pair(BRAIN, image)):
        with pytest.raises(NotSkullStripped, match=said):
            check_stripped(given)


def test_another_place_is_refused():
    moved = np.roll(BRAIN, (7, 7, 7), axis=(0, 1, 2))
    with pytest.raises(NotSkullStripped, match="same brain"):
        check_stripped(pair(BRAIN, np.roll(moved, -14, axis=1)))
