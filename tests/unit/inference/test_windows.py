import math
import warnings

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.inferers.utils import sliding_window_inference

from bithive.limits import WINDOWS_MAX
from inference import _blending
from inference.errors import BundleRefused, UnsupportedVolume
from inference.windows import Windows, blending_bytes, blocks, importance, order_of, plan, slabs


def convolution(channels_in, channels_out, seed):
    torch.manual_seed(seed)
    network = torch.nn.Conv3d(channels_in, channels_out, 3, padding=1).requires_grad_(requires_grad=False)
    return network, lambda array: network(torch.from_numpy(array)).numpy()


def gathered(image, network, windows, axis):
    out, expected = None, 0
    axis_of = int(np.argmax(image.shape[1:])) if axis is None else axis
    for low, high, slab in slabs(image, network, windows, axis):
        assert low == expected
        expected = high
        if out is None:
            out = np.full((slab.shape[0], *image.shape[1:]), np.nan, np.float32)
        place = [slice(None)] * 4
        place[axis_of + 1] = slice(low, high)
        out[tuple(place)] = slab
    assert expected == image.shape[axis_of + 1]
    return out


def slices_of(thickness, monkeypatch):
    """As if the classes were so many that a window leaves in thin slices."""
    monkeypatch.setattr(_blending, "_ROOM_BYTES", 0)
    monkeypatch.setattr(_blending, "_SLICE_MIN", thickness)


CASES = [
    ((29, 17, 23), (8, 9, 7), 0.0, "constant", "constant", 0.3),
    ((29, 17, 23), (8, 9, 7), 0.25, "gaussian", "constant", 0.0),
    ((31, 12, 9), (8, 8, 8), 0.5, "gaussian", "constant", 0.0),
    ((11, 26, 14), (12, 9, 5), 0.5, "constant", "replicate", 0.0),
    ((7, 20, 5), (11, 8, 8), 0.25, "gaussian", "replicate", 0.0),
    ((7, 20, 30), (8, 8, 8), (0.1, 0.6, 0.3), "gaussian", "constant", -1.5),
    ((6, 9, 13), (7, 5, 11), 0.9, "gaussian", "reflect", 0.0),
    ((6, 9, 13), (7, 5, 11), 0.25, "constant", "circular", 0.0),
    ((3, 1, 2), (8, 8, 8), 0.25, "gaussian", "constant", 0.0),
    ((9, 9, 9), (-1, 4, 0), 0.25, "constant", "constant", 0.0),
    ((1, 1, 40), (1, 1, 3), 0.5, "constant", "constant", 0.0),
]


@pytest.mark.parametrize(("size", "roi", "overlap", "mode", "padding", "cval"), CASES)
@pytest.mark.parametrize(("batch", "thin"), [(1, False), (3, True)])
def test_the_numbers_are_those_of_monai(size, roi, overlap, mode, padding, cval, batch, thin, monkeypatch):
    if thin:
        slices_of(3, monkeypatch)
    image = np.random.default_rng(3).normal(size=(2, *size)).astype(np.float32)
    module, network = convolution(2, 4, 5)
    theirs = SlidingWindowInferer(roi, batch, overlap, mode, padding_mode=padding, cval=cval)
    reference = theirs(torch.from_numpy(image)[None], module)[0].numpy()
    windows = Windows(roi, overlap, mode, 0.125, batch, padding, cval)
    for axis in (None, 0, 1, 2):
        ours = gathered(image, network, windows, axis)
        assert np.abs(ours - reference).max() < 1e-5 * np.abs(reference).max()


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_the_numbers_are_those_of_monai_wherever_one_looks(monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(120):
        slices_of(1 + number % 5, monkeypatch)
        roi, size = (tuple(int(item) for item in rng.integers(low, high, 3)) for low, high in ((4, 14), (1, 34)))
        overlap, sigma = float(rng.uniform(0, 0.7)), float(rng.uniform(0.05, 0.5))
        mode = "gaussian" if number % 2 else "constant"
        image = rng.normal(size=(1, *size)).astype(np.float32)
        module, network = convolution(1, 3, number)
        theirs = SlidingWindowInferer(roi, 2, overlap, mode, sigma_scale=sigma)
        reference = theirs(torch.from_numpy(image)[None], module)[0].numpy()
        ours = gathered(image, network, Windows(roi, overlap, mode, sigma, 2), number % 3)
        assert np.abs(ours - reference).max() < 1e-5 * np.abs(reference).max(), (size, roi, overlap, mode)


def test_the_windows_are_those_of_monai_in_another_order():
    seen = []

    def watch(patch):
        seen.append(patch.numpy().copy())
        return patch

    image = np.arange(21 * 10 * 13, dtype=np.float32).reshape(1, 21, 10, 13)
    sliding_window_inference(torch.from_numpy(image)[None], (8, 6, 5), 1, watch, 0.3)
    ours = []

    def keep(patch):
        ours.append(patch.copy())
        return patch

    list(slabs(image, keep, Windows((8, 6, 5), 0.3), 2))
    assert len(ours) == len(seen) == plan((21, 10, 13), Windows((8, 6, 5), 0.3)).count
    assert {patch.tobytes() for patch in ours} == {patch.tobytes() for patch in seen}


@pytest.mark.parametrize("order", [None, (0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("thickness", [2, 100])
def test_every_voxel_leaves_in_one_block_and_no_answer_is_kept(order, thickness, monkeypatch):
    slices_of(thickness, monkeypatch)
    image = np.random.default_rng(0).normal(size=(1, 25, 19, 31)).astype(np.float32)
    answer = np.empty((1, 2, 9, 8, 7), np.float32)

    def network(patch):
        answer.fill(np.nan)
        answer[:, 0], answer[:, 1] = patch[:, 0], -patch[:, 0]
        return answer

    count = np.zeros(image.shape[1:], int)
    out = np.zeros((2, *image.shape[1:]), np.float32)
    shares = []
    for block in blocks(image, network, Windows((9, 8, 7), 0.4, "gaussian"), order, 1, shares.append):
        place = tuple(slice(low, high) for low, high in zip(block.start, block.stop, strict=True))
        count[place] += 1
        out[:, *place] = block.values
        block.room.fill(np.nan)
    assert (count == 1).all()
    assert np.allclose(out[0], image[0], atol=1e-5)
    assert np.allclose(out[1], -image[0], atol=1e-5)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_last_batch_that_is_not_full_has_the_same_shape():
    shapes = set()

    def network(patch):
        shapes.add(patch.shape)
        return patch

    list(slabs(np.zeros((1, 20, 8, 8), np.float32), network, Windows((8, 8, 8), 0.0, batch=4)))
    assert shapes == {(4, 1, 8, 8, 8)}


def test_what_a_network_answers_is_checked():
    image = np.zeros((1, 12, 12, 12), np.float32)
    for answer in (np.zeros((1, 2, 8, 8, 7)), np.zeros((1, 8, 8, 8)), np.zeros((0, 2, 8, 8, 8))):
        with pytest.raises(BundleRefused):
            list(slabs(image, lambda _patch, answer=answer: answer.astype(np.float32), Windows((8, 8, 8))))


@pytest.mark.parametrize(
    "members",
    [
        {"overlap": 1.0},
        {"overlap": -0.1},
        {"overlap": math.nan},
        {"overlap": (0.1, 0.2)},
        {"mode": "round"},
        {"batch": 0},
        {"sigma_scale": 0.0},
        {"padding_mode": "mirror"},
        {"cval": math.inf},
        {"roi_size": (8, 8)},
    ],
)
def test_windows_that_cannot_be_are_refused(members):
    with pytest.raises(BundleRefused):
        Windows(**{"roi_size": (8, 8, 8)} | members)


def test_too_many_windows_are_refused_before_any_runs():
    with pytest.raises(UnsupportedVolume) as caught:
        plan((200, 200, 200), Windows((8, 8, 8), 0.9))
    assert caught.value.context["windows_max"] == WINDOWS_MAX


def test_weights_never_vanish():
    weight = importance(Windows((8, 8, 8), mode="gaussian", sigma_scale=0.05), (8, 8, 8))
    assert weight.min() >= np.float32(1e-3)
    assert weight.dtype == np.float32


def test_the_named_case_stays_open_within_two_gigabytes():
    size, windows = (239, 239, 667), Windows((96, 96, 96), 0.25, "gaussian")
    assert order_of(plan(size, windows))[0] == 2
    assert blending_bytes(size, windows, 105) < 1.8e9
    naive = 4 * 105 * math.prod(size)
    assert blending_bytes(size, windows, 105) < naive / 8


def test_memory_stays_below_what_is_foretold():
    import tracemalloc

    size, windows = (40, 44, 90), Windows((24, 24, 24), 0.25, "gaussian")
    answer = np.random.default_rng(0).normal(size=(1, 30, 24, 24, 24)).astype(np.float32)
    image = np.zeros((1, *size), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracemalloc.start()
        for _ in blocks(image, lambda _patch: answer, windows, margin=1):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < blending_bytes(size, windows, 30) + (1 << 20)
