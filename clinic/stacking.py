"""Several series of one study as one payload: on the grid of the first, in the order of a network's channels."""

from __future__ import annotations

from collections.abc import Sequence

from clinic.refusals import OtherFrameOfReference
from clinic.writers.source import Source
from inference.onto import onto, same_grid
from inference.volume import Volume, VolumeSet


def stacked(sources: Sequence[Source]) -> VolumeSet:
    """The Volumes of several series on the grid of the first.

    Where all lie on it already their values are left as they are; else each is interpolated linearly. Nothing is
    registered: a patient who moved between two series has moved.

    Parameters
    ----------
    sources
        In order; the first is the principal one.

    Raises
    ------
    OtherFrameOfReference
        If one has another Frame of Reference UID (PS3.3 C.7.4.1) than the first, or none.
    """
    first = sources[0]
    frame = first.frame_of_reference_uid
    if not frame or any(other.frame_of_reference_uid != frame for other in sources[1:]):
        raise OtherFrameOfReference
    volumes = [source.volume for source in sources]
    grid, unit = volumes[0], volumes[0].unit
    if all(item.array.dtype == grid.array.dtype and same_grid(item, grid) for item in volumes):
        return VolumeSet(tuple(Volume(item.array, grid.affine, unit) for item in volumes))
    return VolumeSet(tuple(Volume(onto(item, grid), grid.affine, unit) for item in volumes))
