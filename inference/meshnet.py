"""MeshNet in parts that fit: the brain's box alone, every second voxel at a time, and labels plane by plane.

MeshNet (Fedorov and others 2017, arXiv:1612.00940) is a chain of convolutions with growing and falling dilation. Run
plainly on 256 voxels along each axis it keeps every channel of the whole cube, and at its end a number for each class
and voxel: 9 GB for 104 classes. Three facts make it small without changing what is computed:

- What a voxel's label depends on ends `reach` voxels away, so only the brain's box, that much larger on each side, goes in.
- Between the first convolution and the last ones all dilations are even: voxels of odd and even index never meet. Eight
  runs of the network's body (`models.convert_tfjs.body_of`), each on every second voxel along each axis, need an eighth
  of the memory each and no computation twice.
- The network's head (`head_of`) is small: it turns features to classes in slabs of planes, of which only labels are kept.

One thing differs from the plain run: beyond the cube, air goes on, where the plain run has zeros around each layer. A
brain in a head lies too far inside for that to matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from inference.conform import SIZE, Bytes, Conformed, window_of
from inference.errors import AnatomyAbsent
from inference.steps import Item, Keyed, Keys

Float = npt.NDArray[np.float32]
Network = Callable[[Float], Float]
Size = tuple[int, int, int]

_EPSILON = 1e-3
_THIN = 3


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """What MeshNet says of a box.

    Attributes
    ----------
    labels
        uint8, axes (x, y, z): the class with the greatest value; 0 is background.
    certainty
        Mean, over a sample of the voxels that are not background, of the probability of the class that was taken.
    """

    labels: Bytes
    certainty: float


class BrainBoxd(Keyed):
    """The brain's box of a conformed image, scaled as MeshNet was trained.

    Parameters
    ----------
    keys
        Of the `Conformed`.
    into
        Key of the float32 array that is made: the box and `reach` voxels around it, 0 beyond the cube.
    box
        Key of the `Box` of the cube that is made.
    mask
        Key of the mask, along the source's stored axes, whose bounding box it is.
    margin
        Voxels of the cube that the box is larger on each side.
    reach
        Of the whole network.
    lower, upper
        Quantiles of the whole cube that become 0 and 1.

    Raises
    ------
    AnatomyAbsent
        If both quantiles are equal.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(
        self, keys: Keys, into: str, box: str, mask: str, margin: int, reach: int, lower: float, upper: float
    ) -> None:
        super().__init__(keys)
        self.into, self.box, self.mask = into, box, mask
        self.margin, self.reach, self.quantiles = margin, reach, (lower, upper)

    def __call__(self, data: Item) -> Item:
        cube: Conformed = data[self.key]
        low, high = window_of(cube.array, *self.quantiles)
        if not low < high:
            raise AnatomyAbsent("nearly all of the image is the same")
        box = cube.box_of(cube.source.axes.view(data[self.mask]), self.margin)
        values = np.clip((np.arange(256) - low) / (high - low + _EPSILON), 0.0, 1.0).astype(np.float32)
        grown = np.zeros([size + 2 * self.reach for size in box.shape], np.float32)
        outer = [(low - self.reach, high + self.reach) for low, high in zip(box.low, box.high, strict=True)]
        inner = tuple(slice(max(low, 0), min(high, SIZE)) for low, high in outer)
        place = tuple(slice(cut.start - low, cut.stop - low) for cut, (low, _high) in zip(inner, outer, strict=True))
        np.take(values, cube.array[inner], out=grown[place], mode="clip")
        return {**data, self.into: grown, self.box: box}


class EverySecondInferer:
    """Runs a MeshNet that comes in two files.

    Parameters
    ----------
    head
        The second file's network: (1, channels, planes + 2 r, ...) to (1, classes, planes, ...), `r` its reach.
    reach
        How many voxels to each side the body looks.
    head_reach
        How many the head looks: 0 or 1.
    tile
        Voxels along (x, y, z) that the body answers for in one round of eight runs; even.
    planes
        Planes that the head labels at once.
    """

    def __init__(self, head: Network, reach: int, head_reach: int, tile: Sequence[int], planes: int) -> None:
        x, y, z = tile
        if any(size % 2 or size < 4 for size in tile) or head_reach not in (0, 1) or reach < 1 or planes < 1:
            raise TypeError("a tile has even sides, and a head looks at most one voxel far")
        self.head, self.reach, self.head_reach, self.planes = head, reach, head_reach, planes
        self.tile: Size = (x, y, z)

    def __call__(self, inputs: Float, network: Network) -> Labelled:
        """Label everything that lies `reach + head_reach` voxels inside.

        Parameters
        ----------
        inputs
            (1, 1, x, y, z).
        network
            The body: (1, 1, 2 n + 2 reach - 1) to features of n along each axis.
        """
        around = self.reach + self.head_reach
        size = [length - 2 * around for length in inputs.shape[2:]]
        labels = np.zeros(size, np.uint8)
        whole = (
            self.tile[0] - 2 * self.head_reach,
            self.tile[1] - 2 * self.head_reach,
            self.tile[2] - 2 * self.head_reach,
        )
        likely: list[float] = [0.0, 0.0]
        for starts in itertools.product(*(_starts(length, part) for length, part in zip(size, whole, strict=True))):
            found = self._tile(_cut(inputs[0, 0], starts, [part + 2 * around for part in whole]), network, likely)
            ends = [min(start + part, length) for start, part, length in zip(starts, whole, size, strict=True)]
            into = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
            labels[into] = found[tuple(slice(0, end - start) for start, end in zip(starts, ends, strict=True))]
        return Labelled(labels, likely[0] / likely[1] if likely[1] else 0.0)

    def _tile(self, inputs: Float, body: Network, likely: list[float]) -> Bytes:
        """One tile: eight runs of the body; the head after each of them, or after all where it looks at neighbours."""
        labels = np.zeros([part - 2 * self.head_reach for part in self.tile], np.uint8)
        together: Float | None = None
        for offset in itertools.product((0, 1), repeat=3):
            every = tuple(slice(first, None, 2) for first in offset)
            needed = [part + 2 * self.reach - 1 for part in self.tile]
            features = body(_cut(inputs, offset, needed)[None, None])
            if not self.head_reach:
                labels[every] = self._labels(features[0], likely)
                continue
            if together is None:
                together = np.empty((features.shape[1], *self.tile), np.float32)
            together[:, every[0], every[1], every[2]] = features[0]
        return labels if together is None else self._labels(together, likely)

    def _labels(self, features: Float, likely: list[float]) -> Bytes:
        """(channels, x, y, z) to labels, a few planes at a time; the last slab reaches back."""
        around = 2 * self.head_reach
        labels = np.zeros([length - around for length in features.shape[1:]], np.uint8)
        for start in _starts(len(labels), self.planes):
            part = features[:, start : start + self.planes + around]
            logits = self.head(np.ascontiguousarray(part)[None])[0]
            labels[start : start + self.planes] = greatest(logits)
            _add_certainty(logits[:, ::_THIN, ::_THIN, ::_THIN], likely)
        return labels


def greatest(logits: Float) -> Bytes:
    """The class of each voxel: (classes, x, y, z) to uint8 (x, y, z). Of equal ones the first."""
    labels = np.zeros(logits.shape[1:], np.uint8)
    for plane, values in zip(labels, logits.swapaxes(0, 1), strict=True):
        best = values[0].copy()
        for number in range(1, len(values)):
            above = values[number] > best
            np.maximum(plane, above.view(np.uint8) * np.uint8(number), out=plane)
            np.maximum(best, values[number], out=best)
    return labels


def _add_certainty(logits: Float, likely: list[float]) -> None:
    """Add the probabilities of what is taken where that is not background, and how many they are."""
    top = logits.max(axis=0)
    chosen = top > logits[0]
    if chosen.any():
        shares = 1.0 / np.exp(logits[:, chosen] - top[chosen]).sum(axis=0)
        likely[0] += float(shares.sum())
        likely[1] += float(shares.size)


def _starts(length: int, part: int) -> Iterator[int]:
    """Where parts begin that cover a length, as few as can be; only the first may reach beyond it."""
    count = max(1, -(-length // part))
    return (min(number * part, max(0, length - part)) for number in range(count))


def _cut(array: Float, starts: Sequence[int], size: Sequence[int]) -> Float:
    """A contiguous copy of a part, with zeros where it reaches beyond the array."""
    seen = array[tuple(slice(start, start + length) for start, length in zip(starts, size, strict=True))]
    if seen.shape == tuple(size):
        return np.ascontiguousarray(seen)
    grown = np.zeros(size, np.float32)
    grown[tuple(slice(0, length) for length in seen.shape)] = seen
    return grown
