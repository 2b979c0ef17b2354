"""Sliding windows that keep no more than what is still open: blended values leave block by block, each voxel once.

What is computed is what MONAI's `SlidingWindowInferer` computes: the same windows, the same weights, the same division.
MONAI holds the sums of every class over the whole image (16 GB for 105 classes on 239 x 239 x 667 voxels); here the
windows are passed in order, and after each one everything that no later window adds to leaves as a block. What is kept
is only the overlap with the next window, with the next row of windows and with the next layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, product
from typing import Literal, get_args

import numpy as np

from bithive.limits import WINDOWS_MAX
from inference._blending import Array, Blender, Block, Order, Plan, Size, Spot, holding_bytes, order_of, threads, three
from inference.errors import BundleRefused, UnsupportedVolume

__all__ = [
    "Array",
    "Block",
    "Network",
    "Order",
    "Plan",
    "Share",
    "Size",
    "Windows",
    "blending_bytes",
    "blocks",
    "importance",
    "order_of",
    "plan",
    "slabs",
]

Network = Callable[[Array], Array]
Share = Callable[[float], None]

PaddingMode = Literal["constant", "reflect", "replicate", "circular"]
_PADDINGS: dict[str, Literal["constant", "reflect", "edge", "wrap"]] = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
_WEIGHT_MIN = 1e-3


@dataclass(frozen=True, slots=True)
class Windows:
    """How an image is covered, with the semantics of MONAI's `SlidingWindowInferer`.

    Attributes
    ----------
    roi_size
        Voxels of a window along (x, y, z); zero or less for all of the image.
    overlap
        Share of a window that the next one covers too, at least 0 and below 1, alike or axis by axis.
    mode
        `constant` weights all of a window alike, `gaussian` its middle more.
    sigma_scale
        Standard deviation of the Gaussian, as a share of the window.
    batch
        Windows that the network takes at once.
    padding_mode, cval
        How an image smaller than a window is filled up, half before and half behind, and the value for `constant`.
    across
        For a network of two dimensions, which takes (batch, channel, and the other two axes): the axis, 0, 1 or 2 for x,
        y or z, along which windows are one voxel thick. What MONAI's `SliceInferer` calls `spatial_dim`.

    Raises
    ------
    BundleRefused
        If a value is out of range.
    """

    roi_size: Size
    overlap: float | tuple[float, float, float] = 0.25
    mode: Literal["constant", "gaussian"] = "constant"
    sigma_scale: float | tuple[float, float, float] = 0.125
    batch: int = 1
    padding_mode: PaddingMode = "constant"
    cval: float = 0.0
    across: int | None = None

    def __post_init__(self) -> None:
        plain = len(self.roi_size) == 3 and self.batch >= 1 and math.isfinite(self.cval)
        known = self.mode in ("constant", "gaussian") and self.padding_mode in get_args(PaddingMode)
        if not (plain and known and all(0.0 <= share < 1.0 for share in each(self.overlap))):
            raise BundleRefused("the windows of its inferer are out of range")
        if self.across is not None and (self.across not in (0, 1, 2) or self.roi_size[self.across] != 1):
            raise BundleRefused("the windows of a network of two dimensions are not one voxel thick")
        if not all(0.0 < share < 100.0 for share in each(self.sigma_scale)):
            raise BundleRefused("the windows of its inferer are weighted out of range")


def plan(size: Sequence[int], windows: Windows) -> Plan:
    """Place the windows on an image of that size (x, y, z).

    Raises
    ------
    UnsupportedVolume
        If there would be more than a node shall run.
    """
    lines, padded, rois, before = [], [], [], []
    for voxels, wanted, share in zip(size, windows.roi_size, each(windows.overlap), strict=True):
        roi = int(wanted) if wanted > 0 else int(voxels)
        whole = max(int(voxels), roi)
        step = roi if roi == whole else max(int(roi * (1.0 - share)), 1)
        count = -(-(whole - roi) // step) + 1
        lines.append(tuple(min(number * step, whole - roi) for number in range(count)))
        padded.append(whole)
        rois.append(roi)
        before.append((whole - int(voxels)) // 2)
    made = Plan(three(size), three(padded), three(rois), three(before), (lines[0], lines[1], lines[2]))
    if made.count > WINDOWS_MAX:
        raise UnsupportedVolume("its inferer makes too many windows of this volume", windows_max=WINDOWS_MAX)
    return made


def importance(windows: Windows, roi: Size) -> Array:
    """The weight of each voxel of a window, axes (x, y, z): at least a thousandth, so that nothing is divided by 0."""
    if windows.mode == "constant":
        return np.ones(roi, dtype=np.float32)
    weight = np.ones((1, 1, 1), dtype=np.float32)
    for axis, (length, share) in enumerate(zip(roi, each(windows.sigma_scale), strict=True)):
        steps = np.arange(length, dtype=np.float32) - np.float32((length - 1) / 2.0)
        line = np.exp(steps**2 / np.float32(-2.0 * (length * share) ** 2), dtype=np.float32)
        weight = weight * line.reshape([length if other == axis else 1 for other in range(3)])
    return np.maximum(weight, np.float32(max(float(weight.min()), _WEIGHT_MIN)))


def blending_bytes(size: Sequence[int], windows: Windows, channels: int, margin: int = 0) -> int:
    """The most that `blocks` holds for an image of that size (x, y, z), without the image and the network's answer."""
    places = plan(size, windows)
    return holding_bytes(places, channels, margin) + 4 * (windows.batch + 2) * math.prod(places.roi)


def blocks(
    image: Array,
    network: Network,
    windows: Windows,
    order: Order | None = None,
    margin: int = 0,
    progress: Share = lambda _share: None,
) -> Iterator[Block]:
    """Run the network over an image and blend its answers.

    Parameters
    ----------
    image
        float32, axes (channel, x, y, z).
    network
        Called with (batch, channel, x, y, z), always of the same shape, without the axis `across` where the windows have
        one; its answer is not kept.
    windows
        How the image is covered.
    order
        Axes, the one that changes least often first; the one with the least memory when None.
    margin
        Voxels of room before each block.
    progress
        Called after each batch with the share of windows that are done.

    Yields
    ------
    Block
        Every voxel of the image in exactly one, in ascending order along the axes of `order`. Each holds until the
        next.

    Raises
    ------
    BundleRefused
        If the network answers with another shape than that of the window.
    """
    places = plan(image.shape[1:], windows)
    order = order_of(places) if order is None else order
    padded = _padded(image, places, windows)
    weight = importance(windows, places.roi)
    inputs = np.empty((windows.batch, image.shape[0], *places.roi), dtype=np.float32)
    blender: Blender | None = None
    done = 0
    positions = iter(product(*(range(len(places.starts[axis])) for axis in order)))
    with ThreadPoolExecutor(threads()) as pool:
        while spots := [Spot.at(places, order, position) for position in islice(positions, windows.batch)]:
            for slot in range(windows.batch):
                spot = spots[min(slot, len(spots) - 1)]
                inputs[slot] = padded[:, *_window(spot.start, places.roi)]
            answer = _answered(network, inputs, windows.across)
            if answer.ndim != 5 or answer.shape[0] < len(spots) or answer.shape[2:] != places.roi:
                raise BundleRefused("a network answers with another shape than that of its window")
            if blender is None:
                blender = Blender(answer.shape[1], places, order, weight, margin, pool)
            for slot, spot in enumerate(spots):
                yield from blender.add(answer[slot], spot)
            done += len(spots)
            progress(done / places.count)


def slabs(
    image: Array,
    network: Network,
    windows: Windows,
    axis: int | None = None,
    progress: Share = lambda _share: None,
) -> Iterator[tuple[int, int, Array]]:
    """The same as `blocks`, gathered to slabs that span the image across one axis.

    Parameters
    ----------
    image, network, windows, progress
        As `blocks` takes them.
    axis
        0, 1 or 2 for x, y or z; the longest when None.

    Yields
    ------
    tuple
        First and behind the last plane along `axis`, and the blended values, axes (channel, x, y, z), in order; every
        plane once.
    """
    size = image.shape[1:]
    axis = int(np.argmax(size)) if axis is None else axis
    order = order_of(plan(size, windows), axis)
    slab, low, high = np.empty((0, 0, 0, 0), dtype=np.float32), 0, 0
    for block in blocks(image, network, windows, order, 0, progress):
        if block.start[axis] >= high:
            if high:
                yield low, high, slab
            low, high = block.start[axis], block.stop[axis]
            shape = [high - low if other == axis else voxels for other, voxels in enumerate(size)]
            slab = np.empty((block.values.shape[0], *shape), dtype=np.float32)
        inside = [
            slice(start - low * (other == axis), stop - low * (other == axis))
            for other, (start, stop) in enumerate(zip(block.start, block.stop, strict=True))
        ]
        slab[:, *inside] = block.values
    yield low, high, slab


def each(value: float | Sequence[float]) -> tuple[float, float, float]:
    """One value for all axes, or one for each. Raises `BundleRefused` for another number of them."""
    values = (value,) * 3 if isinstance(value, int | float) else tuple(value)
    if len(values) != 3:
        raise BundleRefused("the windows of its inferer are not three-dimensional")
    return (float(values[0]), float(values[1]), float(values[2]))


def _answered(network: Network, inputs: Array, across: int | None) -> Array:
    if across is None:
        return network(inputs)
    answer = network(np.ascontiguousarray(inputs.squeeze(across + 2)))
    if answer.ndim != 4:
        raise BundleRefused("a network of two dimensions answers with other axes")
    return np.expand_dims(answer, across + 2)


def _padded(image: Array, places: Plan, windows: Windows) -> Array:
    widths = [
        (before, whole - voxels - before)
        for before, whole, voxels in zip(places.before, places.size, places.image, strict=True)
    ]
    if not any(high for _, high in widths):
        return image
    mode = _PADDINGS[windows.padding_mode]
    if mode == "constant":
        return np.pad(image, [(0, 0), *widths], mode=mode, constant_values=np.float32(windows.cval))
    return np.pad(image, [(0, 0), *widths], mode=mode)


def _window(start: Size, roi: Size) -> list[slice]:
    return [slice(first, first + length) for first, length in zip(start, roi, strict=True)]
