"""Anchors, decoding and suppression by hand; `test_zoo_detector` compares whole images with MONAI."""

import numpy as np

from inference.boxes import Choice, anchors, chosen, decoded

SHAPES = np.array([[6, 8, 4]], dtype=np.float32)


def test_an_anchor_lies_in_the_middle_of_its_place():
    found = anchors(SHAPES, (2, 2, 2), (4, 4, 2), np.array([0, 7]))
    assert found.tolist() == [[-1, -2, -1, 5, 6, 3], [3, 2, 1, 9, 10, 5]]


def test_codes_move_and_stretch():
    anchor = np.array([[0, 0, 0, 4, 4, 4]], dtype=np.float32)
    codes = np.array([[0.5, 0, 0, np.log(2), 0, 1e9]], dtype=np.float32)
    found = decoded(codes, anchor)[0]
    np.testing.assert_allclose(found[[0, 3, 1, 4]], [0, 8, 0, 4], atol=1e-5)
    np.testing.assert_allclose(found[5] - found[2], 4 * 1000 / 16, rtol=1e-5)


def test_the_better_of_two_that_overlap_stays():
    scored = np.full((1, 4, 1, 1), -9.0, dtype=np.float32)
    scored[0, :2, 0, 0] = 2.0, 1.0
    coded = np.zeros((6, 4, 1, 1), dtype=np.float32)
    shapes = (np.array([[12, 12, 12]], dtype=np.float32),)
    for most, count in ((0.22, 1), (0.9, 2)):
        found = chosen([scored], [coded], shapes, (16, 16, 16), (16, 16, 16), Choice(0.02, 1000, most, 300))
        assert len(found.scores) == count
        np.testing.assert_allclose(found.scores[0], 1 / (1 + np.exp(-2.0)), rtol=1e-6)
    none = chosen([scored - 20], [coded], shapes, (16, 16, 16), (16, 16, 16), Choice(0.02, 1000, 0.2, 300))
    assert none.corners.shape == (0, 6)
