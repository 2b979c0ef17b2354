"""The brain on CT or MR, as MindGrab marks it in FreeSurfer's cube (arXiv:2506.11860).

The network standardises each channel over all that it is given, so what it says of a voxel depends on the whole of the
grid: it is run once on one grid of fixed size that holds the head down from its top, never in windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from inference.components import fill_voids, keep_largest
from inference.conform import SIZE, Conformed, window_of
from inference.errors import AnatomyAbsent, AnatomyTruncated
from inference.findings import Score
from inference.geometry import Box, Canonical
from inference.steps import Item, Keyed, Keys
from inference.volume import Volume

_EPSILON = 1e-3
_CLEAR = 2.1972246
"""Logit of 0.9."""

_DARK, _SPAN, _GAIN, _LEAST = 900, 200, 9, -1024


class RequireDensitiesd(Keyed):
    """Refuse a CT image that cannot hold what is looked for: a phantom, another part of the body, air.

    Parameters
    ----------
    keys
        Of a `Volume` in Hounsfield units.
    ranges
        For each name, (lowest HU, highest HU, least millilitres) of the whole image, both ends within.

    Raises
    ------
    AnatomyAbsent
        Naming the first range of which there is too little.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, ranges: Mapping[str, Sequence[float]]) -> None:
        super().__init__(keys)
        self.ranges = {name: (low, high, least) for name, (low, high, least) in ranges.items()}

    def __call__(self, data: Item) -> Item:
        for key in self.keys:
            volume: Volume = data[key]
            for name, (low, high, least_ml) in self.ranges.items():
                count = sum(int(np.count_nonzero((plane >= low) & (plane <= high))) for plane in volume.array)
                if count * volume.voxel_ml < least_ml:
                    raise AnatomyAbsent("the image holds too little of a density that every head has", density=name)
        return data


class Cormackd(Keyed):
    """Hounsfield units to Cormack's, in which soft tissue has ten times the room (niimath's `-h2c`, which brainchop uses).

    Parameters
    ----------
    keys
        Of a `Canonical`.
    into
        Key of the `Canonical` that is made; int16, of the same geometry.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, into: str) -> None:
        super().__init__(keys)
        self.into = into

    def __call__(self, data: Item) -> Item:
        image: Canonical = data[self.key]
        source = image.volume
        least = max(_LEAST, int(source.array.min()))
        scaled = np.empty(source.array.shape, dtype=np.int16)
        for plane, into in zip(source.array, scaled, strict=True):
            above = np.clip(plane, least, 12_000).astype(np.int32) - least
            into[:] = above + _GAIN * np.clip(above - _DARK, 0, _SPAN)
        return {**data, self.into: Canonical.of(Volume(scaled, source.affine, "arbitrary"))}


class HeadGridd(Keyed):
    """The part of the cube with the head, down from its top, scaled as MindGrab was trained.

    Parameters
    ----------
    keys
        Of the `Conformed`.
    into
        Key of the float32 array that is made, axes (x, y, z) of the cube.
    box
        Key of the `Box` of the cube that it is.
    spatial_size
        Of the grid.
    level
        Bytes of the cube above which a voxel is tissue.
    lower, upper
        Quantiles of the whole cube that become 0 and 1.

    Raises
    ------
    AnatomyAbsent
        If the cube is nearly the same everywhere, or holds nothing of a head's size.
    """

    stage: ClassVar[str] = "preparing"

    _PLANE_VOXELS, _LINE_VOXELS, _ABOVE = 1500, 400, 8
    _VAULT = 110
    """Planes from the top in which the middle is looked for: the face below them reaches further to the front."""

    def __init__(
        self,
        keys: Keys,
        into: str,
        box: str,
        spatial_size: Sequence[int],
        level: int,
        lower: float,
        upper: float,
    ) -> None:
        super().__init__(keys)
        x, y, z = spatial_size
        if not all(0 < size <= SIZE for size in spatial_size):
            raise TypeError("the grid lies within the cube")
        self.into, self.box, self.spatial_size = into, box, (x, y, z)
        self.level, self.quantiles = level, (lower, upper)

    def __call__(self, data: Item) -> Item:
        cube: Conformed = data[self.key]
        low, high = window_of(cube.array, *self.quantiles)
        if not low < high:
            raise AnatomyAbsent("nearly all of the image is the same")
        box = self._box(cube.array > self.level)
        values = np.clip((np.arange(256) - low) / (high - low + _EPSILON), 0.0, 1.0).astype(np.float32)
        return {**data, self.into: values[cube.array[box.slices]], self.box: box}

    def _box(self, tissue: npt.NDArray[np.bool_]) -> Box:
        planes = np.count_nonzero(tissue, axis=(0, 2))
        full = np.flatnonzero(planes >= self._PLANE_VOXELS)
        if not len(full):
            raise AnatomyAbsent("nothing on the image has the size of a head")
        top = max(0, int(full[0]) - self._ABOVE)
        head = tissue[:, top : top + self._VAULT]
        x = self._middle(np.count_nonzero(head, axis=(1, 2)))
        z = self._middle(np.count_nonzero(head, axis=(0, 1)))
        starts = (x - self.spatial_size[0] // 2, top, z - self.spatial_size[2] // 2)
        low = [min(max(0, start), SIZE - size) for start, size in zip(starts, self.spatial_size, strict=True)]
        ends = [start + size for start, size in zip(low, self.spatial_size, strict=True)]
        return Box((low[0], low[1], low[2]), (ends[0], ends[1], ends[2]))

    def _middle(self, line: npt.NDArray[np.intp]) -> int:
        """Of what reaches a head's breadth: a holder or an ear is thinner."""
        full = np.flatnonzero(line >= self._LINE_VOXELS)
        if not len(full):
            raise AnatomyAbsent("nothing on the image has the size of a head")
        return int(full[0] + full[-1] + 1) // 2


class MarkBraind(Keyed):
    """The network's answer as a mask along the source's stored axes, and how certain the network is.

    The greater channel decides; the largest component is kept, and what it encloses is filled. The score `certainty` is the
    share of the voxels marked at all (probability above 0.1) that are marked clearly (above 0.9).

    Parameters
    ----------
    keys
        Of the answer: logits, axes (batch, channel, x, y, z); becomes the mask.
    cube, box
        Keys of the `Conformed` and of the `Box` of it that the network saw.

    Raises
    ------
    AnatomyAbsent
        If the network marks nothing.
    AnatomyTruncated
        If what it marks reaches a side of the grid over more than `_SIDE_VOXELS` square millimetres.
    """

    stage: ClassVar[str] = "measuring"

    _SIDE_VOXELS = 500

    def __init__(self, keys: Keys, cube: str, box: str) -> None:
        super().__init__(keys)
        self.cube, self.box = cube, box

    def __call__(self, data: Item) -> Item:
        cube: Conformed = data[self.cube]
        box: Box = data[self.box]
        logits = data[self.key][0, 1] - data[self.key][0, 0]
        possible = int(np.count_nonzero(logits > -_CLEAR))
        certainty = int(np.count_nonzero(logits > _CLEAR)) / possible if possible else 0.0
        marked = logits > 0
        if keep_largest(marked) == 0:
            raise AnatomyAbsent("the network marks nothing")
        fill_voids(marked)
        sides = [np.count_nonzero(np.take(marked, end, axis=axis)) for axis in range(3) for end in (0, -1)]
        if max(sides) > self._SIDE_VOXELS:
            raise AnatomyTruncated("the brain reaches a side of the grid that the network sees")
        mask = cube.restored(marked.view(np.uint8), box).view(np.bool_)
        if not mask.any():
            raise AnatomyAbsent("what the network marks lies between the voxels of the image")
        scores = (*data.get("scores", ()), Score("certainty", certainty))
        return {**data, self.key: mask, "scores": scores}


def histogram_of(array: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Voxels of a mask by whole HU from -1024 to 3071, what lies beyond at the ends; plane by plane."""
    counts = np.zeros(4096, dtype=np.int64)
    for plane, where in zip(array, mask, strict=True):
        values = plane[where]
        levels = np.clip(np.rint(values) if values.dtype.kind == "f" else values, -1024, 3071).astype(np.int64)
        counts += np.bincount(levels + 1024, minlength=4096)
    return counts
