"""Where the image is on the screen of an ultrasound machine: a lit sector with straight sides before black.

Screens are looked at in blocks of a hundredth of their height, in which speckle is even and letters are small. Nothing here
reads text or knows a machine; a screen whose layout is known is recognised by its bars, which `Screen` describes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.components import keep_largest

Grey = npt.NDArray[Any]
"""(rows, columns), uint8 or uint16: 0 black, the type's maximum white."""

_BLOCKS = 96
_LIT = 5 / 255
_DARK = 12 / 255
_SHADOW = 20 / 255
_CALM = 10
_REACH = 2
_BEND = 0.8
_UPRIGHT = 0.35
_LEAN = 0.1


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of a frame, in pixels; it may reach beyond the frame, where black is taken.

    Attributes
    ----------
    top, bottom, left, right
        Half-open: rows `top` to `bottom` - 1, columns `left` to `right` - 1.
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (self.bottom - self.top, self.right - self.left)

    def of(self, frame: Grey) -> Grey:
        """The pixels, with black where the frame ends."""
        inside = frame[max(0, self.top) : self.bottom, max(0, self.left) : self.right]
        if inside.shape == self.shape:
            return inside
        canvas = np.zeros(self.shape, frame.dtype)
        top, left = max(0, -self.top), max(0, -self.left)
        canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return canvas


@dataclass(frozen=True, slots=True)
class Screen:
    """A machine's screen whose layout is known.

    Attributes
    ----------
    rows, columns
        Its size; in a stack of images of several sizes, black lies beyond.
    crop
        What the network was trained on: [top, bottom, left, right].
    bar
        Rectangle of the lit bar over the image, likewise, of which `bar_lit` is above black.
    margins
        Rectangles that are black on this screen.
    """

    rows: int
    columns: int
    crop: Crop
    bar: Crop
    bar_lit: float
    margins: tuple[Crop, ...]
    margin_dark: float

    @classmethod
    def of(cls, declared: dict[str, Any]) -> Screen:
        """From a bundle's configuration. Raises `KeyError`, `TypeError` or `ValueError`."""
        margins = tuple(_crop(row) for row in declared["margins"])
        crop, bar = _crop(declared["crop"]), _crop(declared["bar"])
        rows, columns = (int(size) for size in declared["size"])
        return cls(rows, columns, crop, bar, float(declared["bar_lit"]), margins, float(declared["margin_dark"]))

    def is_of(self, frame: Grey) -> bool:
        """Whether a frame is such a screen."""
        if frame.shape[0] < self.rows or frame.shape[1] < self.columns:
            return False
        if frame[self.rows :].any() or frame[:, self.columns :].any():
            return False
        dark = _DARK * np.iinfo(frame.dtype).max
        if float((self.bar.of(frame) > dark).mean()) < self.bar_lit:
            return False
        return all(float((margin.of(frame) <= dark).mean()) >= self.margin_dark for margin in self.margins)


@dataclass(frozen=True, slots=True)
class Sector:
    """What was found of a sector; lengths are shares of its height, areas shares of the frame.

    Attributes
    ----------
    box
        Around it.
    area
        Of its convex hull.
    filled
        Share of the hull that is lit.
    surround, surround_dark
        Area outside the hull, and the share of that which is black.
    left_side, right_side
        Longest straight stretch of either side that does not lean inwards on its way down.
    shadow
        Share of the hull's blocks that are nearly black: fluid, bone's shadow, the depth.
    grain
        Standard deviation by mean inside a block, such that a tenth of the lit blocks has less. Speckle is everywhere in an
        ultrasound image; photographs, radiographs and slices have calm places.
    """

    box: Crop
    area: float
    filled: float
    surround: float
    surround_dark: float
    left_side: float
    right_side: float
    shadow: float
    grain: float


def find_sector(frame: Grey) -> Sector | None:
    """The largest lit region of a frame after thin things (letters, scales, bars) are gone, or None."""
    size = max(1, min(frame.shape) // _BLOCKS)
    white = np.iinfo(frame.dtype).max
    blocks = _blocks(frame, size)
    grid: npt.NDArray[np.float64] = blocks.mean(axis=(1, 3), dtype=np.float64)
    lit = grid > _LIT * white
    region = np.ascontiguousarray(_opened(lit))[None]
    if not keep_largest(region):
        return None
    hull = _hull(region[0])
    inside = _inside(hull, grid.shape)
    outside = ~inside
    left, right = _sides(hull)
    (x0, y0), (x1, y1) = hull.min(axis=0), hull.max(axis=0)
    return Sector(
        box=Crop(int(y0) * size, int(y1) * size, int(x0) * size, int(x1) * size),
        area=float(inside.mean()),
        filled=float(lit[inside].mean()),
        surround=float(outside.mean()),
        surround_dark=float(1 - lit[outside].mean()) if outside.any() else 0.0,
        left_side=left,
        right_side=right,
        shadow=float((grid[inside] <= _SHADOW * white).mean()),
        grain=_grain(blocks, grid, inside & lit),
    )


def widened(box: Crop, shape: Sequence[int]) -> Crop:
    """The smallest rectangle of another one's proportions around a box, both around one centre.

    Parameters
    ----------
    box
        In pixels.
    shape
        (rows, columns) whose proportions are wanted.
    """
    rows, columns = box.shape
    wanted_rows = max(rows, round(columns * shape[0] / shape[1]))
    wanted_columns = max(columns, round(rows * shape[1] / shape[0]))
    top, left = box.top - (wanted_rows - rows) // 2, box.left - (wanted_columns - columns) // 2
    return Crop(top, top + wanted_rows, left, left + wanted_columns)


def _crop(row: Any) -> Crop:
    top, bottom, left, right = (int(value) for value in row)
    if not (0 <= top < bottom and 0 <= left < right):
        raise ValueError("a rectangle has no area")
    return Crop(top, bottom, left, right)


def _blocks(frame: Grey, size: int) -> Grey:
    """Axes (block row, row, block column, column)."""
    rows, columns = frame.shape[0] // size, frame.shape[1] // size
    return frame[: rows * size, : columns * size].reshape(rows, size, columns, size)


def _grain(blocks: Grey, means: npt.NDArray[np.float64], where: npt.NDArray[np.bool_]) -> float:
    chosen = blocks.transpose(0, 2, 1, 3)[where].astype(np.float32)
    return float(np.percentile(chosen.std(axis=(1, 2)) / means[where], _CALM))


def _opened(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Without what is narrower than five blocks."""
    eroded = _shifted(mask, np.logical_and, outside=False)
    return _shifted(eroded, np.logical_or, outside=False)


def _shifted(mask: npt.NDArray[np.bool_], combine: Any, outside: bool) -> npt.NDArray[np.bool_]:
    for axis in (0, 1):
        padded = np.pad(
            mask, [(_REACH, _REACH) if each == axis else (0, 0) for each in (0, 1)], constant_values=outside
        )
        length = mask.shape[axis]
        parts = [np.take(padded, range(start, start + length), axis) for start in range(2 * _REACH + 1)]
        mask = combine.reduce(parts)
    return mask


def _hull(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Convex hull of a region's blocks, corners (x, y) in order (A. M. Andrew's monotone chain)."""
    points: set[tuple[int, int]] = set()
    for y in np.flatnonzero(region.any(axis=1)):
        row = np.flatnonzero(region[y])
        points |= {(int(x), int(y) + down) for x in (row[0], row[-1] + 1) for down in (0, 1)}
    ordered = sorted(points)
    return np.array(_chain(ordered)[:-1] + _chain(ordered[::-1])[:-1], dtype=np.float64)


def _chain(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    chain: list[tuple[int, int]] = []
    for x, y in points:
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2], chain[-1]
            if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def _inside(hull: npt.NDArray[np.float64], shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Blocks that the hull touches with their centres, or nearly."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.ones(tuple(shape), dtype=np.bool_)
    for (x0, y0), (x1, y1) in zip(hull, np.roll(hull, -1, axis=0), strict=True):
        length = np.hypot(x1 - x0, y1 - y0)
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= -length
    return inside


def _sides(hull: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Longest straight stretches of the left and the right side, as shares of the height."""
    height = float(np.ptp(hull[:, 1]))
    middle = float(hull[:, 0].min() + hull[:, 0].max()) / 2
    longest = {"left": 0.0, "right": 0.0}
    for start in range(len(hull)):
        ring = np.roll(hull, -start, axis=0)
        end = ring[_straight(ring)]
        step = end - ring[0] if end[1] >= ring[0, 1] else ring[0] - end
        length = float(np.hypot(*step))
        if step[1] < _UPRIGHT * length:
            continue
        side = "left" if (ring[0, 0] + end[0]) / 2 < middle else "right"
        outwards = -step[0] if side == "left" else step[0]
        if outwards >= -_LEAN * length:
            longest[side] = max(longest[side], length / height)
    return longest["left"], longest["right"]


def _straight(ring: npt.NDArray[np.float64]) -> int:
    """Up to which corner the ring goes straight on from its first one, within a bend of less than a block."""
    last = 1
    for end in range(2, len(ring)):
        way = ring[end] - ring[0]
        between = ring[1:end] - ring[0]
        apart = np.abs(between[:, 0] * way[1] - between[:, 1] * way[0]) / max(float(np.hypot(*way)), 1e-9)
        if apart.max() > _BEND:
            break
        last = end
    return last
