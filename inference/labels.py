"""From a network's classes on its grid to one label for each voxel of the source, without all of either at once.

Values are activated, interpolated and decided block by block as they leave the windows. Two facts keep that exact and
quick: a voxel between grid points needs one plane of the block before, and no other; and linear interpolation never
exceeds its neighbours, so within a small tile a class whose greatest value is below the least value of another cannot
win there and is not interpolated at all. Where the network is sure, which is nearly everywhere, one class is left.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from inference.errors import BundleRefused
from inference.windows import Array, Block, Network, Order, Share, Size, Windows, blocks, order_of, plan

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

TILE = (8, 8, 16)
"""Grid cells of one tile along (x, y, z): small enough that few classes are left in it, large enough for numpy."""


@dataclass(frozen=True, slots=True)
class AxisMap:
    """Where the source's voxels lie on the grid, along one canonical axis.

    Attributes
    ----------
    size
        Voxels of the source.
    scale, offset
        Voxel i lies at grid coordinate i * scale + offset; `scale` is not 0. Beyond the grid, its border counts.
    """

    size: int
    scale: float
    offset: float

    def __post_init__(self) -> None:
        if self.size < 1 or self.scale == 0 or not np.isfinite((self.scale, self.offset)).all():
            raise BundleRefused("the network's grid does not fit the volume")

    def coordinates(self, points: int) -> npt.NDArray[np.float64]:
        """Grid coordinate of each voxel, between 0 and `points` - 1."""
        return np.clip(np.arange(self.size) * self.scale + self.offset, 0.0, points - 1.0)


@dataclass(frozen=True, slots=True)
class Restore:
    """How the answer comes back to the source's voxels.

    Attributes
    ----------
    axes
        Along canonical (x, y, z).
    interpolate
        True: each class is interpolated linearly, then decided (`Invertd` before `AsDiscreted`); False: decided on the
        grid, then the nearest grid point's label (half to even) is taken.
    """

    axes: tuple[AxisMap, AxisMap, AxisMap]
    interpolate: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """How values become a label.

    Attributes
    ----------
    kind
        `argmax`: the number of the channel with the greatest value, of equal ones the first; channel 0 is background.
        `threshold`: 1 + the number of the last channel that reaches `threshold`, else 0.
        `each`: bit k is set where channel k reaches `threshold`: structures that overlap.
    activation
        What is applied to the network's values before they are interpolated.
    threshold
        For `threshold` and `each`.
    """

    kind: Literal["argmax", "threshold", "each"]
    activation: Literal["softmax", "sigmoid"] | None = None
    threshold: float = 0.5


def label_volume(
    image: Array,
    network: Network,
    windows: Windows | None,
    decision: Decision,
    restore: Restore,
    source_shape: Size,
    into: Labels,
    progress: Share = lambda _share: None,
) -> None:
    """Label every voxel of the source.

    Parameters
    ----------
    image
        float32, axes (channel, x, y, z): what the network takes, canonical.
    network
        Called with (batch, channel, x, y, z).
    windows
        How the image is covered; None for all of it at once.
    decision, restore
        How the answer becomes labels of the source.
    source_shape
        Of the source, canonical (x, y, z).
    into
        uint8 or uint16, that shape, any strides: where the labels are written, each once.
    progress
        Called with the share of windows that are done.

    Raises
    ------
    BundleRefused
        If the network answers with another shape than its input's, or with more classes than `into` can tell apart.
    """
    assert into.shape == tuple(source_shape) == tuple(axis.size for axis in restore.axes), "one shape of the source"
    grid = (image.shape[1], image.shape[2], image.shape[3])
    order, extent = (0, 1, 2), grid
    if windows is None:
        pieces = _whole(image, network, decision.activation is not None, progress)
    else:
        places = plan(grid, windows)
        order, extent = order_of(places), places.roi
        pieces = blocks(image, network, windows, order, int(restore.interpolate), progress)
    writer: _Linear | _Nearest | None = None
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for block in pieces:
            if writer is None:
                channels = block.room.shape[0] + (decision.kind == "threshold")
                if decision.kind == "each" and channels > 8 * into.dtype.itemsize:
                    raise BundleRefused("a network has more classes than the labels can tell apart")
                if channels - 1 > np.iinfo(into.dtype).max:
                    raise BundleRefused("a network has more classes than the labels can tell apart")
                if restore.interpolate:
                    writer = _Linear(grid, extent, order, decision, restore.axes, into, pool)
                else:
                    writer = _Nearest(grid, decision, restore.axes, into, pool)
            writer.write(block)


def decide(values: Array, decision: Decision) -> Labels:
    """The labels of activated values, axes (channel, ...): numbers rise, so that the last one written is the greatest."""
    if decision.kind == "each":
        bits: Labels = np.zeros(values.shape[1:], dtype=np.uint8 if len(values) <= 8 else np.uint16)
        for number, value in enumerate(values):
            bits |= (value >= decision.threshold).astype(bits.dtype) << number
        return bits
    labels: Labels = np.zeros(values.shape[1:], dtype=np.uint8 if len(values) <= 255 else np.uint16)
    numbered, wins = np.empty_like(labels), np.empty(labels.shape, dtype=np.bool_)
    argmax = decision.kind == "argmax"
    best = values[0].copy() if argmax else np.full(1, decision.threshold, dtype=np.float32)
    for number, value in enumerate(values[int(argmax) :], start=1):
        if argmax:
            np.greater(value, best, out=wins)
            np.maximum(value, best, out=best)
        else:
            np.greater_equal(value, best, out=wins)
        np.multiply(wins.view(np.uint8), labels.dtype.type(number), out=numbered)
        np.maximum(labels, numbered, out=labels)
    return labels


def activate(values: Array, activation: Literal["softmax", "sigmoid"] | None) -> None:
    """Apply an activation in place, axes (channel, ...)."""
    if activation == "softmax":
        values -= values.max(axis=0)
        np.exp(values, out=values)
        values /= values.sum(axis=0)
    elif activation == "sigmoid":
        values *= np.float32(0.5)
        np.tanh(values, out=values)
        values += np.float32(1.0)
        values *= np.float32(0.5)


def _whole(image: Array, network: Network, changes: bool, progress: Share) -> Iterator[Block]:
    answer = network(image[None])
    if answer.ndim != 5 or answer.shape[0] != 1 or answer.shape[2:] != image.shape[1:]:
        raise BundleRefused("a network answers with another shape than that of its input")
    x, y, z = image.shape[1:]
    yield Block((0, 0, 0), (x, y, z), np.array(answer[0], dtype=np.float32, copy=changes or None), 0)
    progress(1.0)


class _Nearest:
    """Decides on the grid, then takes the nearest grid point's label."""

    def __init__(
        self,
        grid: Size,
        decision: Decision,
        axes: tuple[AxisMap, AxisMap, AxisMap],
        into: Labels,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._decision, self._into, self._pool = decision, into, pool
        self._nearest = [
            np.rint(axis.coordinates(points)).astype(np.intp) for axis, points in zip(axes, grid, strict=True)
        ]

    def write(self, block: Block) -> None:
        """Write the labels of the voxels that are nearest to a point of the block."""
        spans, picks = [], []
        for line, start, stop in zip(self._nearest, block.start, block.stop, strict=True):
            span = _span((line >= start) & (line < stop))
            spans.append(span)
            picks.append(line[span] - start)
        values = block.values
        labels = np.concatenate(list(self._pool.map(self._plane, np.array_split(values, _parts(values), axis=1))))
        self._into[*spans] = labels[np.ix_(*picks)]

    def _plane(self, values: Array) -> Labels:
        if self._decision.kind != "argmax":
            activate(values, self._decision.activation)
        return decide(values, self._decision)


@dataclass(frozen=True, slots=True, eq=False)
class _Strip:
    """A tile along one axis: its grid points, the source's voxels between them, and what each point gives to each."""

    points: slice
    voxels: slice
    shares: Array


class _Linear:
    """Interpolates between grid points, then decides. Keeps the last plane of what came before, along each axis."""

    def __init__(
        self,
        grid: Size,
        extent: Size,
        order: Order,
        decision: Decision,
        axes: tuple[AxisMap, AxisMap, AxisMap],
        into: Labels,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._grid, self._order, self._decision, self._into, self._pool = grid, order, decision, into, pool
        self._lines = [axis.coordinates(points) for axis, points in zip(axes, grid, strict=True)]
        self._planes = _Planes(grid, extent, order)

    def write(self, block: Block) -> None:
        """Write the labels of the voxels whose eight grid points are complete with this block."""
        values = block.values
        parts = np.array_split(values, _parts(values), axis=1)
        list(self._pool.map(lambda part: activate(part, self._decision.activation), parts))
        origin, room = self._planes.extend(block)
        strips = []
        for axis, line in enumerate(self._lines):
            last = block.stop[axis] - 1 if self._grid[axis] > 1 else 1
            strips.append(list(_strips(line, self._grid[axis], origin[axis], last, TILE[axis])))
        list(self._pool.map(lambda tile: self._tile(room, tile), product(*strips)))

    def _tile(self, room: Array, tile: tuple[_Strip, ...]) -> None:
        values = room[:, *(strip.points for strip in tile)]
        flat = values.reshape(values.shape[0], -1)
        numbers, sure = self._candidates(flat.max(axis=1), flat.min(axis=1))
        target = tuple(strip.voxels for strip in tile)
        if len(numbers) == 0:
            self._into[target] = sure
            return
        voxels = [strip.shares.shape[0] for strip in tile]
        spread = flat[numbers].reshape(len(numbers), -1, values.shape[3]) @ tile[2].shares.T
        spread = tile[1].shares @ spread.reshape(-1, values.shape[2], voxels[2])
        spread = tile[0].shares @ spread.reshape(len(numbers), values.shape[1], -1)
        found = decide(spread, self._decision).reshape(voxels)
        if self._decision.kind == "argmax":
            self._into[target] = numbers.astype(np.uint16)[found]
        elif self._decision.kind == "each":
            self._into[target] = sure
            for place, number in enumerate(numbers):
                bits = ((found >> place) & 1).astype(np.uint16) << int(number)
                self._into[target] |= bits.astype(self._into.dtype)
        else:
            self._into[target] = np.concatenate(([sure], numbers + 1)).astype(np.uint16)[found]

    def _candidates(self, most: Array, least: Array) -> tuple[npt.NDArray[np.intp], int]:
        """The channels that can win somewhere in a tile, ascending; and the label where none of them does."""
        if self._decision.kind == "argmax":
            numbers = np.flatnonzero(most >= least.max())
            return (numbers, 0) if len(numbers) > 1 else (numbers[:0], int(numbers[0]) if len(numbers) else 0)
        certain = np.flatnonzero(least >= self._decision.threshold)
        if self._decision.kind == "each":
            open_ = np.flatnonzero((most >= self._decision.threshold) & (least < self._decision.threshold))
            return open_, sum(1 << int(number) for number in certain)
        sure = int(certain[-1]) + 1 if len(certain) else 0
        numbers = np.flatnonzero(most >= self._decision.threshold)
        return numbers[numbers >= sure], sure


class _Planes:
    """Fills a block's margin with the planes that precede it."""

    def __init__(self, grid: Size, extent: Size, order: Order) -> None:
        self._grid, self._extent, self._order = grid, extent, order
        self._before: list[Array] = []
        self._now: list[Array] = []
        self._last: list[int] = [-1, -1, -1]

    def extend(self, block: Block) -> tuple[Size, Array]:
        """The block preceded by its neighbours' last planes, and the grid point where that begins."""
        if not block.margin:
            return block.start, block.room
        if not self._now:
            self._now, self._before = self._empty(block.room), self._empty(block.room)
        for place, axis in enumerate(self._order):
            if block.start[axis] != self._last[axis]:
                self._now[place], self._before[place] = self._before[place], self._now[place]
                for later in self._order[place + 1 :]:
                    self._last[later] = -1
            self._last[axis] = block.start[axis]
        self._fill(block)
        self._keep(block)
        begins = [int(first > 0) for first in block.start]
        origin = tuple(first - begin for first, begin in zip(block.start, begins, strict=True))
        return (origin[0], origin[1], origin[2]), block.room[:, *(slice(1 - begin, None) for begin in begins)]

    def _empty(self, room: Array) -> list[Array]:
        kept = []
        for place, axis in enumerate(self._order):
            shape = list(self._grid)
            shape[axis] = 1
            for before in self._order[:place]:
                shape[before] = self._extent[before]
            kept.append(np.empty((room.shape[0], *shape), dtype=np.float32))
        return kept

    def _fill(self, block: Block) -> None:
        for place in (2, 1, 0):
            axis = self._order[place]
            if block.start[axis] == 0:
                continue
            here, there = [slice(None)] * 3, [slice(None)] * 3
            for other, across in enumerate(self._order):
                begin = int(block.start[across] > 0 and other > place)
                here[across] = slice(1 - begin, None)
                there[across] = self._there(block, across, other < place, begin)
            here[axis], there[axis] = slice(0, 1), slice(0, 1)
            block.room[:, *here] = self._before[place][:, *there]

    def _keep(self, block: Block) -> None:
        for place, axis in enumerate(self._order):
            there = [slice(0, 1)] * 3
            for other, across in enumerate(self._order):
                if other != place:
                    there[across] = self._there(block, across, other < place, 0)
            last = [slice(None)] * 3
            last[axis] = slice(-1, None)
            self._now[place][:, *there] = block.values[:, *last]

    @staticmethod
    def _there(block: Block, axis: int, local: bool, begin: int) -> slice:
        """Where a block lies in what is kept: of the axes before, only the block's own extent is."""
        start, stop = block.start[axis], block.stop[axis]
        return slice(0, stop - start) if local else slice(start - begin, stop)


def _strips(line: npt.NDArray[np.float64], points: int, start: int, last: int, step: int) -> Iterator[_Strip]:
    """Tiles of at most `step` cells between the grid points `start` and `last`, with points counted from `start`."""
    low: npt.NDArray[np.intp] = np.minimum(np.floor(line).astype(np.intp), max(points - 2, 0))
    for first in range(start, last, step):
        stop = min(first + step, last)
        inside = (low >= first) & (low < stop)
        if not inside.any():
            continue
        span = _span(inside)
        kept = min(stop, points - 1) + 1 - first
        position = line[span, None] - np.arange(first, first + kept)
        shares = np.maximum(1.0 - np.abs(position), 0.0).astype(np.float32)
        yield _Strip(slice(first - start, first - start + kept), span, shares)


def _span(inside: npt.NDArray[np.bool_]) -> slice:
    found = np.flatnonzero(inside)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def _parts(values: Array) -> int:
    return max(1, int(values.shape[1]) // 4)
