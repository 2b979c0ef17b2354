"""Plans against MONAI itself: the same preprocessing, windows and postprocessing on the same small volumes."""

import warnings

import numpy as np
import pytest
import torch
from monai import inferers, transforms
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

from inference.geometry import ras_affine
from inference.volume import Volume
from inference.zoo import Wanted, ZooRun, prepared
from inference.zoo_picture import Picture
from inference.zoo_plan import plan_of
from inference.zoo_spatial import Space

KEYS = ("one", "two", "three", "four")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On images this small PyTorch's pool would only spin."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def smooth(shape, seed=0, low=-300.0, high=300.0):
    """Random, and smooth over a few voxels."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    field = (field - field.min()) / (field.max() - field.min())
    return (field * (high - low) + low).astype(np.int16)


def rotation(degrees, axis):
    angle = np.radians(degrees)
    turn = np.eye(3)
    others = [other for other in range(3) if other != axis]
    turn[np.ix_(others, others)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def volume(shape=(18, 26, 22), spacing=(0.9, 0.8, 2.3), axes=None, dtype=np.int16):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if axes is None else axes) @ np.diag(spacing)
    affine[:3, 3] = (-31.0, 12.5, 80.0)
    return Volume(smooth(shape).astype(dtype), affine, "HU")


class Net(torch.nn.Module):
    """A few fixed convolutions: every channel wins somewhere, and neighbours count."""

    def __init__(self, channels=4, axes=3):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        layer = torch.nn.Conv3d if axes == 3 else torch.nn.Conv2d
        self.first = layer(1, 6, 3, padding=1)
        self.last = layer(6, channels, 1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.7

    def forward(self, inputs):
        return self.last(torch.sin(3.0 * self.first(inputs)))


def target(name, **arguments):
    return {"_target_": name, "keys": "image", **arguments}


def configured(steps, after, roi=(12, 14, 10), **windows):
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": list(roi), "sw_batch_size": 1, "overlap": 0.4, **windows}
    preprocessing = {"_target_": "Compose", "transforms": steps}
    inverting = {"transform": preprocessing, "orig_keys": "image"}
    post = [{**step, "keys": "pred", **(inverting if step["_target_"] == "Invertd" else {})} for step in after]
    return {
        "preprocessing": preprocessing,
        "inferer": inferer,
        "postprocessing": {"_target_": "Compose", "transforms": post},
    }


class KeepLargest(MapTransform):
    """MONAI's own needs a library that is not installed here."""

    def __init__(self, keys, applied_labels):
        super().__init__(keys)
        self.labels = applied_labels

    def __call__(self, item):
        array = np.asarray(item["pred"][0])
        for number in self.labels:
            found, _ = ndimage.label(array == number, np.ones((3, 3, 3)))
            sizes = np.bincount(found.ravel())[1:]
            item["pred"][0][torch.from_numpy((array == number) & (found != np.argmax(sizes) + 1))] = 0
        return item


OTHERS = {"KeepLargestConnectedComponentd": KeepLargest}


def made(node, **more):
    arguments = {key: value for key, value in node.items() if key not in ("_target_", "transform")}
    maker = OTHERS.get(node["_target_"]) or getattr(transforms, node["_target_"])
    return maker(**arguments, **more)


def by_monai(parts, source, net):
    """Image on the grid and labels along the source's stored axes, as MONAI makes them."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        array = torch.from_numpy(source.array.transpose(2, 1, 0)[None].astype(np.float32))
        before = transforms.Compose([made(step) for step in parts["preprocessing"]["transforms"]])
        item = before({"image": MetaTensor(array, affine=torch.from_numpy(ras_affine(source)))})
        kind = getattr(inferers, parts["inferer"]["_target_"])
        inferer = kind(**{key: value for key, value in parts["inferer"].items() if key != "_target_"})
        item["pred"] = inferer(item["image"][None], net)[0]
        image = np.array(item["image"])
        for step in parts["postprocessing"]["transforms"]:
            item = made(step, **({"transform": before} if "transform" in step else {}))(item)
    labels = np.asarray(item["pred"])
    numbers = np.arange(1, len(labels) + 1)[:, None, None, None]
    return image, (labels * numbers).max(axis=0).transpose(2, 1, 0)


def ours(parts, source, net):
    def network(inputs):
        with torch.inference_mode():
            return net(torch.from_numpy(inputs)).numpy()

    plan = plan_of(parts)
    _, image = prepared(source, plan)
    wanted = Wanted("HU", KEYS if plan.decision.kind == "threshold" else KEYS[:3])
    findings = ZooRun(plan, network, wanted, (1, 1, *parts["inferer"]["roi_size"])).run(source, lambda *_: None)
    return image, findings.labels.array


CT = [
    target("Orientationd", axcodes="RAS"),
    target("Spacingd", pixdim=[1.5, 1.3, 2.0], mode="bilinear"),
    target("ScaleIntensityRanged", a_min=-157, a_max=164, b_min=0.0, b_max=1.0, clip=True),
]
SOFTMAX = {"_target_": "Activationsd", "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "argmax": True}
BACK = {"_target_": "Invertd", "nearest_interp": False}
NEAREST = {"_target_": "Invertd", "nearest_interp": True}
LATE = [SOFTMAX, BACK, ARGMAX]
EARLY = [SOFTMAX, ARGMAX, NEAREST]
OBLIQUE = rotation(17, 0) @ rotation(-25, 2) @ np.diag([-1.0, 1.0, 1.0])


SIGMOID = {"_target_": "Activationsd", "sigmoid": True}
REACHES = {"_target_": "AsDiscreted", "threshold": 0.6}
TURN, SPACE, SCALE = CT
CLIPPED = target("ScaleIntensityRanged", a_min=20, a_max=264, b_min=0.0, b_max=1.0, clip=True)


def space(**arguments):
    return [TURN, target("Spacingd", **{"pixdim": [1.5, 1.3, 2.0], **arguments}), SCALE]


FOREGROUND = target("CropForegroundd", source_key="image", margin=2, allow_smaller=True)
BEYOND = target("CropForegroundd", source_key="image", margin=[3, 1, 4], allow_smaller=False, k_divisible=4)
PAD = target("SpatialPadd", spatial_size=[20, 10, 30])
DIVISIBLE = target("DivisiblePadd", k=[8, 8, 1], mode="replicate")
CENTRE = target("CenterSpatialCropd", roi_size=[11, -1, 16])
RESIZED = target("Resized", spatial_size=[17, 15, -1], mode="trilinear")
NORMALISED = target("NormalizeIntensityd", nonzero=True)
STRETCHED = target("ScaleIntensityRangePercentilesd", lower=3, upper=97, b_min=-1.0, b_max=1.0, clip=True)
MR = [TURN, SPACE, target("ScaleIntensityd", minv=0.0, maxv=1.0), target("NormalizeIntensityd", channel_wise=True)]
SCALED = target("ScaleIntensityd")
SIDEWAYS = np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])
LARGEST = {"_target_": "KeepLargestConnectedComponentd", "applied_labels": [1, 2]}

CASES = {
    "plain": (CT, LATE, {}, {}),
    "nearest": (CT, EARLY, {}, {}),
    "gaussian": (CT, LATE, {}, {"mode": "gaussian", "padding_mode": "replicate"}),
    "flipped": (CT, LATE, {"axes": np.diag([-1.0, 1.0, -1.0])}, {}),
    "sideways": (CT, EARLY, {"axes": SIDEWAYS}, {}),
    "oblique": (CT, LATE, {"axes": OBLIQUE}, {}),
    "oblique nearest": (CT, EARLY, {"axes": OBLIQUE}, {}),
    "LPS": ([target("Orientationd", axcodes="LPS"), SPACE, SCALE], LATE, {"axes": OBLIQUE}, {}),
    "SAL": ([target("Orientationd", axcodes="SAL"), SPACE, SCALE], EARLY, {}, {}),
    "as stored": ([SPACE, SCALE], LATE, {"axes": OBLIQUE}, {}),
    "turned late": ([SPACE, TURN, SCALE], LATE, {"axes": SIDEWAYS}, {}),
    "not sampled": ([TURN, SCALE], LATE, {"axes": SIDEWAYS}, {}),
    "own spacing": (space(pixdim=[-1, 1.3, 0]), LATE, {}, {}),
    "one spacing": (space(pixdim=1.4), LATE, {}, {}),
    "close enough": (space(pixdim=[0.9004, 0.8004, 2.3]), LATE, {}, {}),
    "kept between": (space(min_pixdim=[0.5, 0.5, 0.5], max_pixdim=[1.0, 2.0, 2.0]), LATE, {}, {}),
    "spacing by nearest": (space(mode="nearest"), LATE, {}, {}),
    "scaled before": ([CLIPPED, TURN, SPACE], LATE, {}, {}),
    "counted before": ([STRETCHED, TURN, SPACE], LATE, {}, {}),
    "foreground": ([TURN, SPACE, CLIPPED, FOREGROUND], LATE, {"axes": OBLIQUE}, {}),
    "foreground nearest": ([TURN, SPACE, CLIPPED, FOREGROUND], EARLY, {}, {}),
    "foreground beyond": ([TURN, SPACE, CLIPPED, BEYOND], LATE, {"axes": OBLIQUE}, {}),
    "foreground first": ([CLIPPED, FOREGROUND, TURN, SPACE], LATE, {"axes": SIDEWAYS}, {}),
    "foreground, threshold": ([CLIPPED, FOREGROUND, TURN, SPACE], [SIGMOID, BACK, REACHES], {}, {}),
    "padded": ([TURN, SPACE, SCALE, PAD], LATE, {"axes": OBLIQUE}, {}),
    "padded nearest": ([TURN, SPACE, SCALE, DIVISIBLE], EARLY, {}, {}),
    "padded, cropped": ([TURN, SPACE, SCALE, PAD, CENTRE, DIVISIBLE], LATE, {}, {}),
    "cropped, padded nearest": ([TURN, SPACE, SCALE, CENTRE, PAD], EARLY, {}, {}),
    "cropped, then turned": ([SPACE, SCALE, CENTRE, PAD, TURN], LATE, {"axes": SIDEWAYS}, {}),
    "resized": ([TURN, RESIZED, SCALE], LATE, {"axes": SIDEWAYS}, {}),
    "resized nearest": ([TURN, RESIZED, SCALE], EARLY, {}, {}),
    "resized by nearest": ([TURN, {**RESIZED, "mode": "nearest"}, SCALE], LATE, {}, {}),
    "resized by corners": ([TURN, {**RESIZED, "align_corners": True}, SCALE], LATE, {}, {}),
    "cropped, resized": ([TURN, CENTRE, PAD, RESIZED, SCALE], LATE, {}, {}),
    "MR": (MR, LATE, {}, {}),
    "percentiles": ([TURN, SPACE, STRETCHED], LATE, {}, {}),
    "relative percentiles": ([TURN, SPACE, {**STRETCHED, "relative": True}], LATE, {}, {}),
    "nonzero": ([TURN, SPACE, CLIPPED, NORMALISED], LATE, {}, {}),
    "subtrahend": ([TURN, SPACE, target("NormalizeIntensityd", subtrahend=12.0, divisor=150.0)], LATE, {}, {}),
    "thresholded": (
        [TURN, SPACE, SCALE, target("ThresholdIntensityd", threshold=0.4, above=False, cval=0.4)],
        LATE,
        {},
        {},
    ),
    "factor": ([TURN, SPACE, SCALE, target("ScaleIntensityd", minv=None, maxv=None, factor=0.5)], LATE, {}, {}),
    "no softmax": (CT, [BACK, ARGMAX], {}, {}),
    "late softmax": (CT, [BACK, SOFTMAX, ARGMAX], {}, {}),
    "sigmoid": (CT, [SIGMOID, BACK, REACHES], {"axes": OBLIQUE}, {}),
    "late sigmoid": (CT, [BACK, SIGMOID, REACHES], {}, {}),
    "early sigmoid": (CT, [SIGMOID, REACHES, NEAREST], {}, {}),
    "largest on the grid": (CT, [ARGMAX, LARGEST, NEAREST], {"axes": OBLIQUE}, {}),
    "largest on the grid, cropped": ([TURN, SPACE, CLIPPED, FOREGROUND, PAD], [ARGMAX, LARGEST, NEAREST], {}, {}),
    "largest on the source": (CT, [SOFTMAX, BACK, ARGMAX, LARGEST], {"axes": SIDEWAYS}, {}),
    "floats": (CT, LATE, {"dtype": np.float32}, {}),
    "one window": (CT, LATE, {}, {"roi": (40, 40, 60), "cval": -0.5}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_equals_monai(case):
    steps, after, given, windows = case
    source, parts, net = volume(**given), configured(steps, after, **windows), Net().eval()
    image, labels = by_monai(parts, source, net)
    own_image, own_labels = ours(parts, source, net)
    assert own_image.shape == image.shape
    assert np.allclose(own_image, image, atol=1e-4)
    assert len(np.unique(own_labels)) >= 4
    assert np.count_nonzero(own_labels != labels) <= 1e-4 * labels.size


SLICES = {
    "ventricles": ([SCALED], 2, {"roi": (32, 32)}),
    "smaller windows": ([SCALED], 2, {"roi": (12, 14), "overlap": 0.4}),
    "across x": ([SCALED], 0, {"roi": (14, 10), "mode": "gaussian"}),
    "across y": ([TURN, SPACE, SCALED], 1, {"roi": (12, 30), "padding_mode": "replicate"}),
    "an overlap for each axis": ([TURN, SPACE, SCALED], 2, {"roi": (12, 14), "overlap": [0.5, 0.25, 0.9]}),
}


@pytest.mark.parametrize("case", SLICES.values(), ids=SLICES)
def test_slices_of_a_network_of_two_dimensions_equal_monais(case):
    steps, across, windows = case
    source, parts, net = volume(axes=OBLIQUE), configured(steps, LATE, **windows), Net(axes=2).eval()
    parts["inferer"] |= {"_target_": "SliceInferer", "spatial_dim": across}
    image, labels = by_monai(parts, source, net)
    own_image, own_labels = ours(parts, source, net)
    assert np.allclose(own_image, image, atol=1e-4)
    assert len(np.unique(own_labels)) >= 4
    assert np.count_nonzero(own_labels != labels) <= 1e-4 * labels.size


@pytest.mark.parametrize("spacing", [(0.75, 0.75, 3.0), (1.0, 1.0, 1.0), (0.7, 0.7, 1.25), (0.9765625, 0.9765625, 5.0)])
def test_what_interpolation_brings_to_zero_is_nearly_what_monai_does(spacing):
    """Its exact zeros decide what `nonzero` leaves alone; they depend on the last bits."""
    affine = np.diag([*spacing, 1.0])
    noise = np.rint(np.random.default_rng(0).normal(size=(24, 30, 30)) * 10).astype(np.int16)
    source = Volume(noise, affine, "HU")
    array = MetaTensor(torch.from_numpy(noise.transpose(2, 1, 0)[None].astype(np.float32)), affine=ras_affine(source))
    expected = np.asarray(transforms.Spacing([1.5, 1.5, 1.5])(array))[0]
    picture = Picture(source)
    Space((1.5, 1.5, 1.5)).apply(picture)
    found = picture.finished()
    assert np.allclose(found, expected, atol=1e-5)
    assert np.mean((found == 0) != (expected == 0)) < 0.006


def test_labels_are_never_interpolated():
    """`AsDiscreted` before an `Invertd` that would interpolate: the mean of labels 0 and 2 is no 1."""
    early = configured(CT, [ARGMAX, BACK])
    nearest = configured(CT, [ARGMAX, NEAREST])
    source, net = volume(), Net().eval()
    assert np.array_equal(ours(early, source, net)[1], ours(nearest, source, net)[1])
