"""Transforms that turn a Volume into what a network takes, at the cost of the voxels it takes.

An item is a dictionary, as MONAI's dictionary transforms have it; neither MONAI nor PyTorch is needed. `image` starts as a
`Volume`; every array made from it is float32 along canonical axes (x, y, z), without batch or channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from inference.components import keep_largest
from inference.errors import AnatomyAbsent, UnsupportedVolume
from inference.geometry import Box, Canonical, grid_indices, sample
from inference.steps import Inferer, Item, Keyed, Keys
from inference.volume import Volume

Float = npt.NDArray[np.float32]
Network = Callable[[Float], Float]


class CheckVolumed(Keyed):
    """Refuse a Volume that the bundle does not accept.

    Parameters
    ----------
    keys
        Of a `Volume`.
    unit
        That it must have.
    spacing_mm_max, extent_mm_min, extent_mm_max
        Along every axis.
    voxels_max
        In all.

    Raises
    ------
    UnsupportedVolume
        Naming the first limit that is broken.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(
        self,
        keys: Keys,
        unit: str,
        spacing_mm_max: float,
        extent_mm_min: float,
        extent_mm_max: float,
        voxels_max: int,
    ) -> None:
        super().__init__(keys)
        self.unit, self.spacing_mm_max, self.voxels_max = unit, spacing_mm_max, voxels_max
        self.extent_mm_min, self.extent_mm_max = extent_mm_min, extent_mm_max

    def __call__(self, data: Item) -> Item:
        for key in self.keys:
            volume: Volume = data[key]
            extent = [step * size for step, size in zip(volume.spacing_mm, volume.array.shape[::-1], strict=True)]
            if volume.unit != self.unit:
                raise UnsupportedVolume("the image's unit is not the one that this bundle takes")
            if max(volume.spacing_mm) > self.spacing_mm_max:
                raise UnsupportedVolume("the voxels are too large", spacing_mm_max=self.spacing_mm_max)
            if min(extent) < self.extent_mm_min or max(extent) > self.extent_mm_max:
                raise UnsupportedVolume("the image covers too little or too much", extent_mm_min=self.extent_mm_min)
            if volume.array.size > self.voxels_max:
                raise UnsupportedVolume("the image has too many voxels", voxels_max=self.voxels_max)
        return data


class Canonicald(Keyed):
    """See a `Volume` along canonical axes: it becomes a `Canonical`, a view."""

    stage: ClassVar[str] = "preparing"

    def __call__(self, data: Item) -> Item:
        return {**data, **{key: Canonical.of(data[key]) for key in self.keys}}


class SampleGridd(Keyed):
    """Nearest voxels on an even grid over the image, or over a box of it. Nothing else of the image is read.

    Parameters
    ----------
    keys
        Of a `Canonical`.
    into
        Key of the float32 array that is made.
    spatial_size
        Of the grid, along (x, y, z).
    within
        Key of a `Box`; the whole image when absent.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, into: str, spatial_size: Sequence[int], within: str | None = None) -> None:
        super().__init__(keys)
        x, y, z = spatial_size
        self.into, self.within, self.spatial_size = into, within, (x, y, z)

    def __call__(self, data: Item) -> Item:
        image: Canonical = data[self.key]
        box = Box.whole(image.array.shape) if self.within is None else data[self.within]
        grid = np.empty(self.spatial_size, dtype=np.float32)
        sample(image.array, grid_indices(box, self.spatial_size), grid)
        if image.array.dtype == np.float32:
            np.nan_to_num(grid, copy=False, posinf=0.0, neginf=0.0)
        return {**data, self.into: grid}


class PercentileWindowd(Keyed):
    """The two intensities between which an image is looked at.

    Parameters
    ----------
    keys
        Of a sampled array.
    into
        Key of the pair (low, high).
    lower, upper
        Percentiles.

    Raises
    ------
    AnatomyAbsent
        If both are equal: there is nothing to see.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, into: str, lower: float, upper: float) -> None:
        super().__init__(keys)
        self.into, self.percentiles = into, (lower, upper)

    def __call__(self, data: Item) -> Item:
        low, high = np.percentile(data[self.key], self.percentiles).astype(np.float32)
        if not low < high:
            raise AnatomyAbsent("the image is the same everywhere")
        return {**data, self.into: (low, high)}


class StandardiseWindowd(Keyed):
    """Clamp to a window, then scale to a mean and a standard deviation, in place.

    Parameters
    ----------
    keys
        Of sampled arrays.
    window
        Key of the pair (low, high).
    mean, std
        Of what comes out.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, window: str, mean: float, std: float) -> None:
        super().__init__(keys)
        self.window, self.mean, self.std = window, mean, std

    def __call__(self, data: Item) -> Item:
        low, high = data[self.window]
        for key in self.keys:
            self._standardise(data[key], low, high)
        return data

    def _standardise(self, grid: Float, low: np.float32, high: np.float32) -> None:
        """Plane by plane, so that each stays in the processor's cache."""
        total, squares = 0.0, 0.0
        for plane in grid:
            np.subtract(plane, low, out=plane)
            np.divide(plane, high - low, out=plane)
            np.clip(plane, 0.0, 1.0, out=plane)
            flat = plane.ravel()
            total += float(flat.sum())
            squares += float(np.dot(flat, flat))
        mean = total / grid.size
        variance = (squares - total * mean) / (grid.size - 1)
        if not variance > 1e-12:
            raise AnatomyAbsent("the image is the same everywhere")
        scale = self.std / math.sqrt(variance)
        shift = np.float32(self.mean - mean * scale)
        for plane in grid:
            np.multiply(plane, np.float32(scale), out=plane)
            np.add(plane, shift, out=plane)


class LocateBoxd(Keyed):
    """Find the box of an anatomy with a network on an overview of the whole image.

    The largest component of what the network marks is projected on each axis; planes that hold more than
    `plane_fraction_min` of it bound the box, which grows by `margin` of its size on each side.

    Parameters
    ----------
    keys
        Of the overview: float32, axes (x, y, z), on an even grid over the whole image.
    into
        Key of the `Box` that is made, in voxels of the image.
    image
        Key of the `Canonical` that the overview was sampled from.
    network, inferer
        The locating network, and the inferer that calls it.
    channel, threshold
        Which channel of its answer marks the anatomy, and above what.
    plane_fraction_min, margin
        See above.

    Raises
    ------
    AnatomyAbsent
        If the network marks nothing, or nothing large enough to have a box.
    """

    stage: ClassVar[str] = "locating"

    def __init__(
        self,
        keys: Keys,
        into: str,
        image: str,
        network: Network,
        inferer: Inferer,
        channel: int,
        threshold: float,
        plane_fraction_min: float,
        margin: float,
    ) -> None:
        super().__init__(keys)
        self.into, self.image, self.network, self.inferer = into, image, network, inferer
        self.channel, self.threshold = channel, threshold
        self.plane_fraction_min, self.margin = plane_fraction_min, margin

    def __call__(self, data: Item) -> Item:
        answer = self.inferer(data[self.key][None, None], self.network)
        marked = answer[0, self.channel] > self.threshold
        if keep_largest(marked) == 0:
            raise AnatomyAbsent("the locating network marks nothing")
        shape = data[self.image].array.shape
        ends = [self._ends(marked, axis, shape[axis]) for axis in range(3)]
        (x0, x1), (y0, y1), (z0, z1) = ends
        return {**data, self.into: Box((x0, y0, z0), (x1, y1, z1))}

    def _ends(self, marked: npt.NDArray[np.bool_], axis: int, size: int) -> tuple[int, int]:
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(marked.mean(axis=others) > self.plane_fraction_min)
        if not len(planes):
            raise AnatomyAbsent("what the locating network marks is too small")
        scale = np.float32(size) / np.float32(marked.shape[axis])
        first, past = int(planes[0]), int(planes[-1]) + 1
        centre = np.rint(scale * np.float32((first + past) / 2))
        length = np.rint(np.float32(1 + 2 * self.margin) * (scale * np.float32(past - first)))
        low, high = max(0, int(centre - length / 2)), min(size, int(centre + length / 2))
        if high - low < 2:
            raise AnatomyAbsent("what the locating network marks is too small")
        return low, high
