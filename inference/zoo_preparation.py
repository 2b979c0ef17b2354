"""The transforms of a zoo bundle's preprocessing: how the arguments of each become a step, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inference.zoo_given import Given
from inference.zoo_intensity import (
    IntensityStep,
    Multiply,
    Normalise,
    ScaleExtremes,
    ScalePercentiles,
    ScaleRange,
    Threshold,
)
from inference.zoo_spatial import CropCentre, CropForeground, Pad, Resize, Space, SpatialStep, Turn

_FLOATS = (None, "float", "float32", "float64", "double")
_LABELS = ([["L", "R"], ["P", "A"], ["I", "S"]], [("L", "R"), ("P", "A"), ("I", "S")])
_LINEAR = frozenset({"bilinear", "linear", "trilinear"})


def _type(given: Given) -> None:
    """Types and axes of tensors: here everything is float32 with one channel."""
    given.only("dtype", *_FLOATS)
    given.leave("data_type", "device", "wrap_sequence", "track_meta", "allow_missing_keys")


def _load(given: Given) -> None:
    given.only("dtype", *_FLOATS)
    given.leave(
        *("reader", "image_only", "ensure_channel_first", "meta_keys", "meta_key_postfix", "overwriting"),
        *("simple_keys", "prune_meta_pattern", "prune_meta_sep", "expanduser", "allow_missing_keys"),
        "affine_lps_to_ras",
    )


def _axes(given: Given) -> None:
    given.only("channel_dim", None, "no_channel", 0, -1)
    given.leave("strict_check", "meta_keys", "meta_key_postfix", "allow_missing_keys")


IGNORED: Mapping[str, Callable[[Given], None]] = {
    "LoadImaged": _load,
    "EnsureChannelFirstd": _axes,
    "AddChanneld": _axes,
    "AsChannelFirstd": _axes,
    "EnsureTyped": _type,
    "CastToTyped": _type,
    "ToTensord": _type,
    "ToDeviced": lambda given: given.leave("device", "non_blocking", "allow_missing_keys"),
}
"""What moves types and axes about: nothing is left of it with one channel of float32."""


def _orientation(given: Given, _image: str) -> SpatialStep:
    _eager(given)
    labels = given.take("labels", None)
    if labels is not None and [list(pair) for pair in labels] != _LABELS[0]:
        raise given.refuse("names the axes in another way")
    closest, axcodes = given.flag("as_closest_canonical", False), given.take("axcodes", None)
    axcodes = "RAS" if closest else "".join(axcodes) if isinstance(axcodes, list | tuple) else axcodes
    if not isinstance(axcodes, str) or sorted(axcodes.translate(_SAME)) != ["A", "R", "S"]:
        raise given.refuse("has axcodes that name no three axes")
    return Turn(axcodes)


_SAME = str.maketrans({"L": "R", "P": "A", "I": "S"})


def _spacing(given: Given, _image: str) -> SpatialStep:
    _eager(given)
    nearest = _mode(given, "bilinear")
    given.only("padding_mode", "border")
    for name in ("diagonal", "scale_extent", "recompute_affine"):
        given.only(name, False)
    given.only("dtype", *_FLOATS)
    given.leave("align_corners", "ensure_same_shape", "meta_keys", "meta_key_postfix", "image_only")
    return Space(given.own3("pixdim"), nearest, given.own3("min_pixdim", None), given.own3("max_pixdim", None))


def _resize(given: Given, _image: str) -> SpatialStep:
    _eager(given)
    nearest = _mode(given, "area")
    given.only("size_mode", "all")
    given.only("anti_aliasing", False)
    given.only("dtype", *_FLOATS)
    given.leave("anti_aliasing_sigma")
    align = given.one("align_corners", None)
    if align not in (None, False, True):
        raise given.refuse("has align_corners that is neither true nor false")
    return Resize(given.whole3("spatial_size"), nearest, bool(align) and not nearest)


def _mode(given: Given, default: str) -> bool:
    """Whether the nearest voxel is wanted instead of interpolation."""
    mode = given.one("mode", default)
    word = str(mode).lower()
    if word not in _LINEAR | {"nearest"}:
        raise given.refuse("samples in a way that is not carried out here")
    return word == "nearest"


def _eager(given: Given) -> None:
    given.only("lazy", False, None)


def _crop_foreground(given: Given, image: str) -> SpatialStep:
    _eager(given)
    if given.take("source_key", image) != image:
        raise given.refuse("looks for the foreground of another image")
    for name in ("select_fn", "channel_indices"):
        given.only(name, None, *((0, [0]) if name == "channel_indices" else ()))
    given.only("mode", "constant")
    given.only("value", 0, 0.0)
    given.leave("start_coord_key", "end_coord_key")
    margin = given.whole3("margin", 0)
    if min(margin) < 0:
        raise given.refuse("has a margin below zero")
    return CropForeground(margin, given.flag("allow_smaller", False), given.whole3("k_divisible", 1))


def _crop_centre(given: Given, _image: str) -> SpatialStep:
    _eager(given)
    return CropCentre(given.whole3("roi_size"))


def _pad_to(given: Given, _image: str) -> SpatialStep:
    end, value = _padding(given)
    return Pad(size=given.whole3("spatial_size"), end=end, value=value)


def _pad_divisible(given: Given, _image: str) -> SpatialStep:
    end, value = _padding(given)
    return Pad(divisible=given.whole3("k"), end=end, value=value)


def _pad_border(given: Given, _image: str) -> SpatialStep:
    end, value = _padding(given)
    border = given.whole3("spatial_border")
    return Pad(border=(max(border[0], 0), max(border[1], 0), max(border[2], 0)), end=end, value=value)


def _padding(given: Given) -> tuple[bool, float | None]:
    """Whether all padding goes behind, and its value: None repeats the outermost voxels."""
    _eager(given)
    method, mode = given.word("method", "symmetric"), given.word("mode", "constant")
    if method not in ("symmetric", "end") or mode not in ("constant", "edge", "replicate"):
        raise given.refuse("pads in a way that is not carried out here")
    value = given.number("value", 0.0) + given.number("constant_values", 0.0)
    return method == "end", value if mode == "constant" else None


def _range(given: Given, _image: str) -> IntensityStep:
    given.only("dtype", *_FLOATS)
    ends = given.number_or_none("b_min"), given.number_or_none("b_max")
    return ScaleRange(given.number("a_min"), given.number("a_max"), *ends, _clip(given, ends))


def _percentiles(given: Given, _image: str) -> IntensityStep:
    given.only("dtype", *_FLOATS)
    given.leave("channel_wise")
    ends = given.number_or_none("b_min"), given.number_or_none("b_max")
    shares = given.number("lower"), given.number("upper")
    if not all(0.0 <= share <= 100.0 for share in shares):
        raise given.refuse("has percentiles beyond 0 and 100")
    relative = given.flag("relative", False)
    if relative and None in ends:
        raise given.refuse("is relative to a range that it lacks")
    return ScalePercentiles(*shares, *ends, _clip(given, ends), relative)


def _clip(given: Given, ends: tuple[float | None, float | None]) -> bool:
    clip = given.flag("clip", False)
    if clip and ends == (None, None):
        raise given.refuse("clips to a range that it lacks")
    return clip


def _extremes(given: Given, _image: str) -> IntensityStep:
    given.only("dtype", *_FLOATS)
    given.leave("channel_wise")
    least, most = given.number_or_none("minv", 0.0), given.number_or_none("maxv", 1.0)
    factor = given.number_or_none("factor")
    if least is None and most is None:
        return Multiply(1.0 + (factor or 0.0))
    return ScaleExtremes(least, most)


def _normalise(given: Given, _image: str) -> IntensityStep:
    given.only("dtype", *_FLOATS)
    given.leave("channel_wise")
    return Normalise(given.number_or_none("subtrahend"), given.number_or_none("divisor"), given.flag("nonzero", False))


def _threshold(given: Given, _image: str) -> IntensityStep:
    return Threshold(given.number("threshold"), given.flag("above", True), given.number("cval", 0.0))


PREPARATION: Mapping[str, Callable[[Given, str], Any]] = {
    "Orientationd": _orientation,
    "Spacingd": _spacing,
    "Resized": _resize,
    "CropForegroundd": _crop_foreground,
    "CenterSpatialCropd": _crop_centre,
    "SpatialPadd": _pad_to,
    "DivisiblePadd": _pad_divisible,
    "BorderPadd": _pad_border,
    "ScaleIntensityRanged": _range,
    "ScaleIntensityRangePercentilesd": _percentiles,
    "ScaleIntensityd": _extremes,
    "NormalizeIntensityd": _normalise,
    "ThresholdIntensityd": _threshold,
}
"""What changes the image: how its arguments become a step. The second argument is the image's key."""
