"""The segments of a Segmentation as numbers in the source's own planes, one plane at a time.

A mask is an array of one segment, a label map an array of many; both are layers here. No array is made for a segment:
a plane is cut out of what the Findings hold, and its values become segment numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clinic.writers.source import Source
from inference.findings import Findings
from pipelines.outputs import SegmentOutput

Array = npt.NDArray[Any]
Bits = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """An array of the Findings, and which segment each of its values is.

    Attributes
    ----------
    array
        bool, uint8 or uint16, axes (z, y, x), in the Volume's geometry.
    numbers
        (values,): the segment number of each value; 0 for what is no segment.
    """

    array: Array
    numbers: Numbers

    @property
    def is_plain(self) -> bool:
        """Whether the values are the segment numbers already."""
        return self.array.dtype == self.numbers.dtype and bool((self.numbers == np.arange(len(self.numbers))).all())


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """What the segments of one Segmentation are cut from.

    Attributes
    ----------
    layers
        One for each mask and one for the label map.
    count
        How many segments there are, numbered from 1.
    dtype
        uint8, or uint16 when there are more segments than it can count.
    """

    layers: tuple[Layer, ...]
    count: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, outputs: Sequence[SegmentOutput], findings: Findings) -> Layers:
        """The layers of a Segmentation's segments.

        Parameters
        ----------
        outputs
            Its segments in the order of their numbers.
        findings
            What has them.
        """
        dtype = np.dtype(np.uint8 if len(outputs) < 256 else np.uint16)
        number = {output.mask: place for place, output in enumerate(outputs, start=1)}
        found = [
            Layer(mask.array, np.array([0, number[mask.key]], dtype)) for mask in findings.masks if mask.key in number
        ]
        labels = findings.labels
        if labels is not None and not number.keys().isdisjoint(labels.keys):
            found.append(Layer(labels.array, np.array([0, *(number.get(key, 0) for key in labels.keys)], dtype)))
        assert sum(np.count_nonzero(layer.numbers) for layer in found) == len(outputs), "findings have what is written"
        return cls(tuple(found), len(outputs), dtype)

    def in_planes(self, source: Source) -> list[tuple[int, ...]]:
        """The segment numbers that each plane of the source holds, in order."""
        return [self._in_plane(source, k) for k in range(len(source.grid.planes))]

    def _in_plane(self, source: Source, k: int) -> tuple[int, ...]:
        numbers: set[int] = set()
        for layer in self.layers:
            plane = source.plane(layer.array, k)
            if not plane.any():
                continue
            if len(layer.numbers) == 2:
                numbers.add(int(layer.numbers[1]))
                continue
            counted = np.bincount(plane.reshape(-1), minlength=len(layer.numbers))
            numbers.update(layer.numbers[np.flatnonzero(counted)].tolist())
        return tuple(sorted(numbers - {0}))

    def overlap(self, source: Source) -> bool:
        """Whether a voxel belongs to two segments."""
        return len(self.layers) > 1 and any(self._overlaps(source, k) for k in range(len(source.grid.planes)))

    def _overlaps(self, source: Source, k: int) -> bool:
        taken = np.zeros(source.grid.stack_shape[1:], np.bool_)
        for layer in self.layers:
            here = np.take(layer.numbers != 0, source.plane(layer.array, k), mode="clip")
            if (taken & here).any():
                return True
            taken |= here
        return False

    def plane(self, source: Source, k: int) -> Array:
        """The segment number of each pixel of plane k, (rows, columns); the later segment where two overlap."""
        if len(self.layers) == 1 and self.layers[0].is_plain:
            return source.plane(self.layers[0].array, k)
        numbers = np.zeros(source.grid.stack_shape[1:], self.dtype)
        for layer in self.layers:
            np.maximum(numbers, np.take(layer.numbers, source.plane(layer.array, k), mode="clip"), out=numbers)
        return numbers

    def bits(self, source: Source, number: int, k: int) -> Bits:
        """Where segment `number` is in plane k, (rows, columns)."""
        for layer in self.layers:
            (values,) = np.nonzero(layer.numbers == number)
            if len(values):
                plane = source.plane(layer.array, k)
                found: Bits = plane if plane.dtype == np.bool_ else plane == values[0]
                return found
        raise KeyError(number)


def present(findings: Findings) -> frozenset[str]:
    """The keys of the masks and structures that have a voxel."""
    found = {mask.key for mask in findings.masks if mask.array.any()}
    if findings.labels is not None:
        counts = findings.labels.counts()[1:]
        found |= {key for key, count in zip(findings.labels.keys, counts, strict=True) if count}
    return frozenset(found)
