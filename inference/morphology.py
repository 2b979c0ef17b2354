"""Growing, shrinking and filling masks at the cost of a few passes, whatever the radius.

Structuring elements are boxes: the dilation by one is the union of shifted copies, and shifts of doubling length need only
as many passes as the logarithm of the box. The complement of a convex body is a union of boxes, so closing by a box
changes no convex body: what is closed are gaps and channels narrower than it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inference.components import Runs

Mask = npt.NDArray[np.bool_]


def dilate(mask: Mask, radii: Sequence[int]) -> Mask:
    """Every voxel with a set one in the box around it; what lies outside the array is not set.

    Parameters
    ----------
    mask
        bool, any axes; it is not changed.
    radii
        Half the box along each axis, without its centre: 0 leaves an axis alone.

    Returns
    -------
    array
        bool, of the mask's shape.
    """
    grown = mask
    for axis, radius in enumerate(radii):
        grown = _ahead(grown, axis, radius)
        grown = _ahead(grown[_reversed(axis, mask.ndim)], axis, radius)[_reversed(axis, mask.ndim)]
    return grown


def erode(mask: Mask, radii: Sequence[int]) -> Mask:
    """Every voxel whose box is set wholly; what lies outside the array counts as set. As `dilate` otherwise."""
    return ~dilate(~mask, radii)


def close(mask: Mask, radii: Sequence[int]) -> Mask:
    """Set gaps and channels narrower than a box of those radii. As `dilate` otherwise."""
    margins = [(radius, radius) for radius in radii]
    grown = dilate(np.pad(mask, margins), radii)
    inside = tuple(slice(radius, radius + size) for radius, size in zip(radii, mask.shape, strict=True))
    closed: Mask = erode(grown, radii)[inside]
    return closed | mask


def fill_planes(mask: Mask) -> None:
    """Set in place what is enclosed within a plane of the last two axes: no path over edges leads to the plane's rim."""
    runs = Runs.of(~mask)
    if not len(runs.starts):
        return
    labels = runs.components(diagonal=False, in_plane=True)
    open_labels = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
    open_labels[labels[_on_rim(runs)]] = True
    runs.paint(mask, ~open_labels[labels], value=True)


def _on_rim(runs: Runs) -> Mask:
    _, lines, length = runs.shape
    line, start = np.divmod(runs.starts % runs.plane, runs.line)
    on_rim: Mask = (line == 0) | (line == lines - 1) | (start == 0) | (start + runs.ends - runs.starts == length)
    return on_rim


def _ahead(mask: Mask, axis: int, radius: int) -> Mask:
    """Every voxel with a set one among itself and the next `radius` along an axis."""
    reached = 0
    while reached < radius:
        step = min(reached + 1, radius - reached)
        if step >= mask.shape[axis]:
            step = mask.shape[axis] - 1
        if step < 1:
            break
        grown = mask.copy()
        low = tuple(slice(0, -step) if other == axis else slice(None) for other in range(mask.ndim))
        high = tuple(slice(step, None) if other == axis else slice(None) for other in range(mask.ndim))
        np.logical_or(grown[low], mask[high], out=grown[low])
        mask, reached = grown, reached + step
    return mask


def _reversed(axis: int, axes: int) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1) if other == axis else slice(None) for other in range(axes))
