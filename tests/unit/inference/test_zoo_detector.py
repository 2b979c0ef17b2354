"""Detectors of the zoo's form: equal to MONAI's on the same weights, and right where the answer is known."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.transforms.dictionary import AffineBoxToWorldCoordinated, ClipBoxToImaged, ConvertBoxModed
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.data import MetaTensor

from inference.boxes import Boxes
from inference.engine import NetworkFile
from inference.engine_torch import TorchEngine, _laid_out
from inference.errors import BundleRefused, TransformUnsupported, UnsupportedVolume
from inference.retinanet import retina_net
from inference.volume import Volume
from inference.zoo_detector import DetectorRun, detected, detector_plan_of, regions_of
from models.detector import parts_of
from tests.common.detector import ANCHORS, DIVISOR, PIXDIM, SCALES, answering, config, definition

LEVELS = len(SCALES)


class Maps(torch.nn.Module):
    """Random maps that depend on the image alone: what a RetinaNet gives, without its hours."""

    def __init__(self, classes=1, seed=0):
        super().__init__()
        self.spatial_dims, self.num_classes, self.num_anchors = 3, classes, len(ANCHORS)
        self.size_divisible, self.cls_key, self.box_reg_key = DIVISOR, "classification", "box_regression"
        torch.manual_seed(seed)
        self.heads = torch.nn.ModuleList(
            torch.nn.Conv3d(1, len(ANCHORS) * values, kernel_size=step, stride=step)
            for values in (classes, 6)
            for step in ((4, 4, 2), (8, 8, 4), (16, 16, 8))
        )

    def forward(self, images):
        maps = [head(images) for head in self.heads]
        scores = [4.0 * item - 1.5 for item in maps[:LEVELS]]
        return {"classification": scores, "box_regression": [1.5 * item for item in maps[LEVELS:]]}


def planned(roi, classes=1, **changes):
    made = {**config(roi), "num_classes": classes, **changes}
    return detector_plan_of(parts_of(made))


def by_monai(module, image, roi, *, windows):
    generator = AnchorGeneratorWithAnchorShape(feature_map_scales=SCALES, base_anchor_shapes=ANCHORS)
    detector = RetinaNetDetector(module, generator)
    detector.set_target_keys("box", "label")
    detector.set_box_selector_parameters(
        score_thresh=0.02, topk_candidates_per_level=1000, nms_thresh=0.22, detections_per_img=300
    )
    detector.set_sliding_window_inferer(roi_size=roi, overlap=0.25, sw_batch_size=1, mode="constant", device="cpu")
    detector.eval()
    with torch.inference_mode():
        (found,) = detector(torch.from_numpy(image)[None, None], use_inferer=windows)
    return {name: value.numpy() for name, value in found.items()}


def ours(module, image, made):
    asked = []

    def networks(shape):
        def run(inputs):
            asked.append(inputs.shape)
            assert inputs.shape == shape
            with torch.inference_mode():
                return _laid_out(module(torch.from_numpy(inputs))).numpy()

        return run

    return detected(image, made, networks), asked


def noise(shape, seed=1):
    return np.random.default_rng(seed).normal(0.5, 0.4, shape).astype(np.float32)


CASES = {
    "whole": ((40, 50, 30), (96, 96, 64), 1),
    "windows, two classes": ((60, 48, 40), (48, 48, 32), 2),
    "windows, padded off a coarse level": ((90, 32, 30), (48, 48, 32), 1),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=() if name == "windows, two classes" else pytest.mark.soak)
        for name, case in CASES.items()
    ],
)
def test_it_equals_monai(case):
    shape, roi, classes = case
    module, image = Maps(classes).eval(), noise(shape)
    windows = np.prod(shape) >= np.prod(roi)
    expected = by_monai(module, image, roi, windows=bool(windows))
    found, asked = ours(module, image, planned(roi, classes))
    assert (len(asked) > 1) == windows
    assert len(found.scores) == len(expected["label_scores"]) > 20
    np.testing.assert_allclose(found.scores, expected["label_scores"], atol=2e-6)
    np.testing.assert_array_equal(found.classes, expected["label"])
    np.testing.assert_allclose(found.corners, expected["box"], atol=2e-3)


def test_boxes_in_the_patient_are_monais():
    boxes = np.array([[3.0, 4.0, 5.0, 9.0, 12.0, 11.0], [0.0, 0.0, 0.0, 20.0, 30.0, 8.0]], dtype=np.float32)
    affine = np.array([[0.7, 0, 0, -30], [0, 0.7, 0, 20], [0, 0, 1.25, -400], [0, 0, 0, 1.0]])
    item = {
        "box": torch.from_numpy(boxes),
        "label": torch.zeros(2),
        "image": MetaTensor(torch.zeros(1, 40, 40, 20), affine=torch.from_numpy(affine)),
        "image_meta_dict": {"affine": affine},
    }
    for step in (
        ClipBoxToImaged(box_keys="box", label_keys="label", box_ref_image_keys="image", remove_empty=True),
        AffineBoxToWorldCoordinated(
            box_keys="box", box_ref_image_keys="image", image_meta_key_postfix="meta_dict", affine_lps_to_ras=True
        ),
        ConvertBoxModed(box_keys="box", src_mode="xyzxyz", dst_mode="cccwhd"),
    ):
        item = step(item)
    found = regions_of(Boxes(boxes, np.array([0.9, 0.5], np.float32), np.zeros(2, np.int64)), affine, ("nodule",))
    np.testing.assert_allclose([(*one.centre_mm, *one.size_mm) for one in found], item["box"].numpy(), rtol=1e-5)
    assert [one.number for one in found] == [1, 2]


BALLS = ((14.0, 22.0, 16.0),)


def lungs(shape=(30, 48, 40), spacing=(0.8, 0.8, 1.0)):
    """Dark, but for a ball of 2 mm radius: a Volume whose voxels are not the network's, and its place (LPS, mm)."""
    z, y, x = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    array = np.full(shape, -1000, dtype=np.int16)
    origin = np.array([-40.0, 20.0, -300.0])
    for ball in BALLS:
        far = sum(((axis * step - place) ** 2 for axis, step, place in zip((x, y, z), spacing, ball, strict=True)), 0.0)
        array[far <= 2.0**2] = 100
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Volume(array, affine, "HU"), [tuple(origin + ball) for ball in BALLS]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(answering().state_dict(), path)
    return NetworkFile(path, "safetensors", definition())


def test_a_known_network_finds_the_ball(file):
    volume, places = lungs()
    engine = TorchEngine(2, "cpu")
    run = DetectorRun(planned((64, 64, 32)), lambda shape: engine.network(file, shape), ("nodule",))
    shares = []
    findings = run.run(volume, lambda _stage, share: shares.append(share))
    assert shares == sorted(shares)
    found = findings.boxed("nodule", 0.5)
    assert found
    assert all(np.linalg.norm(np.subtract(item.centre_mm, places[0])) < 8.0 for item in found)
    for place in places:
        nearest = min(found, key=lambda item: np.linalg.norm(np.subtract(item.centre_mm, place)))
        assert np.abs(np.subtract(nearest.centre_mm, place)).max() < 3.0
        np.testing.assert_allclose(nearest.size_mm, np.multiply(ANCHORS[2], PIXDIM), rtol=1e-5)


def test_a_definition_gives_the_tensors_that_checkpoints_have():
    names = set(retina_net(definition()).state_dict())
    assert {
        "feature_extractor.body.conv1.weight",
        "feature_extractor.body.layer2.3.bn3.running_var",
        "feature_extractor.fpn.inner_blocks.1.weight",
        "feature_extractor.fpn.layer_blocks.0.bias",
        "classification_head.cls_logits.bias",
        "regression_head.bbox_reg.weight",
    } <= names
    assert not any("layer3" in name for name in names)


def test_what_is_no_ct_or_shows_nothing_is_refused():
    made = planned((64, 64, 32))
    run = DetectorRun(made, lambda _shape: pytest.fail("no network is asked"), ("nodule",))
    volume, _ = lungs((16, 32, 32))
    for wrong in (dataclasses.replace(volume, unit="arbitrary"), dataclasses.replace(volume, array=volume.array * 0)):
        with pytest.raises(UnsupportedVolume):
            run.run(wrong, lambda *_: None)
    with pytest.raises(BundleRefused):
        DetectorRun(made, lambda _shape: None, ("nodule", "mass"))


@pytest.mark.parametrize("values", [0, 1, 10**6])
def test_a_network_of_other_levels_is_refused(values):
    with pytest.raises(BundleRefused):
        detected(
            noise((32, 32, 16)), planned((64, 64, 32)), lambda _: lambda _: np.zeros((1, values, 1, 1, 1), np.float32)
        )


def test_no_numbers_are_refused():
    module = Maps().eval()
    image = noise((32, 32, 16))
    image[3, 3, 3] = np.inf
    with pytest.raises(UnsupportedVolume):
        ours(module, image, planned((64, 64, 32)))


def changed(part, **values):
    made = config((64, 64, 32))
    return {**made, part: {**made[part], **values}}


def set_by(number, text):
    made = config((64, 64, 32))
    listed = list(made["detector_ops"])
    listed[number] = text
    return {**made, "detector_ops": listed}


WINDOWED = "$@detector.set_sliding_window_inferer(roi_size=[64,64,32],overlap=0.25,%s)"
REFUSED = {
    "gaussian": set_by(2, WINDOWED % "mode='gaussian'"),
    "odd window": set_by(2, "$@detector.set_sliding_window_inferer(roi_size=[60,64,32],overlap=0.25)"),
    "no sigmoid": set_by(1, "$@detector.set_box_selector_parameters(apply_sigmoid=False)"),
    "too many boxes": set_by(1, "$@detector.set_box_selector_parameters(detections_per_img=100000)"),
    "other anchors": changed("anchor_generator", base_anchor_shapes=[[6, 8, 4]]),
    "xy": changed("anchor_generator", indexing="xy"),
    "other size": changed("detector", size_divisible=[8, 8, 8]),
    "other boxes": changed("postprocessing", transforms=config()["postprocessing"]["transforms"][:2]),
}


@pytest.mark.parametrize("made", REFUSED.values(), ids=REFUSED)
def test_what_is_not_carried_out_exactly_is_refused(made):
    with pytest.raises((TransformUnsupported, BundleRefused)):
        detector_plan_of(parts_of(made))


def test_levels_halve():
    made = planned((64, 64, 32))
    assert [made.level((64, 96, 32), number) for number in range(3)] == [(16, 24, 16), (8, 12, 8), (4, 6, 4)]
    assert [made.at_once(size) for size in ((40, 40, 30), (70, 70, 33))] == [(48, 48, 32), (64, 64, 32)]
    assert len(list(itertools.product(made.shapes, range(3)))) == 9
