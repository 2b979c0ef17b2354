"""What a plan understands, and that it refuses by name what it does not."""

import json
import math
from pathlib import Path

import pytest

from inference.errors import BundleRefused, TransformUnsupported
from inference.labels import Decision
from inference.windows import Windows
from inference.zoo_answers import answer_of
from inference.zoo_components import FillHoles, KeepLargest, RemoveSmall
from inference.zoo_given import Given
from inference.zoo_intensity import Normalise, ScaleExtremes, ScaleRange
from inference.zoo_plan import plan_of
from inference.zoo_preparation import IGNORED, PREPARATION
from inference.zoo_spatial import CropForeground, Pad, Space, Turn
from models.resolve import resolved
from models.targets import TRANSFORMS
from tests.common.zoo import zoo_bundle

SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]}
LOAD = {"_target_": "LoadImaged", "keys": ["image"], "image_only": True, "ensure_channel_first": True}


def given(target, **arguments):
    return {"_target_": target, "keys": "image", **arguments}


def back(before, **arguments):
    return {
        "_target_": "Invertd",
        "keys": "pred",
        "orig_keys": "image",
        "transform": {"_target_": "Compose", "transforms": before},
        **arguments,
    }


def parts(before=(), after=None, inferer=None):
    before = [LOAD, *before]
    after = [SOFTMAX, back(before, nearest_interp=False), ARGMAX] if after is None else after
    after = [back(before, nearest_interp=False) if step == "back" else step for step in after]
    return {
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "inferer": inferer or WINDOWS,
        "postprocessing": {"_target_": "Compose", "transforms": after},
    }


def component(target, **arguments):
    return {"_target_": target, "keys": "pred", **arguments}


def test_the_zoos_own_form_is_understood(tmp_path):
    folder = zoo_bundle(tmp_path, weights="")
    plan = plan_of(resolved(json.loads((folder / "configs/inference.json").read_text())))
    assert plan.preparation == (Turn("RAS"), Space((1.5, 1.5, 2.0)), ScaleRange(-57.0, 164.0, 0.0, 1.0, clip=True))
    assert plan.windows == Windows((96, 96, 96), (0.5, 0.5, 0.5), sigma_scale=(0.125, 0.125, 0.125))
    assert (plan.decision.kind, plan.decision.activation) == ("argmax", "softmax")
    assert (plan.answer.interpolate, plan.answer.inverted, plan.answer.on_grid, plan.answer.on_source) == (
        True,
        True,
        (),
        (),
    )


def test_the_other_order_decides_on_the_grid():
    keep = component("KeepLargestConnectedComponentd", applied_labels=[1, 2])
    fill = component("FillHolesd", applied_labels=1, connectivity=1)
    plan = plan_of(parts(after=[ARGMAX, keep, "back", fill, {"_target_": "SaveImaged", "anything": 1}]))
    assert not plan.answer.interpolate
    assert plan.answer.on_grid == (KeepLargest((1, 2), independent=True, reach=3),)
    assert plan.answer.on_source == (FillHoles((1,), 1),)
    small = component("RemoveSmallObjectsd", min_size=20, by_measure=True, independent_channels=False)
    plan = plan_of(parts(after=[{**ARGMAX, "to_onehot": 3}, "back", component("KeepLargestConnectedComponentd")]))
    assert plan.answer.on_source == (KeepLargest(None, independent=True, reach=3),)
    plan = plan_of(parts(after=[ARGMAX, small, "back"]))
    assert plan.answer.on_grid == (RemoveSmall(20.0, 1, measured=True, union=True),)


@pytest.mark.parametrize(
    ("pixdim", "expected"),
    [
        (1.5, (1.5, 1.5, 1.5)),
        ([1.5], (1.5, 1.5, 1.5)),
        ([1.5, -1], (1.5, -1.0, -1.0)),
        ([1.5, None, 0], (1.5, "own", 0.0)),
    ],
)
def test_spacing_may_leave_axes_alone(pixdim, expected):
    (step,) = plan_of(parts([given("Spacingd", pixdim=pixdim, mode=["bilinear"])])).preparation
    assert repr(step.pixdim) == repr(tuple(math.nan if item == "own" else item for item in expected))


def test_what_moves_types_about_is_left_out():
    steps = [
        given("EnsureChannelFirstd", channel_dim="no_channel"),
        given("EnsureTyped", device="cpu", data_type="tensor", track_meta=True),
        given("CastToTyped", dtype="float32"),
        given("ToTensord"),
        {"_target_": "Compose", "transforms": [given("NormalizeIntensityd", nonzero=True, channel_wise=True)]},
        given("ScaleIntensityd", minv=-1, maxv=1),
        given("CropForegroundd", source_key="image", margin=3),
        given("SpatialPadd", spatial_size=[8, -1, 8], mode="edge", method="end"),
    ]
    assert plan_of(parts(steps)).preparation == (
        Normalise(None, None, nonzero=True),
        ScaleExtremes(-1.0, 1.0),
        CropForeground((3, 3, 3), inside=False, divisible=(1, 1, 1)),
        Pad(size=(8, -1, 8), end=True, value=None),
    )


REFUSED = {
    "Lambdad": parts([given("Lambdad", func="x")]),
    "RandFlipd": parts([given("RandFlipd")]),
    "several images": parts([{"_target_": "EnsureTyped", "keys": ["image", "label"]}]),
    "two keys": parts([{"_target_": "EnsureTyped", "keys": "label"}]),
    "no transform": parts(["EnsureTyped"]),
    "cast to int": parts([given("CastToTyped", dtype="int16")]),
    "load as int": parts([{**LOAD, "dtype": "int32"}]),
    "spacing without pixdim": parts([given("Spacingd")]),
    "spacing of text": parts([given("Spacingd", pixdim="1.5")]),
    "spacing of two": parts([given("Spacingd", pixdim=[])]),
    "spacing cubic": parts([given("Spacingd", pixdim=1.0, mode=3)]),
    "spacing zeros": parts([given("Spacingd", pixdim=1.0, padding_mode="zeros")]),
    "spacing diagonal": parts([given("Spacingd", pixdim=1.0, diagonal=True)]),
    "spacing surprise": parts([given("Spacingd", pixdim=1.0, surprise=True)]),
    "spacing lazy": parts([given("Spacingd", pixdim=1.0, lazy=True)]),
    "spacing twice": parts([given("Spacingd", pixdim=1.0), given("Resized", spatial_size=9, mode="bilinear")]),
    "axes unnamed": parts([given("Orientationd", axcodes="RAX")]),
    "axes twice": parts([given("Orientationd", axcodes="RLS")]),
    "axes otherwise": parts([given("Orientationd", axcodes="RAS", labels=[["R", "L"], ["P", "A"], ["I", "S"]])]),
    "resize by area": parts([given("Resized", spatial_size=[9, 9, 9])]),
    "resize smoothed": parts([given("Resized", spatial_size=9, mode="bilinear", anti_aliasing=True)]),
    "resize longest": parts([given("Resized", spatial_size=9, mode="bilinear", size_mode="longest")]),
    "foreground of another": parts([given("CropForegroundd", source_key="label")]),
    "foreground by a function": parts([given("CropForegroundd", source_key="image", select_fn="x")]),
    "foreground margin": parts([given("CropForegroundd", source_key="image", margin=-1)]),
    "pad reflected": parts([given("SpatialPadd", spatial_size=8, mode="reflect")]),
    "clip to nothing": parts([given("ScaleIntensityRanged", a_min=0, a_max=1, clip=True)]),
    "percentile beyond": parts([given("ScaleIntensityRangePercentilesd", lower=-1, upper=99, b_min=0, b_max=1)]),
    "true is no number": parts([given("ScaleIntensityRanged", a_min=True, a_max=1, b_min=0, b_max=1)]),
    "inferer": parts(inferer={"_target_": "SaliencyInferer", "roi_size": [8, 8]}),
    "slices of three sides": parts(inferer={"_target_": "SliceInferer", "roi_size": [8, 8, 8]}),
    "slices of any size": parts(inferer={"_target_": "SliceInferer", "roi_size": [8, -1]}),
    "slices of a fourth axis": parts(inferer={"_target_": "SliceInferer", "roi_size": [8, 8], "spatial_dim": 3}),
    "inferer mode": parts(inferer={**WINDOWS, "mode": "median"}),
    "inferer 2-D": parts(inferer={**WINDOWS, "roi_size": [8, 8]}),
    "inferer surprise": parts(inferer={**WINDOWS, "surprise": 1}),
    "no decision": parts(after=[SOFTMAX, "back"]),
    "decided twice": parts(after=[ARGMAX, "back", {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}]),
    "rounded": parts(after=[{**ARGMAX, "rounding": "torchrounding"}]),
    "both": parts(after=[{**ARGMAX, "threshold": 0.5}]),
    "tanh": parts(after=[{"_target_": "Activationsd", "keys": "pred", "other": "tanh"}, ARGMAX]),
    "activated twice": parts(after=[SOFTMAX, SOFTMAX, ARGMAX]),
    "softmax across": parts(after=[{**SOFTMAX, "dim": 1}, ARGMAX]),
    "another key": parts(after=[SOFTMAX, {**ARGMAX, "keys": "label"}]),
    "Lambdad after": parts(after=[ARGMAX, component("Lambdad", func="x")]),
    "inverts twice": parts(after=[SOFTMAX, "back", "back", ARGMAX]),
    "inverts something else": parts(after=[back([], nearest_interp=False), ARGMAX]),
    "inverts another image": parts(after=[back([LOAD], orig_keys="label"), ARGMAX]),
    "components of values": parts(after=[component("KeepLargestConnectedComponentd"), ARGMAX]),
    "components of one-hot": parts(after=[{**ARGMAX, "to_onehot": 3}, component("FillHolesd")]),
    "connectivity": parts(after=[ARGMAX, component("FillHolesd", connectivity=4)]),
    "crop without inverse": parts([given("CenterSpatialCropd", roi_size=9)], after=[SOFTMAX, ARGMAX]),
    "threshold across a crop": parts(
        [given("Spacingd", pixdim=1.0), given("CropForegroundd", source_key="image")],
        after=[{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, "back", {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("asked", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_carried_out_is_refused(asked):
    with pytest.raises(TransformUnsupported) as refused:
        plan_of(asked)
    assert len(refused.value.detail) > 15


def test_windows_out_of_range_are_refused():
    with pytest.raises(BundleRefused):
        plan_of(parts(inferer={**WINDOWS, "overlap": 1.0}))


def test_the_refusal_names_the_transform_and_its_option():
    with pytest.raises(TransformUnsupported) as refused:
        plan_of(REFUSED["spacing surprise"])
    assert "Spacingd has a surprise" in str(refused.value)


def test_every_transform_that_may_be_named_is_understood():
    """What `models.targets` lets through is carried out, or left out on purpose."""
    after = {
        "Activationsd",
        "AsDiscreted",
        "Invertd",
        "KeepLargestConnectedComponentd",
        "FillHolesd",
        "RemoveSmallObjectsd",
    }
    assert {*TRANSFORMS} <= {*PREPARATION, *IGNORED, *after, "Compose", "SaveImaged"}


def test_the_record_of_the_decision_names_them_all():
    text = (Path(__file__).resolve().parents[3] / "docs/adr/0075-zoo-plan.md").read_text()
    assert [name for name in (*PREPARATION, *IGNORED) if name not in text] == []


def test_a_threshold_after_a_late_sigmoid_moves_to_where_the_sigmoid_reaches_it():
    chain = [
        Given.of(component("Activationsd", sigmoid=True), "p"),
        Given.of(component("AsDiscreted", threshold=0.7), "p"),
    ]
    assert answer_of(list(chain), "image", {}).decision == Decision("threshold", "sigmoid", 0.7)
    chain = [
        Given.of(component("Invertd", orig_keys="image", transform={}, nearest_interp=False), "p"),
        Given.of(component("Activationsd", sigmoid=True), "p"),
        Given.of(component("AsDiscreted", threshold=0.7), "p"),
    ]
    late = answer_of(chain, "image", {}).decision
    assert (late.activation, late.threshold) == (None, pytest.approx(math.log(0.7 / 0.3)))


def test_an_argument_given_for_each_key_is_one():
    item = Given("X", {"mode": ["nearest"], "flags": [True, True]})
    assert item.word("mode", "bilinear") == "nearest"
    with pytest.raises(TransformUnsupported):
        item.flag("flags", False)
