"""One axis on its way to the grid and back, without an image."""

import numpy as np
import pytest

from inference.zoo_lines import Line, Placed, Sampling, Window


def sampling(old, new, **changed):
    scale = old / new
    return Sampling(new, (scale, 0.0), (1.0 / scale, 0.0), **changed)


def test_cuts_add_up():
    window = Window.whole(20).cut(3, 10).cut(-2, 14).cut(1, 12)
    assert window == Window(2, 12, 3, 13)
    assert window.flipped(20) == Window(6, 12, 7, 17)
    assert window.flipped(20).flipped(20) == window


def test_what_was_cut_away_has_no_answer_and_padding_is_dropped():
    line = Line.whole(20).cut(4, 10).cut(-3, 16)
    (first, past), axis = line.back(interpolate=True)
    assert (first, past, axis.size, line.size) == (4, 14, 10, 16)
    assert axis.coordinates(16).tolist() == list(range(3, 13))


def test_a_grid_that_ends_early_answers_for_the_rest():
    line = Line.whole(11).sampled(sampling(11, 4))
    (first, past), axis = line.back(interpolate=True)
    assert (first, past) == (0, 11)
    assert axis.coordinates(4)[-3:].tolist() == [pytest.approx(2.909, abs=1e-3), 3.0, 3.0]


def test_padding_after_sampling_never_answers():
    line = Line.whole(11).sampled(sampling(11, 4)).cut(-5, 20)
    for interpolate in (True, False):
        (first, past), axis = line.back(interpolate=interpolate)
        assert (first, past) == (0, 11)
        assert 5.0 <= axis.coordinates(20).min() <= axis.coordinates(20).max() <= 8.0


def test_beside_a_crop_interpolation_reaches_one_grid_voxel_and_the_nearest_half():
    line = Line.whole(40).sampled(Sampling(10, (4.0, -0.04), (0.25, 0.01))).cut(3, 4)
    (first, past), axis = line.back(interpolate=True)
    assert (first, past) == (8, 28)
    assert (axis.coordinates(4).min(), axis.coordinates(4).max()) == (0.0, 3.0)
    assert line.back(interpolate=False)[0] == (10, 26)


def test_a_crop_that_leaves_nothing_answers_nothing():
    line = Line.whole(12).sampled(sampling(12, 6)).cut(1, 2).cut(5, 3)
    (first, past), _ = line.back(interpolate=False)
    assert first == past == 0


def test_turning_round_turns_the_answer_round():
    line = Line.whole(31).cut(2, 25).sampled(sampling(25, 10)).cut(1, 7)
    for interpolate in (True, False):
        (first, past), axis = line.back(interpolate=interpolate)
        (other_first, other_past), turned = line.flipped().back(interpolate=interpolate)
        assert (other_first, other_past) == (31 - past, 31 - first)
        assert np.allclose(turned.coordinates(7)[::-1], 6 - axis.coordinates(7))


def test_an_axis_is_sampled_once():
    with pytest.raises(AssertionError):
        Line.whole(9).sampled(sampling(9, 3)).sampled(sampling(3, 2))


def test_pytorchs_nearest_counts_from_the_low_end():
    way = sampling(10, 4, nearest=True, resized=True)
    assert way.picks(10).tolist() == [0, 2, 5, 7]
    assert way.back_picks(10).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert sampling(10, 4, nearest=True).picks(10).tolist() == [0, 2, 5, 8]


def test_one_voxel_is_enough():
    way = Sampling(1, (1.5, 0.0), (1 / 1.5, 0.0))
    assert way.coordinates(1).tolist() == way.back_coordinates(1).tolist() == [0.0]
    assert Placed.on(np.array([2.0])).coordinates(2).tolist() == [1.0]
