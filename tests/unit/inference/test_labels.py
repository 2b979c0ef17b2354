import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.transforms import Resize

from inference import _blending, labels
from inference.errors import BundleRefused
from inference.labels import AxisMap, Decision, Restore, activate, decide, label_volume
from inference.windows import Windows

THRESHOLD = 0.4


def convolution(channels, seed):
    torch.manual_seed(seed)
    network = torch.nn.Conv3d(1, channels, 3, padding=1).requires_grad_(requires_grad=False)
    return network, lambda array: network(torch.from_numpy(array)).numpy()


def decided(values, kind):
    if kind == "argmax":
        return values.argmax(0)
    out = torch.zeros(values.shape[1:], dtype=torch.long)
    for number, value in enumerate(values, start=1):
        out[value >= THRESHOLD] = number
    return out


def reference(image, module, windows, decision, axes, interpolate):
    """What MONAI and PyTorch make of it, all of it in memory."""
    full = torch.from_numpy(image)[None]
    if windows is None:
        full = module(full)
    else:
        full = SlidingWindowInferer(windows.roi_size, 1, windows.overlap, windows.mode)(full, module)
    if decision.activation:
        full = torch.softmax(full, 1) if decision.activation == "softmax" else torch.sigmoid(full)
    size = image.shape[1:]
    at = [np.clip(np.arange(a.size) * a.scale + a.offset, 0, n - 1) for a, n in zip(axes, size, strict=True)]
    even = [torch.from_numpy(2 * line / max(n - 1, 1) - 1) for line, n in zip(at, size, strict=True)]
    grid = torch.stack(torch.meshgrid(*even, indexing="ij")[::-1], -1)[None]
    options = {"padding_mode": "border", "align_corners": True}
    if interpolate:
        values = torch.nn.functional.grid_sample(full.double(), grid, mode="bilinear", **options)[0]
        return decided(values, decision.kind).numpy()
    found = decided(full[0], decision.kind).double()[None, None]
    return torch.nn.functional.grid_sample(found, grid, mode="nearest", **options)[0, 0].long().numpy()


def some_axes(rng, size):
    axes = []
    for points in size:
        count = int(rng.integers(1, 70))
        scale = points / count * rng.uniform(0.8, 1.2)
        if rng.random() < 0.3:
            axes.append(AxisMap(count, -scale, points - 1 + float(rng.uniform(-2, 2))))
        else:
            axes.append(AxisMap(count, scale, float(rng.uniform(-2, 2))))
    return tuple(axes)


def compare(seed, count=1):
    rng = np.random.default_rng(seed)
    different = voxels = 0
    for number in range(count):
        module, network = convolution(int(rng.integers(2, 9)), seed + number)
        roi, size = (tuple(int(item) for item in rng.integers(low, high, 3)) for low, high in ((3, 13), (1, 34)))
        overlap = float(rng.choice([0.0, 0.25, 0.5, 0.8]))
        windows = Windows(roi, overlap, str(rng.choice(["constant", "gaussian"]))) if rng.random() < 0.8 else None
        activation = [None, "softmax", "sigmoid"][int(rng.integers(3))]
        decision = Decision(str(rng.choice(["argmax", "threshold"])), activation, THRESHOLD)
        interpolate = bool(rng.random() < 0.7)
        image = (5 * rng.normal(size=(1, *size))).astype(np.float32)
        axes = some_axes(rng, size)
        shape = tuple(axis.size for axis in axes)
        into = np.full(shape[::-1], 99, np.uint8).transpose(2, 1, 0)[:, ::-1]
        label_volume(image, network, windows, decision, Restore(axes, interpolate), shape, into)
        wanted = reference(image, module, windows, decision, axes, interpolate)
        wrong = int(np.count_nonzero(into != wanted))
        assert interpolate or wrong == 0, "labels taken from the grid are the same"
        different += wrong
        voxels += wanted.size
    return different, voxels


@pytest.mark.parametrize("seed", range(16))
def test_the_labels_are_those_of_monai(seed, monkeypatch):
    if seed % 2:
        monkeypatch.setattr(_blending, "_ROOM_BYTES", 0)
        monkeypatch.setattr(_blending, "_SLICE_MIN", 1 + seed % 3)
    different, voxels = compare(seed * 1000)
    assert different <= 1e-4 * voxels


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_the_labels_are_those_of_monai_wherever_one_looks():
    different, voxels = compare(7, 200)
    assert different <= 1e-5 * voxels


@pytest.mark.parametrize("tile", [(1, 1, 1), (3, 2, 5), (64, 64, 64)])
def test_tiles_change_nothing(tile, monkeypatch):
    monkeypatch.setattr(labels, "TILE", tile)
    for kind in ("argmax", "threshold"):
        image = np.random.default_rng(2).normal(size=(1, 20, 13, 17)).astype(np.float32)
        module, network = convolution(5, 1)
        axes = (AxisMap(31, 19 / 30, 0.0), AxisMap(33, 12 / 32, 0.0), AxisMap(9, 2.0, 0.5))
        windows, decision = Windows((8, 8, 8), 0.25, "gaussian"), Decision(kind, "softmax", THRESHOLD)
        into = np.full((31, 33, 9), 99, np.uint8)
        label_volume(image, network, windows, decision, Restore(axes, True), into.shape, into)
        assert np.array_equal(into, reference(image, module, windows, decision, axes, True))


def test_a_hundred_classes_where_few_can_win_and_where_all_can():
    rng = np.random.default_rng(5)
    axes = (AxisMap(40, 23 / 39, 0.0), AxisMap(41, 23 / 40, 0.0), AxisMap(42, 23 / 41, 0.0))
    image = np.zeros((1, 24, 24, 24), np.float32)
    for sharpness in (0.1, 30.0):
        coarse = torch.from_numpy(rng.normal(size=(105, 4, 4, 4)).astype(np.float32) * sharpness)
        answer = Resize((24, 24, 24), mode="trilinear", align_corners=True)(coarse).numpy()[None]
        into = np.zeros((40, 41, 42), np.uint8)
        decision = Decision("argmax", "softmax")
        label_volume(image, lambda _image, a=answer: a, None, decision, Restore(axes, True), into.shape, into)
        wanted = reference(image, lambda _image, a=answer: torch.from_numpy(a), None, decision, axes, True)
        assert np.count_nonzero(into != wanted) <= 1e-4 * into.size
        assert len(np.unique(into)) > 20


def test_of_equal_values_the_first_wins_and_of_overlapping_masks_the_last():
    values = np.array([[1.0, 0.2], [1.0, 0.9], [0.5, 0.9]], np.float32)
    assert decide(values, Decision("argmax")).tolist() == [0, 1]
    assert decide(values, Decision("threshold", None, 0.5)).tolist() == [3, 3]
    assert decide(values, Decision("threshold", None, 0.95)).tolist() == [2, 0]
    assert decide(values[:1], Decision("argmax")).tolist() == [0, 0]


def test_activations_hold_far_from_zero():
    values = np.array([[-1e4, 1e4], [1e4, -1e4]], np.float32)
    for name in ("softmax", "sigmoid"):
        changed = values.copy()
        activate(changed, name)
        assert changed.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_values_that_are_no_numbers_are_background():
    answer = np.full((1, 3, 6, 6, 6), np.nan, np.float32)
    axes = tuple(AxisMap(9, 5 / 8, 0.0) for _ in range(3))
    for interpolate in (True, False):
        into = np.full((9, 9, 9), 7, np.uint8)
        image = np.zeros((1, 6, 6, 6), np.float32)
        label_volume(
            image, lambda _image: answer, None, Decision("argmax"), Restore(axes, interpolate), (9, 9, 9), into
        )
        assert not into.any()


def test_the_image_and_the_answer_are_left_as_they_are():
    image = np.random.default_rng(1).normal(size=(1, 9, 9, 9)).astype(np.float32)
    kept = np.concatenate((image, -image))[None]
    before = image.copy(), kept.copy()
    axes = tuple(AxisMap(9, 1.0, 0.0) for _ in range(3))
    into = np.zeros((9, 9, 9), np.uint8)
    label_volume(image, lambda _image: kept, None, Decision("argmax", "softmax"), Restore(axes, True), (9, 9, 9), into)
    assert np.array_equal(into, (image[0] < 0).astype(np.uint8))
    assert np.array_equal(image, before[0])
    assert np.array_equal(kept, before[1])


def test_what_a_network_answers_is_checked():
    image = np.zeros((1, 6, 6, 6), np.float32)
    axes = tuple(AxisMap(6, 1.0, 0.0) for _ in range(3))
    for shape, windows in (((1, 2, 6, 6, 5), None), ((1, 300, 6, 6, 6), None), ((1, 300, 6, 6, 6), Windows((6, 6, 6)))):
        for interpolate in (True, False):
            with pytest.raises(BundleRefused):
                label_volume(
                    image,
                    lambda _image, shape=shape: np.zeros(shape, np.float32),
                    windows,
                    Decision("argmax"),
                    Restore(axes, interpolate),
                    (6, 6, 6),
                    np.zeros((6, 6, 6), np.uint8),
                )


def test_more_than_255_structures_take_two_bytes():
    answer = np.zeros((1, 300, 4, 4, 4), np.float32)
    answer[:, 299] = 1.0
    axes = tuple(AxisMap(5, 0.75, 0.0) for _ in range(3))
    into = np.zeros((5, 5, 5), np.uint16)
    image = np.zeros((1, 4, 4, 4), np.float32)
    label_volume(image, lambda _image: answer, None, Decision("argmax"), Restore(axes, True), (5, 5, 5), into)
    assert (into == 299).all()


@pytest.mark.parametrize(("size", "scale", "offset"), [(0, 1.0, 0.0), (4, 0.0, 0.0), (4, float("nan"), 0.0)])
def test_maps_that_cannot_be_are_refused(size, scale, offset):
    with pytest.raises(BundleRefused):
        AxisMap(size, scale, offset)
