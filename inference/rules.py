"""Transforms that need no network: lungs and tissues of a CT image by their Hounsfield units.

They see a Volume as a stack of axial planes (`inference.body.Stack`) and leave masks along the Volume's stored axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from inference.body import Stack, body_of
from inference.errors import AnatomyTruncated, ImplausibleFindings
from inference.findings import Mask, Measurement, bounding_box
from inference.lungs import lungs_of
from inference.steps import Item, Keyed, Keys
from inference.volume import Volume

HOUNSFIELD = "[hnsf'U]"
PERCENT = "%"

_SIDES = ("left_lung", "right_lung")


class StackPlanesd(Keyed):
    """See a `Volume` as a stack of axial planes: it becomes a `Stack`, a view."""

    stage: ClassVar[str] = "preparing"

    def __call__(self, data: Item) -> Item:
        return {**data, **{key: Stack.of(data[key]) for key in self.keys}}


class SegmentLungsd(Keyed):
    """Both lungs of a chest CT; see `inference.lungs`.

    Parameters
    ----------
    keys
        Of a `Stack`.
    border_cm2_max
        Largest area of lung on the first or last plane: more means that the lungs were cut off.

    Raises
    ------
    AnatomyAbsent, LungAbsent, ImplausibleFindings
        As `inference.lungs.lungs_of`.
    AnatomyTruncated
        If the first or last plane holds more lung than that.
    """

    stage: ClassVar[str] = "segmenting"

    def __init__(self, keys: Keys, border_cm2_max: float) -> None:
        super().__init__(keys)
        self.border_cm2_max = border_cm2_max

    def __call__(self, data: Item) -> Item:
        stack: Stack = data[self.key]
        lungs = lungs_of(stack)
        _, y_mm, x_mm = stack.spacing_mm
        for end in (0, -1):
            cut = np.count_nonzero(lungs.left[end]) + np.count_nonzero(lungs.right[end])
            if cut * y_mm * x_mm / 100.0 > self.border_cm2_max:
                raise AnatomyTruncated("a lung reaches the first or the last plane", border_cm2_max=self.border_cm2_max)
        masks = (Mask("left_lung", stack.stored(lungs.left)), Mask("right_lung", stack.stored(lungs.right)))
        return {**data, "masks": masks}


class MeasureDensityd(Keyed):
    """Volume and density of masks: millilitres, mean HU, share below a density, and a percentile.

    The percentile is the least HU that the given share of the voxels does not exceed: one of the voxels' own values.

    Parameters
    ----------
    keys
        Of a `Stack`.
    groups
        For each name of measurements, the masks that are taken together.
    below_hu
        `..._laa950` is the share of voxels below it, in per cent.
    percentile
        `..._pd15` is that percentile of HU.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, groups: Mapping[str, Sequence[str]], below_hu: float, percentile: float) -> None:
        super().__init__(keys)
        self.groups = {name: tuple(masks) for name, masks in groups.items()}
        self.below_hu, self.percentile = below_hu, percentile

    def __call__(self, data: Item) -> Item:
        volume: Volume = data[self.key].volume
        values = {mask.key: volume.array[mask.array] for mask in data["masks"]}
        found: list[Measurement] = list(data.get("measurements", ()))
        for name, keys in self.groups.items():
            together = np.concatenate([values[key] for key in keys])
            found += self._of(name, keys[0] if len(keys) == 1 else None, together, volume.voxel_ml)
        return {**data, "measurements": tuple(found)}

    def _of(self, name: str, mask: str | None, values: npt.NDArray[Any], voxel_ml: float) -> list[Measurement]:
        share = 100.0 * int(np.count_nonzero(values < self.below_hu)) / values.size
        return [
            Measurement(f"{name}_volume", values.size * voxel_ml, "mL", mask),
            Measurement(f"{name}_mean", float(values.mean(dtype=np.float64)), HOUNSFIELD, mask),
            Measurement(f"{name}_laa950", share, PERCENT, mask),
            Measurement(f"{name}_pd15", percentile_of(values, self.percentile), HOUNSFIELD, mask),
        ]


def percentile_of(values: npt.NDArray[Any], percent: float) -> float:
    """The least value that at least `percent` of the values do not exceed."""
    position = max(0, int(np.ceil(values.size * percent / 100.0 - 1e-9)) - 1)
    return float(np.partition(values, position)[position])


class RequireLungsd(Keyed):
    """Refuse lungs that no chest has.

    Parameters
    ----------
    keys
        Of a `Stack`.
    volume_ml
        (least, most) of both together.
    share_min
        Least share of the smaller one: a lung that was not found whole, or was taken out.
    mean_hu
        (least, most) mean of both together.
    extent_mm
        (least, most) of each along the patient's axes: side to side, back to front, feet to head.

    Raises
    ------
    ImplausibleFindings
        Naming the first check that fails; never the values, which are clinical.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(
        self,
        keys: Keys,
        volume_ml: Sequence[float],
        share_min: float,
        mean_hu: Sequence[float],
        extent_mm: Sequence[Sequence[float]],
    ) -> None:
        super().__init__(keys)
        self.volume_ml, self.share_min, self.mean_hu = tuple(volume_ml), share_min, tuple(mean_hu)
        self.extent_mm = tuple((low, high) for low, high in extent_mm)

    def __call__(self, data: Item) -> Item:
        stack: Stack = data[self.key]
        values = {item.key: item.value for item in data["measurements"]}
        sides = sorted(values[f"{key}_volume"] for key in _SIDES)
        sizes = [_extent_mm(mask.array, stack) for mask in data["masks"]]
        checks = (
            ("volume", self.volume_ml[0] <= values["lungs_volume"] <= self.volume_ml[1]),
            ("sides", sides[0] >= self.share_min * values["lungs_volume"]),
            ("density", self.mean_hu[0] <= values["lungs_mean"] <= self.mean_hu[1]),
            ("extent", all(_within(size, self.extent_mm) for size in sizes)),
        )
        _require(checks)
        return data


class SegmentTissuesd(Keyed):
    """Tissues of the body by ranges of Hounsfield units, both ends within; fractions of a unit are rounded.

    Parameters
    ----------
    keys
        Of a `Stack`.
    threshold_hu
        What is less dense is air.
    neck_mm
        See `inference.body.body_of`.
    ranges
        For each mask's key, (lowest, highest) HU. They must not overlap.
    """

    stage: ClassVar[str] = "segmenting"

    def __init__(self, keys: Keys, threshold_hu: float, neck_mm: float, ranges: Mapping[str, Sequence[float]]) -> None:
        super().__init__(keys)
        self.threshold_hu, self.neck_mm = threshold_hu, neck_mm
        self.ranges = {key: (low, high) for key, (low, high) in ranges.items()}
        ends = sorted(self.ranges.values())
        if not all(one[1] < other[0] for one, other in itertools.pairwise(ends)):
            raise ValueError("ranges of tissues overlap")

    def __call__(self, data: Item) -> Item:
        stack: Stack = data[self.key]
        body = stack.stored(body_of(stack, self.threshold_hu, self.neck_mm))
        array = stack.volume.array
        if array.dtype.kind == "f":
            array = np.rint(array)
        masks = []
        for key, (low, high) in self.ranges.items():
            tissue = array >= low
            tissue &= array <= high
            tissue &= body
            masks.append(Mask(key, tissue))
        return {**data, "body": body, "masks": tuple(masks)}


class MeasureTissuesd(Keyed):
    """Volume of each mask in millilitres, and mean HU of those that are named.

    Parameters
    ----------
    keys
        Of a `Stack`.
    means
        Masks whose mean is taken.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, means: Sequence[str]) -> None:
        super().__init__(keys)
        self.means = tuple(means)

    def __call__(self, data: Item) -> Item:
        volume: Volume = data[self.key].volume
        found: list[Measurement] = []
        for mask in data["masks"]:
            count = int(np.count_nonzero(mask.array))
            found.append(Measurement(f"{mask.key}_volume", count * volume.voxel_ml, "mL", mask.key))
            if mask.key in self.means and count:
                mean = float(volume.array[mask.array].mean(dtype=np.float64))
                found.append(Measurement(f"{mask.key}_mean", mean, HOUNSFIELD, mask.key))
        return {**data, "measurements": tuple(found)}


class RequireTrunkd(Keyed):
    """Refuse what is no part of a trunk: a head, a limb, a phantom of one material, air.

    Parameters
    ----------
    keys
        Of a `Stack`.
    width_mm, depth_mm
        (least, most) of the body's median plane, side to side and back to front.
    shares
        For each mask, (least, most) share of what is dense in the body.

    Raises
    ------
    ImplausibleFindings
        Naming the first check that fails; never the values, which are clinical.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(
        self,
        keys: Keys,
        width_mm: Sequence[float],
        depth_mm: Sequence[float],
        shares: Mapping[str, Sequence[float]],
    ) -> None:
        super().__init__(keys)
        self.width_mm, self.depth_mm = tuple(width_mm), tuple(depth_mm)
        self.shares = {key: (low, high) for key, (low, high) in shares.items()}

    def __call__(self, data: Item) -> Item:
        stack: Stack = data[self.key]
        width, depth = _plane_mm(data["body"], stack)
        counts = {mask.key: int(np.count_nonzero(mask.array)) for mask in data["masks"]}
        whole = sum(counts.values())
        checks = [
            ("width", self.width_mm[0] <= width <= self.width_mm[1]),
            ("depth", self.depth_mm[0] <= depth <= self.depth_mm[1]),
        ]
        for key, (low, high) in self.shares.items():
            checks.append((key, whole > 0 and low <= counts[key] / whole <= high))
        _require(checks)
        return data


def _require(checks: Sequence[tuple[str, bool]]) -> None:
    for name, holds in checks:
        if not holds:
            raise ImplausibleFindings(f"the check of {name} fails", check=name)


def _within(sizes: Sequence[float], limits: Sequence[tuple[float, float]]) -> bool:
    return all(low <= size <= high for size, (low, high) in zip(sizes, limits, strict=True))


def _extent_mm(mask: npt.NDArray[np.bool_], stack: Stack) -> tuple[float, float, float]:
    """Of a mask along stored axes: its extent side to side, back to front, feet to head."""
    box = bounding_box(mask)
    stored_mm = stack.volume.spacing_mm[::-1]
    x, y, z = ((box[axis][1] - box[axis][0]) * stored_mm[axis] for axis in stack.axes.order)
    return (x, y, z)


def _plane_mm(body: npt.NDArray[np.bool_], stack: Stack) -> tuple[float, float]:
    """Median over the axial planes of the body's extent side to side, and back to front."""
    x, y, _ = stack.axes.order
    stored_mm = stack.volume.spacing_mm[::-1]
    return _median_extent(body, x, y, stored_mm[x]), _median_extent(body, y, x, stored_mm[y])


def _median_extent(body: npt.NDArray[np.bool_], along: int, over: int, step_mm: float) -> float:
    lines = np.asarray(body.any(axis=over))
    if along > over:
        along -= 1
    lines = np.moveaxis(lines, along, -1)
    first = np.argmax(lines, axis=-1)
    last = lines.shape[-1] - np.argmax(lines[..., ::-1], axis=-1)
    extent = (last - first)[lines.any(axis=-1)]
    return float(np.median(extent)) * step_mm if extent.size else 0.0
