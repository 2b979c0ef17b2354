"""What of the sums over sliding windows is still open, and the blocks that leave once nothing more is added to them.

A window shares voxels with the window before it in its row, with the row before and with the layer before. Of each only
the shared part is kept. What no later window adds to leaves slice by slice, so that the values of a hundred classes are
never there for a whole window twice.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, permutations
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Size = tuple[int, int, int]
Order = tuple[int, int, int]

_CHUNK_BYTES = 16 << 20
_ROOM_BYTES = 128 << 20
_SLICE_MIN = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the windows of one image lie. `size` and `starts` are those of the padded image.

    Attributes
    ----------
    image, size, roi
        Voxels of the image, of the padded image, and of a window, along (x, y, z).
    before
        Voxels of padding before the image.
    starts
        First voxel of the windows, axis by axis, ascending; the windows are all combinations.
    """

    image: Size
    size: Size
    roi: Size
    before: Size
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def count(self) -> int:
        """How many windows there are."""
        return math.prod(len(line) for line in self.starts)

    def overlap_max(self, axis: int) -> int:
        """The most voxels that two neighbouring windows share along an axis."""
        line = self.starts[axis]
        return max((low + self.roi[axis] - high for low, high in pairwise(line)), default=0)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Blended values of a part of the image.

    Attributes
    ----------
    start, stop
        The part: half open, in voxels of the image along (x, y, z).
    room
        float32, axes (channel, x, y, z): the values, preceded along each spatial axis by as many voxels of margin as
        were asked for. It is the receiver's to change, until the next block.
    margin
        Voxels of margin; their content is undefined.
    """

    start: Size
    stop: Size
    room: Array
    margin: int

    @property
    def values(self) -> Array:
        """The values without the margin."""
        return self.room[:, self.margin :, self.margin :, self.margin :]


def order_of(places: Plan, first: int | None = None) -> Order:
    """The order of axes, the one that changes least often first, in which the least is open; `first` may be given."""
    orders = [order for order in permutations(range(3)) if first in (None, order[0])]
    best = min(orders, key=lambda order: (_open_voxels(places, three(order)), order))
    return three(best)


def holding_bytes(places: Plan, channels: int, margin: int) -> int:
    """What a `Blender` holds: open sums, the room of a block, and the room in which a few channels are added up.

    With a margin also the planes that whoever fills it keeps: twice one plane of each layer, row and window.
    """
    order = order_of(places)
    thickness = _thickness(places, order, channels, margin)
    room = math.prod((thickness if axis == order[2] else length) + margin for axis, length in enumerate(places.roi))
    planes = 2 * margin * _open_voxels(places, order, 1)
    scratch = (
        threads() * _scratch_channels(places, order, channels, thickness) * _sliced(places.roi, order[2], thickness)
    )
    return 4 * ((channels + 1) * (_open_voxels(places, order) + planes) + channels * room + scratch)


@dataclass(frozen=True, slots=True)
class Spot:
    """One window: what it shares with those before it, and how much of it no later one adds to, by axis (x, y, z)."""

    start: Size
    shared: Size
    final: Size

    @classmethod
    def at(cls, places: Plan, order: Order, position: tuple[int, ...]) -> Spot:
        """The window of that number along each axis of `order`."""
        start, shared, final = [0, 0, 0], [0, 0, 0], [0, 0, 0]
        for axis, number in zip(order, position, strict=True):
            line, roi = places.starts[axis], places.roi[axis]
            start[axis] = line[number]
            shared[axis] = line[number - 1] + roi - line[number] if number else 0
            final[axis] = line[number + 1] - line[number] if number + 1 < len(line) else roi
        return cls(three(start), three(shared), three(final))


class _Open:
    """Sums that later windows still add to: those of the next layer, of the next row and of the next window.

    A window's sums are completed in that order's reverse: what it shares with the window before, then (of what no later
    window of its row adds to) with the row before, then (of what no later row adds to) with the layer before.
    """

    def __init__(self, channels: int, places: Plan, order: Order) -> None:
        self._roi, self._order = places.roi, order
        self._kept = [
            np.empty((channels, *_open_shape(places, order, place)), dtype=np.float32) for place in range(len(order))
        ]

    def close(self, channels: slice, sums: Array, spot: Spot, cut: slice) -> Array:
        """Complete a slice of a window.

        Parameters
        ----------
        channels
            Which.
        sums
            Their weighted values in the slice; changed.
        spot
            The window.
        cut
            The slice, along the axis that changes most often, in voxels of the window: wholly final along it, or not
            at all. Slices come in ascending order.

        Returns
        -------
        ndarray
            What is final along all axes: a view of `sums`, empty when nothing is.
        """
        fast = self._order[2]
        shared = min(cut.stop, spot.shared[fast])
        if cut.start < shared:
            here, there = [slice(None)] * 3, [slice(None)] * 3
            here[fast], there[fast] = slice(0, shared - cut.start), slice(cut.start, shared)
            sums[:, *here] += self._kept[2][channels, *there]
        if cut.start >= spot.final[fast]:
            there = [slice(None)] * 3
            there[fast] = slice(cut.start - spot.final[fast], cut.stop - spot.final[fast])
            self._kept[2][channels, *there] = sums
            return sums[:, :0]
        for place in (1, 0):
            shared = spot.shared[self._order[place]]
            if shared:
                here, there = self._regions(place, spot, cut, slice(0, shared), slice(0, shared))
                sums[:, *here] += self._kept[place][channels, *there]
        for place in (1, 0):
            axis = self._order[place]
            final, roi = spot.final[axis], self._roi[axis]
            if final < roi:
                here, there = self._regions(place, spot, cut, slice(final, roi), slice(0, roi - final))
                self._kept[place][channels, *there] = sums[:, *here]
        return sums[:, *(slice(None) if axis == fast else slice(0, length) for axis, length in enumerate(spot.final))]

    def _regions(self, place: int, spot: Spot, cut: slice, own: slice, kept: slice) -> tuple[list[slice], list[slice]]:
        here, there = [slice(None)] * 3, [slice(None)] * 3
        for other, axis in enumerate(self._order):
            if other == place:
                here[axis], there[axis] = own, kept
            elif other == 2:
                there[axis] = slice(spot.start[axis] + cut.start, spot.start[axis] + cut.stop)
            elif other > place:
                here[axis] = slice(0, spot.final[axis])
                there[axis] = slice(spot.start[axis], spot.start[axis] + spot.final[axis])
        return here, there


class Blender:
    """Takes windows in order and gives blocks.

    Parameters
    ----------
    channels
        Of the network's answer.
    places, order, weight
        Where the windows lie, in which order they come, and the weight of each of their voxels.
    margin
        Voxels of room before each block.
    pool
        Of as many threads as this process may use.
    """

    def __init__(
        self, channels: int, places: Plan, order: Order, weight: Array, margin: int, pool: ThreadPoolExecutor
    ) -> None:
        self._places, self._fast, self._weight, self._margin, self._pool = places, order[2], weight, margin, pool
        self._sums, self._counts = _Open(channels, places, order), _Open(1, places, order)
        self._step = _thickness(places, order, channels, margin)
        room = [(self._step if axis == self._fast else length) + margin for axis, length in enumerate(places.roi)]
        self._room = np.empty((channels, *room), dtype=np.float32)
        few = _scratch_channels(places, order, channels, self._step)
        self._chunks = [slice(low, min(low + few, channels)) for low in range(0, channels, few)]
        self._free: SimpleQueue[Array] = SimpleQueue()
        for _ in range(threads()):
            self._free.put(np.empty(few * _sliced(places.roi, self._fast, self._step), dtype=np.float32))

    def add(self, answer: Array, spot: Spot) -> Iterator[Block]:
        """Blend the answer (channel, x, y, z) to a window. It must hold until the last block was taken."""
        final, roi = spot.final[self._fast], self._places.roi[self._fast]
        cuts = [slice(low, min(low + self._step, final)) for low in range(0, final, self._step)]
        cuts += [slice(low, min(low + self._step, roi)) for low in range(final, roi, self._step)]
        for cut in cuts:
            self._blend(answer, spot, cut)
            block = self._block(spot, cut)
            if cut.start < final and all(low < high for low, high in zip(block.start, block.stop, strict=True)):
                yield block

    def _blend(self, answer: Array, spot: Spot, cut: slice) -> None:
        part = tuple(cut if axis == self._fast else slice(None) for axis in range(3))
        weight = self._weight[part]
        count = self._counts.close(slice(0, 1), weight[None].copy(), spot, cut)

        def blend(channels: slice) -> None:
            scratch = self._free.get()
            shape = (channels.stop - channels.start, *weight.shape)
            weighted = scratch[: math.prod(shape)].reshape(shape)
            np.multiply(answer[channels, *part], weight, out=weighted, casting="same_kind")
            sums = self._sums.close(channels, weighted, spot, cut)
            if sums.size:
                inside = (slice(self._margin, self._margin + length) for length in sums.shape[1:])
                np.divide(sums, count, out=self._room[channels, *inside])
            self._free.put(scratch)

        list(self._pool.map(blend, self._chunks))

    def _block(self, spot: Spot, cut: slice) -> Block:
        """What of a slice lies in the image, without its padding."""
        start, stop, inside = [], [], []
        for axis, (before, voxels) in enumerate(zip(self._places.before, self._places.image, strict=True)):
            own = cut if axis == self._fast else slice(0, spot.final[axis])
            first = spot.start[axis] + own.start - before
            low, high = max(-first, 0), min(voxels - first, own.stop - own.start)
            start.append(first + low)
            stop.append(first + high)
            inside.append(slice(low, max(high, low) + self._margin))
        return Block(three(start), three(stop), self._room[:, *inside], self._margin)


def _thickness(places: Plan, order: Order, channels: int, margin: int) -> int:
    """Voxels of a slice along the axis that changes most often, so that its room stays small."""
    across = math.prod(length + margin for axis, length in enumerate(places.roi) if axis != order[2])
    fitting = _ROOM_BYTES // (4 * channels * across) - margin
    return min(places.roi[order[2]], max(_SLICE_MIN, fitting))


def _scratch_channels(places: Plan, order: Order, channels: int, thickness: int) -> int:
    return min(channels, max(1, _CHUNK_BYTES // (4 * _sliced(places.roi, order[2], thickness))))


def _sliced(roi: Size, fast: int, thickness: int) -> int:
    return math.prod(thickness if axis == fast else length for axis, length in enumerate(roi))


def _open_shape(places: Plan, order: Order, place: int, thickness: int | None = None) -> list[int]:
    shape = [0, 0, 0]
    for other, axis in enumerate(order):
        alike = places.roi[axis] if other < place else places.size[axis]
        own = places.overlap_max(axis) if thickness is None else thickness
        shape[axis] = own if other == place else alike
    return shape


def _open_voxels(places: Plan, order: Order, thickness: int | None = None) -> int:
    return sum(math.prod(_open_shape(places, order, place, thickness)) for place in range(3))


def threads() -> int:
    """As many as this process may use."""
    return len(os.sched_getaffinity(0))


def three(values: Sequence[int] | npt.NDArray[np.int_]) -> Size:
    """Whole numbers along (x, y, z)."""
    x, y, z = (int(value) for value in values)
    return (x, y, z)
