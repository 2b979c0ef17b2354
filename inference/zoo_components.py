"""What zoo bundles do to labels after the decision: components and holes, each structure in its own box.

The numbers are MONAI's, whose rules they follow; a label map is changed in place, whatever its strides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.components import keep_largest

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]


class Component(Protocol):
    """Changes a label map.

    Attributes
    ----------
    plain_onehot
        Whether it does to one channel for each structure what it does to a label map.
    """

    plain_onehot: ClassVar[bool]

    def act(self, labels: Labels, voxel_mm3: float, /) -> None:
        """Change labels in place; `voxel_mm3` is what one voxel of theirs holds."""


@dataclass(frozen=True, slots=True)
class KeepLargest:
    """`KeepLargestConnectedComponentd`.

    Attributes
    ----------
    labels
        Which structures; None for all.
    independent
        Whether each structure keeps its own, or the union of them one.
    reach
        1 connects over faces, 2 over edges too, 3 over corners too.
    count
        How many components are kept.
    """

    labels: tuple[int, ...] | None
    independent: bool
    reach: int
    count: int = 1
    plain_onehot: ClassVar[bool] = True

    def act(self, labels: Labels, _voxel_mm3: float, /) -> None:
        if self.independent:
            for number, part in _boxes(labels, self.labels):
                mask = part == number
                self._kept(mask)
                part[(part == number) & ~mask] = 0
            return
        part = labels[_box(labels > 0)]
        wanted = part > 0 if self.labels is None else np.isin(part, [number for number in self.labels if number > 0])
        kept = wanted.copy(order="C")
        if wanted.any():
            self._kept(kept)
        part[wanted & ~kept] = 0

    def _kept(self, mask: Mask) -> None:
        if self.reach == 3 and self.count == 1:
            keep_largest(mask)
            return
        found, count = ndimage.label(mask, ndimage.generate_binary_structure(3, self.reach))
        if count > self.count:
            sizes = np.bincount(found.ravel())
            sizes[0] = 0
            mask &= np.isin(found, np.argsort(-sizes, kind="stable")[: self.count])


@dataclass(frozen=True, slots=True)
class FillHoles:
    """`FillHolesd`: what a structure encloses becomes part of it, other structures too.

    Attributes
    ----------
    labels
        Which structures; None for all.
    reach
        Over what a hole would be open: 1 over faces, 2 over edges too, 3 over corners too.
    """

    labels: tuple[int, ...] | None
    reach: int
    plain_onehot: ClassVar[bool] = False

    def act(self, labels: Labels, _voxel_mm3: float, /) -> None:
        numbers = self.labels if self.labels is not None else tuple(int(number) for number in np.unique(labels))
        for wanted in dict.fromkeys(numbers):
            for number, part in _boxes(labels, (wanted,)):
                part[_enclosed(part == number, self.reach)] = number


@dataclass(frozen=True, slots=True)
class RemoveSmall:
    """`RemoveSmallObjectsd`, with scikit-image's rule: of one structure the small components go, of several the small
    structures.

    Attributes
    ----------
    size
        Voxels, or cubic millimetres; what has less is removed.
    reach
        1 connects over faces, 2 over edges too, 3 over corners too.
    measured
        Whether the size is in cubic millimetres.
    union
        Whether all structures count as one.
    """

    size: float
    reach: int
    measured: bool
    union: bool
    plain_onehot: ClassVar[bool] = False

    def act(self, labels: Labels, voxel_mm3: float, /) -> None:
        least = math.ceil(self.size / voxel_mm3) if self.measured else self.size
        if labels.size == 0 or labels.min() == labels.max():
            return
        part = labels[_box(labels > 0)]
        if self.union or part.max() <= 1:
            found, _ = ndimage.label(part > 0, ndimage.generate_binary_structure(3, self.reach))
            part[(np.bincount(found.ravel()) < least)[found]] = 0
            return
        counts = np.bincount(part.ravel())
        part[(counts < least)[part]] = 0


def _boxes(labels: Labels, wanted: tuple[int, ...] | None) -> Iterator[tuple[int, Labels]]:
    """Each structure that is there, ascending, and the part of the map in its bounding box."""
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None and (wanted is None or number in wanted):
            yield number, labels[box]


def _box(mask: Mask) -> tuple[slice, ...]:
    found: list[Any] = ndimage.find_objects(mask.view(np.uint8))
    return found[0] if found and found[0] is not None else (slice(0, 0),) * 3


def _enclosed(mask: Mask, reach: int) -> Mask:
    """A mask and what no way through the background leads out of."""
    found, count = ndimage.label(~mask, ndimage.generate_binary_structure(3, reach))
    ways_out = np.zeros(count + 1, dtype=np.bool_)
    for axis in range(3):
        for end in (0, -1):
            ways_out[np.take(found, end, axis=axis)] = True
    ways_out[0] = False
    enclosed: Mask = ~ways_out[found]
    return enclosed
