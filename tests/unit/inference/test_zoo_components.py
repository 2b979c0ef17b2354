"""Components and holes of label maps, against scipy's labelling of each voxel."""

import numpy as np
import pytest
from scipy import ndimage

from inference.zoo_components import FillHoles, KeepLargest, RemoveSmall


def blobs(seed=0, shape=(18, 20, 22), numbers=3):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
    edges = np.quantile(field, np.linspace(0.4, 1.0, numbers + 1)[:-1])
    return np.digitize(field, edges).astype(np.uint8)


def largest(mask, reach, count=1):
    found, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, reach))
    sizes = np.bincount(found.ravel())[1:]
    return np.isin(found, np.argsort(-sizes, kind="stable")[:count] + 1) if len(sizes) else mask


@pytest.mark.parametrize("reach", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("wanted", [None, (1, 3)])
def test_each_structure_keeps_its_largest(reach, count, wanted):
    labels = blobs()
    expected = labels.copy()
    for number in wanted or (1, 2, 3):
        expected[(labels == number) & ~largest(labels == number, reach, count)] = 0
    KeepLargest(wanted, independent=True, reach=reach, count=count).act(labels, 1.0)
    assert np.array_equal(labels, expected)


@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("wanted", [None, (2, 3)])
def test_the_union_keeps_its_largest(reach, wanted):
    labels = blobs(seed=4)
    union = labels > 0 if wanted is None else np.isin(labels, wanted)
    expected = np.where(union & ~largest(union, reach), 0, labels)
    KeepLargest(wanted, independent=False, reach=reach).act(labels, 1.0)
    assert np.array_equal(labels, expected)


def filled(labels, wanted, reach):
    """MONAI's rule: what a flood from outside does not reach becomes the structure."""
    labels = labels.copy()
    for number in wanted:
        flood = ndimage.binary_dilation(
            np.zeros(labels.shape, bool),
            ndimage.generate_binary_structure(3, reach),
            iterations=-1,
            mask=labels != number,
            border_value=1,
        )
        labels[~flood] = number
    return labels


def shells(dtype=np.uint8):
    z, y, x = np.indices((20, 22, 24))
    far = np.sqrt((z - 10) ** 2 + (y - 10) ** 2 + (x - 9) ** 2)
    labels = np.where((far < 8) & (far > 5), 1, 0) + np.where(far < 2, 2, 0)
    labels[0:3, 0:3, 20:24] = 3
    labels[1, 1, 22] = 0
    return labels.astype(dtype)


@pytest.mark.parametrize("reach", [1, 2, 3])
@pytest.mark.parametrize("wanted", [None, (3,), (2, 1)])
def test_holes_are_filled_as_a_flood_says(reach, wanted):
    for labels in (shells(), shells(np.uint16), blobs(seed=2)):
        expected = filled(labels, wanted or (1, 2, 3), reach)
        turned = labels.transpose(2, 0, 1)[::-1]
        FillHoles(wanted, reach).act(turned, 1.0)
        assert np.array_equal(labels, expected)


def test_small_components_of_one_structure_go():
    labels = (blobs(seed=3) == 3).astype(np.uint8)
    found, _ = ndimage.label(labels)
    sizes = np.bincount(found.ravel())
    RemoveSmall(12, 1, measured=False, union=False).act(labels, 1.0)
    assert np.array_equal(labels > 0, (sizes >= 12)[found] & (found > 0))
    assert 0 < np.count_nonzero(labels) < np.count_nonzero(found)


def test_of_several_structures_the_small_ones_go():
    labels = shells()
    sizes = np.bincount(labels.ravel())
    RemoveSmall(sizes[3] * 2.0 + 1.0, 1, measured=True, union=False).act(labels, 2.0)
    assert set(np.unique(labels)) == {0, 1}


def test_the_union_of_structures_loses_its_small_components():
    labels = shells()
    RemoveSmall(60, 1, measured=False, union=True).act(labels, 1.0)
    assert np.array_equal(labels > 0, ndimage.binary_opening(shells() == 1, iterations=0) | (shells() == 1))


@pytest.mark.parametrize(
    "component",
    [
        KeepLargest(None, independent=True, reach=3),
        KeepLargest(None, independent=False, reach=3),
        KeepLargest((7,), independent=False, reach=1),
        FillHoles(None, 3),
        RemoveSmall(64, 1, measured=False, union=False),
        RemoveSmall(64, 1, measured=False, union=True),
    ],
)
def test_nothing_stays_nothing(component):
    labels = np.zeros((4, 5, 6), np.uint8)
    component.act(labels, 1.0)
    assert not labels.any()
