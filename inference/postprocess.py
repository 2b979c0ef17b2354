"""Transforms that turn a network's answer into Findings, and refuse those that nobody should believe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from inference.components import fill_voids, keep_largest
from inference.errors import AnatomyAbsent, ImplausibleFindings
from inference.findings import Mask, Measurement, Score, bounding_box
from inference.geometry import Box, Canonical, grid_indices, nearest_indices, sample
from inference.steps import Item, Keyed, Keys


class CertaintyScored(Keyed):
    """How certain the network is: of the voxels it marks at all, the share that it marks clearly.

    A network on an image of the kind it learnt is unsure only along the surface of what it marks.

    Parameters
    ----------
    keys
        Of the network's answer: axes (batch, channel, x, y, z), probabilities.
    into
        Key of the score.
    channel
        Which one marks the anatomy.
    lower, threshold, upper
        A voxel between `lower` and `upper` is unclear.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, into: str, channel: int, lower: float, threshold: float, upper: float) -> None:
        super().__init__(keys)
        self.into, self.channel = into, channel
        self.lower, self.threshold, self.upper = lower, threshold, upper

    def __call__(self, data: Item) -> Item:
        marked = data[self.key][0, self.channel]
        clear = sum(int(np.count_nonzero(plane > self.upper)) for plane in marked)
        possible = sum(int(np.count_nonzero(plane > self.lower)) for plane in marked)
        certainty = clear / possible if possible else 0.0
        return {**data, "scores": (*data.get("scores", ()), Score(self.into, certainty))}


class ThresholdChanneld(Keyed):
    """One channel of the network's answer as booleans, axes (x, y, z)."""

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, channel: int, threshold: float) -> None:
        super().__init__(keys)
        self.channel, self.threshold = channel, threshold

    def __call__(self, data: Item) -> Item:
        return {**data, **{key: data[key][0, self.channel] > self.threshold for key in self.keys}}


class _Within(Keyed):
    """What works on the part of a mask that lies in a box.

    Parameters
    ----------
    keys
        Of the mask.
    image
        Key of the `Canonical`.
    within
        Key of the `Box`.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, image: str, within: str) -> None:
        super().__init__(keys)
        self.image, self.within = image, within

    def part(self, data: Item, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """A view of the mask in the box, along its stored axes."""
        image: Canonical = data[self.image]
        box: Box = data[self.within]
        seen = image.axes.view(mask)[box.slices]
        return image.axes.stored(seen)


class RestoreGridd(_Within):
    """Bring a mask on a grid over a box back to the source's voxels and stored axes, by the nearest grid point."""

    def __call__(self, data: Item) -> Item:
        image: Canonical = data[self.image]
        box: Box = data[self.within]
        restored = {}
        for key in self.keys:
            grid = data[key]
            full = np.zeros(image.volume.array.shape, dtype=np.bool_)
            x, y, z = (nearest_indices(size, wanted) for size, wanted in zip(grid.shape, box.shape, strict=True))
            sample(grid, (x, y, z), image.axes.view(full)[box.slices])
            restored[key] = full
        return {**data, **restored}


class KeepLargestd(_Within):
    """Keep only the largest component (26 neighbours). Raises `AnatomyAbsent` when nothing is marked."""

    def __call__(self, data: Item) -> Item:
        for key in self.keys:
            if keep_largest(self.part(data, data[key])) == 0:
                raise AnatomyAbsent("the network marks nothing")
        return data


class FillVoidsd(_Within):
    """Fill what the mask encloses: background without a way over faces to the surface of the box."""

    def __call__(self, data: Item) -> Item:
        for key in self.keys:
            fill_voids(self.part(data, data[key]))
        return data


class MeasureVolumed(Keyed):
    """The volume of a mask, in millilitres: the number of its voxels times what one holds.

    Parameters
    ----------
    keys
        Of the mask, along stored axes.
    image
        Key of the `Canonical`.
    mask, measurement
        Keys of the mask and the measurement in the Findings.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, image: str, mask: str, measurement: str) -> None:
        super().__init__(keys)
        self.image, self.mask, self.measurement = image, mask, measurement

    def __call__(self, data: Item) -> Item:
        array = data[self.key]
        image: Canonical = data[self.image]
        volume_ml = int(np.count_nonzero(array)) * image.volume.voxel_ml
        return {
            **data,
            "masks": (*data.get("masks", ()), Mask(self.mask, array)),
            "measurements": (
                *data.get("measurements", ()),
                Measurement(self.measurement, volume_ml, "mL", self.mask),
            ),
        }


class RequireShaped(Keyed):
    """Checks by name, of a mask's shape and of what a kind of image adds; the first that fails is told, never a value.

    Parameters
    ----------
    keys
        Of the mask, along stored axes.
    image
        Key of the `Canonical`.
    measurement
        Key of the volume among the measurements.
    volume_ml, extent_mm
        (least, most) volume; and extent of the mask's box along every axis.
    border_cm2_max
        Largest area of the mask on one side of the image: more means that the anatomy was cut off.
    certainty_min
        Least of the score `certainty`.

    Raises
    ------
    ImplausibleFindings
        Naming the first check that fails.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(
        self,
        keys: Keys,
        image: str,
        measurement: str,
        volume_ml: Sequence[float],
        extent_mm: Sequence[float],
        border_cm2_max: float,
        certainty_min: float,
    ) -> None:
        super().__init__(keys)
        self.image, self.measurement = image, measurement
        self.volume_ml, self.extent_mm = tuple(volume_ml), tuple(extent_mm)
        self.border_cm2_max, self.certainty_min = border_cm2_max, certainty_min

    def __call__(self, data: Item) -> Item:
        for name, holds in (self._shape(data) | self.further(data)).items():
            if not holds:
                raise ImplausibleFindings(f"the check of {name} fails", check=name)
        return data

    def further(self, data: Item) -> dict[str, bool]:
        """Checks of one kind of image."""
        raise NotImplementedError

    def _shape(self, data: Item) -> dict[str, bool]:
        image: Canonical = data[self.image]
        mask: npt.NDArray[np.bool_] = data[self.key]
        volume_ml = next(item.value for item in data["measurements"] if item.key == self.measurement)
        certainty = next(item.value for item in data["scores"] if item.key == "certainty")
        return {
            "volume": self.volume_ml[0] <= volume_ml <= self.volume_ml[1],
            "extent": all(self.extent_mm[0] <= size <= self.extent_mm[1] for size in extent_mm(mask, image)),
            "border": max(border_cm2(mask, image)) <= self.border_cm2_max,
            "certainty": certainty >= self.certainty_min,
        }


class RequirePlausibled(RequireShaped):
    """Refuse rather than be confidently wrong.

    Parameters
    ----------
    keys
        Of the mask, along stored axes.
    image, overview
        Keys of the `Canonical`, and of the standardised overview of all of it.
    measurement
        Key of the volume among the measurements.
    volume_ml, extent_mm
        (least, most) volume; and extent of the mask's box along every axis.
    border_cm2_max
        Largest area of the mask on one side of the image: more means that the anatomy was cut off.
    certainty_min
        Least of the score `certainty`.
    brightness_min
        By how many standard deviations of the overview the mask must be brighter than the rest.
    texture_min
        Least spread of intensities inside the mask, in standard deviations of the overview: what is filled evenly is
        a phantom, or no T1-weighted image.

    Raises
    ------
    ImplausibleFindings
        Naming the first check that fails; never the values, which are clinical.
    """

    def __init__(
        self,
        keys: Keys,
        image: str,
        overview: str,
        measurement: str,
        volume_ml: Sequence[float],
        extent_mm: Sequence[float],
        border_cm2_max: float,
        certainty_min: float,
        brightness_min: float,
        texture_min: float,
    ) -> None:
        super().__init__(keys, image, measurement, volume_ml, extent_mm, border_cm2_max, certainty_min)
        self.overview, self.brightness_min, self.texture_min = overview, brightness_min, texture_min

    def further(self, data: Item) -> dict[str, bool]:
        """Brightness and texture."""
        bright, texture = contrast(data[self.key], data[self.image], data[self.overview])
        return {"brightness": bright >= self.brightness_min, "texture": texture >= self.texture_min}


def extent_mm(mask: npt.NDArray[np.bool_], image: Canonical) -> tuple[float, float, float]:
    """Extent of a mask's bounding box along the stored (x, y, z)."""
    box = bounding_box(mask)
    x, y, z = (step * (high - low) for step, (low, high) in zip(image.volume.spacing_mm, box[::-1], strict=True))
    return (x, y, z)


def border_cm2(mask: npt.NDArray[np.bool_], image: Canonical) -> list[float]:
    """Area of a mask on each of the six sides of the image."""
    x, y, z = image.volume.spacing_mm
    areas = (x * y, x * z, y * z)
    return [
        int(np.count_nonzero(np.take(mask, end, axis=axis))) * areas[axis] / 100.0
        for axis in range(3)
        for end in (0, -1)
    ]


def contrast(mask: npt.NDArray[np.bool_], image: Canonical, overview: npt.NDArray[np.float32]) -> tuple[float, float]:
    """How much brighter a mask is than the rest, and the spread inside it; both in standard deviations of the overview.

    Parameters
    ----------
    mask
        Along stored axes.
    image
        What it is a mask of.
    overview
        Intensities of all of the image on an even grid, axes (x, y, z).
    """
    x, y, z = overview.shape
    marked = np.empty(overview.shape, dtype=np.bool_)
    sample(image.axes.view(mask), grid_indices(Box.whole(image.array.shape), (x, y, z)), marked)
    inside = overview[marked]
    if not 0 < inside.size < overview.size:
        return 0.0, 0.0
    within = float(inside.sum(dtype=np.float64))
    rest = (float(overview.sum(dtype=np.float64)) - within) / (overview.size - inside.size)
    whole = float(overview.std())
    return (within / inside.size - rest) / whole, float(inside.std()) / whole
