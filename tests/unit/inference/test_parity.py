import numpy as np
import pytest

from inference.errors import BundleRefused
from inference.parity import Answer, Parity, agreement, labels_of, probe, profile, profile_agreement

SHAPE = (1, 1, 40, 33, 17)


def answers(channels=3, seed=0, shape=(24, 24, 24)):
    return np.random.default_rng(seed).standard_normal((1, channels, *shape), np.float32)


def swapped(array, voxels):
    """The same answer with the first two channels swapped in some voxels."""
    changed = array.reshape(*array.shape[:2], -1).copy()
    changed[:, :, :voxels] = changed[:, ::-1, :voxels]
    return changed.reshape(array.shape)


def compared(measure, array, reference):
    return agreement(measure, Answer.of(array), Answer.of(reference).kept(measure))


def test_the_probe_is_smooth_and_the_same_everywhere():
    array = probe(SHAPE)
    assert array.shape == SHAPE and array.dtype == np.float32 and array.flags["C_CONTIGUOUS"]
    assert np.array_equal(array, probe(SHAPE))
    assert 0.2 < array.std() < 1.0
    assert np.abs(np.diff(array, axis=2)).max() < 0.5
    assert float(array[0, 0, 20, 20, 8]) == pytest.approx(-0.29406, abs=1e-4), "another probe is another _FORM"


def test_channels_of_the_probe_differ():
    array = probe((2, 2, 16, 16, 16))
    assert len({array[i, j].tobytes() for i in range(2) for j in range(2)}) == 4


def test_labels_are_the_greatest_channel_the_first_of_equals():
    array = answers(5)
    assert np.array_equal(labels_of(array), array.argmax(axis=1))
    assert not labels_of(np.zeros((1, 3, 2, 2, 2), np.float32)).any()
    many = np.zeros((1, 300, 1, 1, 2), np.float32)
    many[0, 299, 0, 0, 1] = 1
    assert labels_of(many).tolist() == [[[[0, 299]]]]


def test_one_channel_is_a_share_or_a_logit():
    share = np.array([0.2, 0.6, 1.0, 0.0], np.float32).reshape(1, 1, 4, 1, 1)
    assert labels_of(share).ravel().tolist() == [0, 1, 1, 0]
    assert labels_of(share * 8 - 2).ravel().tolist() == [0, 1, 1, 0]


def test_an_answer_agrees_with_itself():
    for measure in ("dice", "labels", "allclose"):
        assert compared(measure, answers(), answers()) == 1.0


def test_each_voxel_that_differs_counts():
    array = answers(2)
    changed = swapped(array, 100)
    assert compared("labels", changed, array) == 1 - 100 / 24**3
    marked = np.count_nonzero(labels_of(array)) + np.count_nonzero(labels_of(changed))
    both = np.count_nonzero(labels_of(array) & labels_of(changed))
    assert compared("dice", changed, array) == 2 * both / marked
    assert compared("allclose", changed, array) < 1


def test_dice_counts_a_foreground_with_the_wrong_name_as_missed():
    one, other = np.zeros((1, 3, 4, 4, 4), np.float32), np.zeros((1, 3, 4, 4, 4), np.float32)
    one[:, 1, :2], other[:, 2, :2] = 1, 1
    assert compared("dice", one, other) == 0.0


def test_values_count_where_labels_say_nothing():
    quiet = np.zeros((1, 2, 8, 8, 8), np.float32)
    quiet[:, 0] = 5 + answers(1, 3, (8, 8, 8))[:, 0] / 10
    wrong = quiet + answers(2, 4, (8, 8, 8)) / 10
    assert not labels_of(wrong).any()
    assert compared("dice", quiet, quiet) == 1.0
    assert compared("dice", wrong, quiet) < 0.5
    assert compared("labels", wrong, quiet) < 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_agrees_with_nothing(bad):
    array = answers()
    array[0, 0, 0, 0, 0] = bad
    for measure in ("dice", "labels", "allclose"):
        assert compared(measure, array, answers()) == 0.0


def test_another_shape_agrees_with_nothing():
    assert compared("labels", answers(shape=(24, 24, 23)), answers()) == 0.0
    assert compared("allclose", answers(2), answers(3)) == 0.0


def test_a_reference_outlives_the_next_run_of_its_network():
    array = answers()
    for measure in ("labels", "allclose"):
        buffer = array.copy()
        kept = Answer.of(buffer).kept(measure)
        buffer[:] = 0
        assert agreement(measure, Answer.of(array), kept) == 1.0


def test_a_profile_stands_for_the_reference():
    array = answers(4)
    stored = profile(Answer.of(array))
    assert set(stored) == {"0", "1", "2", "3"}
    assert sum(map(sum, stored.values())) == 24**3
    for measure in ("dice", "labels"):
        assert profile_agreement(measure, Answer.of(array), stored) == 1.0
        changed = swapped(array, 3000)
        reached = profile_agreement(measure, Answer.of(changed), stored)
        assert compared(measure, changed, array) <= reached < 1.0


def test_a_profile_tells_a_moved_answer():
    array = np.zeros((1, 2, 16, 16, 16), np.float32)
    array[:, 1, :8, :8, :8] = 1
    stored = profile(Answer.of(array))
    assert profile_agreement("dice", Answer.of(array[:, :, ::-1]), stored) == 0.0
    assert profile_agreement("labels", Answer.of(array[:, :, ::-1]), stored) == 0.75


def test_a_profile_of_something_else_shows_nothing():
    answer = Answer.of(answers())
    good = profile(answer)
    assert profile_agreement("allclose", answer, good) == 0.0
    assert profile_agreement("labels", answer, {"0": [1, 2]}) == 0.0
    assert profile_agreement("labels", answer, {}) == 0.0
    assert profile_agreement("labels", Answer.of(answers(shape=(8, 8, 8))), good) == 0.0
    assert profile_agreement("dice", answer, {**good, "7": good["2"], "2": [0] * 64}) < 0.8


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"reference": "torch", "measure": "dice"},
        {"reference": "torch", "measure": "likes", "least": 0.9},
        {"reference": "torch", "measure": "dice", "least": "all"},
        {"reference": "torch", "measure": "dice", "least": 0},
        {"reference": "torch", "measure": "dice", "least": 1.5},
        {"reference": "torch", "measure": "dice", "least": float("nan")},
    ],
)
def test_a_malformed_declaration_is_refused(value):
    with pytest.raises(BundleRefused):
        Parity.from_json(value)
