"""Whether images are of a brain without its skull, the form that networks of the BraTS family have learnt from.

Such networks saw co-registered images of 1 mm whose background is exactly zero. Of a head with its scalp they make
findings that look like any others, so whatever is not shown to be of that form is refused.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inference.errors import NotSkullStripped
from inference.geometry import Axes
from inference.volume import Volume, VolumeSet

BRAIN_ML = (500.0, 2_100.0)
"""What a whole brain with its fluid takes up, widely; a head with its scalp takes more."""

BACKGROUND_MIN = 0.2
"""Share of voxels that are exactly zero, at least."""

ALIKE_MIN = 0.85
"""Dice coefficient of what is not zero in one image and in the first, at least: they show the same brain in one place."""

RINGED_MAX = 0.5
"""Share of lines from outside that may pass a bright layer, then a dark one, then brain.

On the public T1 head 0.65 to 0.82 of them do, with its air set to zero, whole or cut off below; 0.19 once deepbet had
stripped it, 0.35 where that mask was widened by 4 mm.
"""

_DEPTH_MM, _LINE_MM_MIN = 30.0, 60.0
_SKULL_MM, _INNER_MM, _BEHIND_MM = (2.0, 14.0), 18.0, 12.0
_DARK, _DARK_BESIDE, _SCALP, _BRAIN = 0.25, 0.5, 0.6, 0.7
_SURFACE_SHARE_MAX = 0.02


def check_stripped(volumes: VolumeSet) -> None:
    """Refuse images that are not of a brain without its skull.

    Raises
    ------
    NotSkullStripped
        If the background of one is not exactly zero, or reaches too far into the edge of the image; if what is left is
        no brain's size; if the images do not show the same of it; or if most lines from outside pass a bright
        layer, a dark one and brain, as they do through scalp and skull.
    """
    first: npt.NDArray[np.bool_] | None = None
    for number, volume in enumerate(volumes.volumes):
        inside = volume.array != 0
        share = float(np.count_nonzero(inside)) / inside.size
        if 1.0 - share < BACKGROUND_MIN:
            raise NotSkullStripped("the background is not exactly zero", channel=number)
        size_ml = share * inside.size * volume.voxel_ml
        if not BRAIN_ML[0] <= size_ml <= BRAIN_ML[1]:
            raise NotSkullStripped("what is not background has not the size of a brain", channel=number)
        if _at_the_edge(inside) > _SURFACE_SHARE_MAX:
            raise NotSkullStripped("what is not background reaches the edge of the image", channel=number)
        if first is None:
            first = inside
        elif 2.0 * np.count_nonzero(first & inside) / (np.count_nonzero(first) + np.count_nonzero(inside)) < ALIKE_MIN:
            raise NotSkullStripped("the images do not show the same brain at the same place", channel=number)
        if _ringed(volume, inside) > RINGED_MAX:
            raise NotSkullStripped("a scalp lies around a skull", channel=number)


def _at_the_edge(inside: npt.NDArray[np.bool_]) -> float:
    """Share of what is not background that lies on the faces of the block."""
    faces = sum(int(inside.take(end, axis=axis).sum()) for axis in range(3) for end in (0, -1))
    return faces / max(1, int(np.count_nonzero(inside)))


def _ringed(volume: Volume, inside: npt.NDArray[np.bool_]) -> float:
    """Share of lines from outside, but for those from the feet, that pass a bright layer, a dark one and brain.

    Lines run along the axes closest to the patient's. In a head that is the scalp and the skull; in a stripped one the
    gyri and furrows of the surface, which only some lines meet in that order.
    """
    axes = Axes.of(volume.affine)
    values, there = axes.view(volume.array), axes.view(inside)
    crossed = ringed = 0
    for axis, from_behind in ((0, False), (0, True), (1, False), (1, True), (2, True)):
        step_mm = volume.spacing_mm[2 - axes.order[axis]]
        end = slice(None, None, -1 if from_behind else 1)
        lines, held = np.moveaxis(values, axis, 0)[end], np.moveaxis(there, axis, 0)[end]
        first = held.argmax(axis=0)
        rows, columns = np.nonzero((held.sum(axis=0) * step_mm > _LINE_MM_MIN) & (first > 0))
        depths = np.arange(round(_DEPTH_MM / step_mm))[:, None]
        places = np.minimum(first[rows, columns] + depths, len(lines) - 1)
        found = _passes(np.abs(lines[places, rows, columns].astype(np.float32)), step_mm)
        crossed, ringed = crossed + found.size, ringed + int(np.count_nonzero(found))
    return ringed / crossed if crossed else 1.0


def _passes(profiles: npt.NDArray[np.float32], step_mm: float) -> npt.NDArray[np.bool_]:
    """Which profiles, axes (depth, line), go from bright to dark and to bright again."""
    inner = np.median(profiles[round(_INNER_MM / step_mm) :], axis=0)
    before = np.maximum.accumulate(profiles, axis=0)
    reach = round(_BEHIND_MM / step_mm)
    found = np.zeros(profiles.shape[1], dtype=np.bool_)
    for depth in range(max(1, round(_SKULL_MM[0] / step_mm)), round(_SKULL_MM[1] / step_mm)):
        here, outer = profiles[depth], before[depth - 1]
        behind = profiles[depth + 1 : depth + 1 + reach].max(axis=0)
        dark = (here < _DARK * inner) & (outer > here / _DARK_BESIDE)
        found |= dark & (outer > _SCALP * inner) & (behind > _BRAIN * inner)
    return found
