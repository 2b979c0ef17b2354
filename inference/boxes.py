"""From a RetinaNet's maps to boxes, in numpy: anchors, decoding, selection, suppression. Equal to MONAI's, in float32.

Lin et al., Focal Loss for Dense Object Detection (ICCV 2017); the order of steps and of values is that of MONAI's
`RetinaNetDetector`, so that the same maps give the same boxes. Boxes are (low x, y, z, high x, y, z) in voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_GROWTH_MAX = np.float32(math.log(1000.0 / 16))
_EPSILON = np.finfo(np.float32).eps


@dataclass(frozen=True, slots=True)
class Choice:
    """Which boxes are kept.

    Attributes
    ----------
    score_least
        Only what scores more is a candidate.
    level_max
        Candidates of one level at most, the best.
    overlap_most
        A box that overlaps a better one of its class by more (intersection over union) is dropped.
    boxes_max
        Of one image.
    """

    score_least: float
    level_max: int
    overlap_most: float
    boxes_max: int


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """What was chosen, the best first.

    Attributes
    ----------
    corners
        float32 (n, 6): low x, y, z, high x, y, z in voxels.
    scores
        float32 (n,), 0 to 1.
    classes
        int64 (n,), from 0.
    """

    corners: Array
    scores: Array
    classes: npt.NDArray[np.int64]


def anchors(shapes: Array, grid: Sequence[int], stride: Sequence[int], where: npt.NDArray[np.int64]) -> Array:
    """Anchors of one level at some of its places.

    Parameters
    ----------
    shapes
        (anchors, 3): sizes of this level's anchors in voxels.
    grid
        Places of the level along (x, y, z).
    stride
        Voxels from one place to the next.
    where
        Which: numbers over (x, y, z, anchor), the last fastest.

    Returns
    -------
    ndarray
        float32 (len(where), 6).
    """
    half = shapes.astype(np.float32) / np.float32(2.0)
    cells = np.round(np.concatenate([-half, half], axis=1))
    x, y, z, kind = np.unravel_index(where, (*grid, len(shapes)))
    centres = np.stack([line * step + step // 2 for line, step in zip((x, y, z), stride, strict=True)], axis=1)
    return (np.tile(centres, 2).astype(np.float32) + cells[kind]).astype(np.float32)


def decoded(codes: Array, reference: Array) -> Array:
    """Boxes of regression values relative to anchors: centre in sizes of the anchor, size as a logarithm.

    Parameters
    ----------
    codes, reference
        float32 (n, 6).
    """
    size = reference[:, 3:] - reference[:, :3]
    centre = reference[:, :3] + np.float32(0.5) * size
    middle = codes[:, :3] * size + centre
    half = np.float32(0.5) * (np.exp(np.minimum(codes[:, 3:], _GROWTH_MAX)) * size)
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)


def chosen(
    scored: Sequence[Array],
    coded: Sequence[Array],
    shapes: Sequence[Array],
    size: Sequence[int],
    padded: Sequence[int],
    choice: Choice,
) -> Boxes:
    """The boxes of one image.

    Parameters
    ----------
    scored
        Of each level the logits, (anchors times classes, x, y, z).
    coded
        Of each level the regression values, (anchors times 6, x, y, z).
    shapes
        Of each level the sizes of its anchors, (anchors, 3).
    size, padded
        Voxels of the image, and of what the network was given, along (x, y, z).
    choice
        Which are kept.
    """
    found = [_of_level(*level, size, padded, choice) for level in zip(scored, coded, shapes, strict=True)]
    corners = np.concatenate([item.corners for item in found])
    scores = np.concatenate([item.scores for item in found])
    classes = np.concatenate([item.classes for item in found])
    kept = _suppressed(corners, scores, classes, choice)
    return Boxes(corners[kept], scores[kept], classes[kept])


def _of_level(
    scored: Array, coded: Array, shapes: Array, size: Sequence[int], padded: Sequence[int], choice: Choice
) -> Boxes:
    kinds, grid = len(shapes), scored.shape[1:]
    logits = _by_place(scored, kinds)
    with np.errstate(over="ignore"):
        scores = (np.float32(1.0) / (np.float32(1.0) + np.exp(-logits))).ravel()
    candidates = np.flatnonzero(scores > np.float32(choice.score_least))
    best = candidates[np.argsort(-scores[candidates], kind="stable")[: choice.level_max]]
    where, classes = np.divmod(best, logits.shape[1])
    stride = [length // places for length, places in zip(padded, grid, strict=True)]
    x, y, z, kind = np.unravel_index(where, (*grid, kinds))
    codes = coded.reshape(kinds, -1, *grid)[kind, :, x, y, z]
    corners = decoded(codes, anchors(shapes, grid, stride, where))
    clipped = np.clip(corners, 0.0, np.tile(np.asarray(size, dtype=np.float32), 2)).astype(np.float32)
    there = (clipped[:, 3:] >= clipped[:, :3] + np.float32(1.0)).all(axis=1)
    return Boxes(clipped[there], scores[best][there], classes[there].astype(np.int64))


def _by_place(values: Array, kinds: int) -> Array:
    """(kinds times classes, x, y, z) as (x y z kinds, classes)."""
    split = values.reshape(kinds, -1, *values.shape[1:])
    return np.ascontiguousarray(split.transpose(2, 3, 4, 0, 1)).reshape(-1, split.shape[1])


def _suppressed(corners: Array, scores: Array, classes: npt.NDArray[np.int64], choice: Choice) -> npt.NDArray[np.int64]:
    """Numbers of the boxes that no better one of their class covers, the best first."""
    order = np.argsort(-scores, kind="stable")
    apart = classes.astype(np.float32) * (corners.max(initial=0.0) + np.float32(1.0))
    left, boxes, picked = order, corners + apart[:, None], list[int]()
    while len(left) and len(picked) < choice.boxes_max:
        first, left = int(left[0]), left[1:]
        picked.append(first)
        left = left[_overlap(boxes[left], boxes[first]) <= np.float32(choice.overlap_most)]
    return np.asarray(picked, dtype=np.int64)


def _overlap(boxes: Array, one: Array) -> Array:
    """Intersection over union of each of `boxes` with `one`."""
    edges = np.minimum(boxes[:, 3:], one[3:]) - np.maximum(boxes[:, :3], one[:3])
    inner = np.prod(np.maximum(edges, np.float32(0.0)), axis=1)
    whole = np.prod(boxes[:, 3:] - boxes[:, :3], axis=1) + np.prod(one[3:] - one[:3]) - inner
    return np.asarray(inner / (whole + _EPSILON), dtype=np.float32)
