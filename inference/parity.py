"""Whether two engines answer the same: a fixed probe, and what its answers have in common.

The probe is smooth noise from a seed, so every node makes the same one. It is no image: parity on it tells a broken or
careless engine from an honest one, and the tests of a bundle show parity on images.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engine import Array
from inference.errors import BundleRefused

_SEED = 20_260_101
_STEP = 16
_BLOCKS = 4
_THIN = 1e-4
_CLOSE = 1e-3
_UNNAMED_LEAST = 0.999

Labels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Parity:
    """What a bundle asks of an engine.

    Attributes
    ----------
    reference
        The engine to agree with.
    measure
        `dice` of all that is not background, `labels` (share of the voxels whose label is the same), or `allclose`
        (share of the values within a thousandth of the reference's range, plus a thousandth of the value).
    least
        Between 0 and 1.
    """

    reference: str
    measure: str
    least: float

    @classmethod
    def from_json(cls, value: Any) -> Parity:
        """Read a declaration. Raises `BundleRefused`."""
        try:
            parity = cls(str(value["reference"]), str(value["measure"]), float(value["least"]))
        except (KeyError, TypeError, ValueError):
            raise BundleRefused("a declaration of parity is incomplete") from None
        if parity.measure not in _MEASURES or not 0 < parity.least <= 1:
            raise BundleRefused("a declaration of parity is out of range", measure=parity.measure[:40])
        return parity

    @classmethod
    def unnamed(cls, reference: str) -> Parity:
        """For what a bundle lists without saying how near it must come, such as the reference on another device."""
        return cls(reference, "labels", _UNNAMED_LEAST)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is kept of a network's answer to the probe.

    Attributes
    ----------
    labels
        Of each voxel, axes (batch, x, y, z).
    values
        The answer itself; kept only where the labels say too little.
    checksum
        Of its bytes: equal bits have equal checksums.
    """

    labels: Labels
    values: Array
    checksum: int

    @classmethod
    def of(cls, array: Array) -> Answer:
        """Of an answer (batch, channel, x, y, z), which is not copied."""
        return cls(labels_of(array), array, zlib.crc32(np.ascontiguousarray(array).data))

    def kept(self, measure: str) -> Answer:
        """The same, holding as a reference after the network's next call. Values are copied only if they are needed."""
        needed = measure == "allclose" or _thin(self.labels)
        return Answer(
            self.labels, self.values.copy() if needed else np.empty((0,) * self.values.ndim, np.float32), self.checksum
        )


def probe(input_shape: Sequence[int]) -> Array:
    """Smooth noise around 0 with a standard deviation of about a half, the same everywhere.

    Parameters
    ----------
    input_shape
        (batch, channel, x, y, z).
    """
    random = np.random.default_rng(_SEED)
    sizes = [int(size) for size in input_shape[2:]]
    coarse = random.standard_normal((*input_shape[:2], *(size // _STEP + 2 for size in sizes)), np.float32)
    for axis, size in enumerate(sizes, start=2):
        coarse = np.moveaxis(np.tensordot(_linear(size), coarse, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(coarse, np.float32)


def labels_of(answer: Array) -> Labels:
    """The greatest channel of each voxel; for one channel, what lies above a half (or above 0 where it is no share)."""
    channels = answer.shape[1]
    if channels == 1:
        share = bool(answer.min() >= -_CLOSE and answer.max() <= 1 + _CLOSE)
        return (answer[:, 0] > (0.5 if share else 0.0)).astype(np.uint8)
    labels = np.zeros((answer.shape[0], *answer.shape[2:]), np.uint8 if channels <= 256 else np.uint16)
    best = answer[:, 0].copy()
    for channel in range(1, channels):
        above = answer[:, channel] > best
        labels[above] = channel
        np.maximum(best, answer[:, channel], out=best)
    return labels


def agreement(measure: str, answer: Answer, reference: Answer) -> float:
    """How far two answers agree, from 0 to 1.

    Where nearly the whole probe has one label, labels prove little: then the values must agree as well.
    """
    if answer.labels.shape != reference.labels.shape or not np.isfinite(answer.values).all():
        return 0.0
    reached = _MEASURES[measure](answer, reference)
    return min(reached, _allclose(answer, reference)) if _thin(reference.labels) else reached


def profile(answer: Answer) -> dict[str, list[int]]:
    """A digest that parity can be read from: for each label its voxels in each of 4 x 4 x 4 blocks of the probe.

    A bundle may carry it in its metadata, for nodes that do not have the reference engine.
    """
    counts = _block_counts(answer.labels)
    return {str(label): counts[label].tolist() for label in range(len(counts)) if counts[label].any()}


def profile_agreement(measure: str, answer: Answer, expected: Mapping[str, Sequence[int]]) -> float:
    """The most that `agreement` with the answer behind a profile can be; 0 where the profile cannot tell."""
    found = _block_counts(answer.labels)
    size = _BLOCKS**3
    whole = np.zeros((max(len(found), 1 + max(map(int, expected), default=0)), size), np.int64)
    for label, counts in expected.items():
        if len(counts) != size:
            return 0.0
        whole[int(label)] = counts
    found = np.concatenate([found, np.zeros((len(whole) - len(found), size), np.int64)])
    apart = np.abs(found - whole)
    if measure == "allclose" or whole.sum() != answer.labels.size or not np.isfinite(answer.values).all():
        return 0.0
    if measure == "labels":
        return 1 - float(apart.sum()) / (2 * answer.labels.size)
    marked = int(found[1:].sum() + whole[1:].sum())
    return 1 - float(apart[1:].sum()) / marked if marked else 0.0


def _linear(size: int) -> Array:
    """Interpolates `size` points from `size // 16 + 2` coarse ones; (size, coarse)."""
    at = np.arange(size) / _STEP
    low = at.astype(np.intp)
    matrix = np.zeros((size, size // _STEP + 2), np.float32)
    matrix[np.arange(size), low] = 1 - (at - low)
    matrix[np.arange(size), low + 1] = at - low
    return matrix


def _thin(labels: Labels) -> bool:
    return int(np.bincount(labels.ravel()).max()) > (1 - _THIN) * labels.size


def _dice(answer: Answer, reference: Answer) -> float:
    marked = np.count_nonzero(answer.labels) + np.count_nonzero(reference.labels)
    both = np.count_nonzero((answer.labels == reference.labels) & (reference.labels > 0))
    return 2 * both / marked if marked else 1.0


def _labels(answer: Answer, reference: Answer) -> float:
    return float(np.count_nonzero(answer.labels == reference.labels)) / answer.labels.size


def _allclose(answer: Answer, reference: Answer) -> float:
    if answer.values.shape != reference.values.shape:
        return 0.0
    span = float(reference.values.max() - reference.values.min()) or 1.0
    near = np.isclose(answer.values, reference.values, rtol=_CLOSE, atol=_CLOSE * span)
    return float(np.count_nonzero(near)) / near.size


def _block_counts(labels: Labels) -> NDArray[np.int64]:
    """Voxels of each label in each block; (labels, 64)."""
    block = np.zeros(labels.shape[1:], np.int64)
    for axis, size in enumerate(labels.shape[1:]):
        along = np.minimum(np.arange(size) * _BLOCKS // size, _BLOCKS - 1)
        block = block * _BLOCKS + along.reshape([-1 if other == axis else 1 for other in range(labels.ndim - 1)])
    most = int(labels.max()) + 1
    counts = np.bincount((labels.astype(np.int64) * _BLOCKS**3 + block[None]).ravel(), minlength=most * _BLOCKS**3)
    return counts.reshape(most, _BLOCKS**3)


_MEASURES = {"dice": _dice, "labels": _labels, "allclose": _allclose}
