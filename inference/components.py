"""Connected components and voids by runs: as exact as labelling every voxel, at the cost of the runs alone.

A run is a stretch of set voxels along the last axis. Two runs touch when their lines are neighbours and their ends
overlap; the components of that graph are those of the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_VOXELS_PER_RUN_MIN = 28
"""Below this many voxels for each run a mask is noise, and labelling every voxel is cheaper than comparing runs."""
_EVERY = np.ones((3, 3, 3), dtype=np.bool_)
_EDGES = ((0, 1),)
_FACES = ((0, 1), (1, 0))
_ALL = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The runs of a mask, in a layout with one blank line after each plane and one blank voxel after each line.

    Attributes
    ----------
    shape
        Of the mask.
    starts, ends
        First position, and one past the last, in that layout; ascending.
    """

    shape: tuple[int, int, int]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, mask: npt.NDArray[np.bool_]) -> Runs:
        planes, lines, length = mask.shape
        padded = np.zeros((planes, lines + 1, length + 1), dtype=np.uint8)
        padded[:, :lines, :length] = mask
        flat = padded.ravel()
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        if flat[0]:
            edges = np.concatenate(([0], edges))
        return cls((planes, lines, length), edges[0::2], edges[1::2])

    @property
    def line(self) -> int:
        return self.shape[2] + 1

    @property
    def plane(self) -> int:
        return (self.shape[1] + 1) * self.line

    @property
    def are_many(self) -> bool:
        """Whether there are so many that labelling every voxel is cheaper."""
        return len(self.starts) * _VOXELS_PER_RUN_MIN > self.shape[0] * self.plane

    def components(self, *, diagonal: bool, in_plane: bool = False) -> npt.NDArray[np.int32]:
        """The component of each run, numbered from 0.

        Parameters
        ----------
        diagonal
            Whether voxels that share only an edge or a corner are connected (26 neighbours), or only faces (6).
        in_plane
            Whether planes are kept apart: each for itself, over faces (4 neighbours).
        """
        sources, targets = [], []
        for plane, line in _EDGES if in_plane else _ALL if diagonal else _FACES:
            shift = plane * self.plane + line * self.line
            first = np.searchsorted(self.ends, self.starts + shift, side="left" if diagonal else "right")
            past = np.searchsorted(self.starts, self.ends + shift, side="right" if diagonal else "left")
            counts = np.maximum(past - first, 0)
            source = np.repeat(np.arange(len(counts)), counts)
            within = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
            sources.append(source)
            targets.append(first[source] + within)
        rows, columns = np.concatenate(sources), np.concatenate(targets)
        graph = coo_array((np.ones(len(rows), dtype=np.bool_), (rows, columns)), shape=(len(self.starts),) * 2)
        return connected_components(graph, directed=False)[1]

    def on_border(self) -> npt.NDArray[np.bool_]:
        """Whether each run touches the surface of the array."""
        planes, lines, length = self.shape
        plane, rest = np.divmod(self.starts, self.plane)
        line, start = np.divmod(rest, self.line)
        end = start + self.ends - self.starts
        outer = (plane == 0) | (plane == planes - 1) | (line == 0) | (line == lines - 1)
        touching: npt.NDArray[np.bool_] = outer | (start == 0) | (end == length)
        return touching

    def paint(self, mask: npt.NDArray[np.bool_], which: npt.NDArray[np.bool_], *, value: bool) -> None:
        """Set the voxels of some runs in the mask."""
        starts, lengths = self.starts[which], (self.ends - self.starts)[which]
        offsets = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        plane, rest = np.divmod(np.repeat(starts, lengths) + offsets, self.plane)
        line, voxel = np.divmod(rest, self.line)
        mask[plane, line, voxel] = value


def keep_largest(mask: npt.NDArray[np.bool_]) -> int:
    """Clear all but the largest component (26 neighbours) in place; the first in memory order of several largest.

    Returns
    -------
    int
        Voxels of that component; 0 when the mask is empty.
    """
    runs = Runs.of(mask)
    if not len(runs.starts):
        return 0
    if runs.are_many:
        return _keep_largest_of_many(mask)
    labels = runs.components(diagonal=True)
    sizes = np.bincount(labels, weights=runs.ends - runs.starts)
    largest = int(np.argmax(sizes))
    runs.paint(mask, labels != largest, value=False)
    return int(sizes[largest])


def fill_voids(mask: npt.NDArray[np.bool_]) -> int:
    """Set in place every background voxel from which no path over faces leads to the surface of the array.

    Returns
    -------
    int
        How many voxels were set.
    """
    runs = Runs.of(~mask)
    if not len(runs.starts):
        return 0
    if runs.are_many:
        return _fill_voids_of_many(mask)
    labels = runs.components(diagonal=False)
    open_labels = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
    open_labels[labels[runs.on_border()]] = True
    closed = ~open_labels[labels]
    runs.paint(mask, closed, value=True)
    return int((runs.ends - runs.starts)[closed].sum())


def _keep_largest_of_many(mask: npt.NDArray[np.bool_]) -> int:
    labels, _ = ndimage.label(mask, structure=_EVERY)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = int(np.argmax(sizes))
    np.equal(labels, largest, out=mask)
    return int(sizes[largest])


def _fill_voids_of_many(mask: npt.NDArray[np.bool_]) -> int:
    labels, count = ndimage.label(~mask)
    closed = np.ones(count + 1, dtype=np.bool_)
    closed[0] = False
    for axis in range(3):
        for end in (0, -1):
            closed[np.take(labels, end, axis=axis)] = False
    voids = closed[labels]
    mask |= voids
    return int(np.count_nonzero(voids))
