"""Planes of a volume as a radiologist looks at them: the patient's right on the left, the head up, faces to the left.

The volume's own axes are matched to the body's by their nearest direction; nothing is resampled but the picture's
aspect.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clinic.refusals import NoPlane
from inference.volume import Volume

PICTURE_PIXELS_MAX = 1024
_HU_WINDOW = (40.0, 400.0)
_SAMPLES = 200_000
Pixels = npt.NDArray[Any]
Bits = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]


class Plane(StrEnum):
    """The three planes of the body; of planar images there is only the image itself."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    FRAME = "frame"


BODY_PLANES = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)

_LEFT, _BACK, _HEAD = 0, 1, 2
_LAYOUT: dict[Plane, tuple[int, int, int, bool]] = {
    Plane.AXIAL: (_HEAD, _BACK, _LEFT, False),
    Plane.CORONAL: (_BACK, _HEAD, _LEFT, True),
    Plane.SAGITTAL: (_LEFT, _HEAD, _BACK, True),
}
"""Body axis that counts the planes, the one that runs down, the one that runs right, and whether down is reversed."""


@dataclass(frozen=True, slots=True)
class Body:
    """Which axis of the array runs along which axis of the body.

    Attributes
    ----------
    axes
        For L, P, S: the axis of the array (z, y, x) that is nearest.
    forward
        For each, whether the index grows towards L, P, S.
    spacing_mm
        For each, the distance of voxel centres.
    """

    axes: tuple[int, int, int]
    forward: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, affine: npt.NDArray[np.float64]) -> Body:
        """The body axes of a volume.

        Parameters
        ----------
        affine
            (4, 4), index (x, y, z, 1) to LPS millimetres.
        """
        steps = affine[:3, 2::-1]
        spacing = np.linalg.norm(steps, axis=0)
        cosines = steps / spacing
        best = max(permutations(range(3)), key=lambda order: sum(abs(cosines[body, order[body]]) for body in range(3)))
        forward = tuple(bool(cosines[body, best[body]] > 0) for body in range(3))
        return cls(
            (best[0], best[1], best[2]),
            (forward[0], forward[1], forward[2]),
            (float(spacing[best[0]]), float(spacing[best[1]]), float(spacing[best[2]])),
        )


@dataclass(frozen=True, slots=True)
class PlaneCount:
    """How many planes of a kind there are, and how far apart.

    Attributes
    ----------
    plane, count
        Which, how many. Axial ones count from the feet up, coronal ones from front to back, sagittal ones from right to
        left; planar images in their order.
    spacing_mm
        Distance of neighbouring planes.
    width_mm, height_mm
        Size of one picture.
    """

    plane: Plane
    count: int
    spacing_mm: float
    width_mm: float
    height_mm: float


def counts(volume: Volume) -> tuple[PlaneCount, ...]:
    """The planes that a volume has."""
    if volume.planar:
        frames, rows, columns = volume.array.shape
        x, y, step = volume.spacing_mm
        return (PlaneCount(Plane.FRAME, frames, step, columns * x, rows * y),)
    body = Body.of(volume.affine)
    size = [volume.array.shape[axis] for axis in body.axes]
    found = []
    for plane, (across, down, right, _) in _LAYOUT.items():
        spacing = body.spacing_mm
        found.append(
            PlaneCount(plane, size[across], spacing[across], size[right] * spacing[right], size[down] * spacing[down])
        )
    return tuple(found)


def slice_of(volume: Volume, plane: Plane, index: int) -> tuple[Pixels, tuple[float, float]]:
    """One plane of a volume, or one planar image. As `cut`; also raises `NoPlane` when it has none of that kind."""
    if volume.planar != (plane is Plane.FRAME):
        raise NoPlane(count=0)
    if not volume.planar:
        return cut(volume.array, volume.affine, plane, index)
    if not 0 <= index < len(volume.array):
        raise NoPlane(count=len(volume.array))
    x, y, _ = volume.spacing_mm
    return volume.array[index], (y, x)


def cut(array: Pixels, affine: npt.NDArray[np.float64], plane: Plane, index: int) -> tuple[Pixels, tuple[float, float]]:
    """One plane of an array.

    Returns
    -------
    tuple
        The pixels, rows from top to bottom and columns from left to right of the picture; and the distance of rows and
        of columns in millimetres.

    Raises
    ------
    NoPlane
        If there is none of that index.
    """
    body = Body.of(affine)
    across, down, right, upside = _LAYOUT[plane]
    count = array.shape[body.axes[across]]
    if not 0 <= index < count:
        raise NoPlane(count=count)
    place = index if body.forward[across] else count - 1 - index
    picture = np.take(array, place, axis=body.axes[across])
    if body.axes[down] > body.axes[right]:
        picture = picture.T
    if body.forward[down] == upside:
        picture = picture[::-1]
    if not body.forward[right]:
        picture = picture[:, ::-1]
    return picture, (body.spacing_mm[down], body.spacing_mm[right])


def middle(mask: Pixels, affine: npt.NDArray[np.float64], *others: Pixels) -> dict[Plane, int]:
    """For each plane the index through the middle of masks or labels together; of the array if all are empty.

    Parameters
    ----------
    mask, others
        (z, y, x): 0 is outside.
    affine
        Of the volume.
    """
    body = Body.of(affine)
    seen = np.zeros(mask.shape[1:], np.bool_)
    depths = np.zeros(len(mask), np.bool_)
    for array in (mask, *others):
        for z, layer in enumerate(array):
            inside = layer.astype(np.bool_, copy=False)
            if inside.any():
                depths[z] = True
                seen |= inside
    filled = [np.flatnonzero(line) for line in (depths, seen.any(axis=1), seen.any(axis=0))]
    found = {}
    for plane, (across, _, _, _) in _LAYOUT.items():
        axis = body.axes[across]
        ends = filled[axis]
        place = int(ends[0] + ends[-1]) // 2 if len(ends) else mask.shape[axis] // 2
        found[plane] = place if body.forward[across] else mask.shape[axis] - 1 - place
    return found


def window_of(volume: Volume) -> tuple[float, float]:
    """A grey window (centre, width) to begin with: soft tissue for Hounsfield units, planar images as they are, else the 1
    to 99.5 percentiles.
    """
    if volume.planar:
        white = float(np.iinfo(volume.array.dtype).max)
        return (white / 2, white)
    if volume.unit == "HU":
        return _HU_WINDOW
    flat = volume.array.reshape(-1)
    low, high = np.percentile(flat[:: max(1, flat.size // _SAMPLES)], (1.0, 99.5))
    return (float(low + high) / 2, max(float(high - low), 1.0))


def picture(
    pixels: Pixels,
    spacing_mm: tuple[float, float],
    window: tuple[float, float],
    shown: Iterable[tuple[Bits, Colour]] = (),
    fill: float = 0.25,
) -> Image.Image:
    """A plane as a picture with square pixels, each mask tinted and outlined in its colour.

    Parameters
    ----------
    pixels, spacing_mm
        As `cut` gives them.
    window
        Centre and width (PS3.3 C.11.2.1.2).
    shown
        Masks of the same shape and their colours; a later one lies over an earlier one.
    fill
        How strongly the inside is tinted, 0 to 1.
    """
    centre, width = window
    low = centre - width / 2
    grey = np.clip((pixels.astype(np.float32) - low) * (255.0 / width), 0, 255).astype(np.uint8)
    size = _square(pixels.shape, spacing_mm)
    plain = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    colours: npt.NDArray[np.float32] | None = None
    for mask, colour in shown:
        if not mask.any():
            continue
        colours = np.asarray(plain).astype(np.float32) if colours is None else colours
        _tint(colours, mask, np.array(colour, np.float32), fill)
    return plain if colours is None else Image.fromarray(colours.astype(np.uint8))


def labelled(labels: Pixels, colours: Mapping[int, Colour]) -> Iterator[tuple[Bits, Colour]]:
    """The masks of a plane of segment numbers, and their colours, as `picture` takes them; nothing for 0."""
    for number in np.unique(labels).tolist():
        if number in colours:
            yield labels == number, colours[number]


def _tint(colours: npt.NDArray[np.float32], mask: Bits, tint: npt.NDArray[np.float32], fill: float) -> None:
    """Draw one mask, of the plane's shape, into a picture (height, width, 3)."""
    height, width = colours.shape[:2]
    spread = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    inside = np.asarray(spread) > 127
    colours[inside] += fill * (tint - colours[inside])
    colours[inside & ~_eroded(inside)] = tint


def png(shown: Image.Image) -> bytes:
    """A picture as a PNG file."""
    target = io.BytesIO()
    shown.save(target, "PNG", compress_level=1)
    return target.getvalue()


def _square(shape: tuple[int, ...], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """Width and height in pixels that are square, no finer than the finer spacing and no larger than the limit."""
    height_mm, width_mm = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    pixel_mm = max(min(spacing_mm), max(height_mm, width_mm) / PICTURE_PIXELS_MAX)
    return max(1, round(width_mm / pixel_mm)), max(1, round(height_mm / pixel_mm))


def _eroded(mask: Bits) -> Bits:
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return inner
