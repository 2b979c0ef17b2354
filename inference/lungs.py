"""The lungs on a CT image by rule: after Hu, Hoffman and Reinhardt, IEEE Transactions on Medical Imaging 20:490-498 (2001).

As in that paper the threshold is found from the image, what is connected with the air around the patient is left out,
airways are followed and taken away, and left and right are parted where they touch. Two steps are simpler than there:
airways are followed plane by plane from the trachea down until they open into a lung, and touching lungs are parted by
thinning until two cores are left, from which each voxel is reached by the shorter way. There is no network, and equal
images give equal masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.airways import airways_of
from inference.body import Stack, body_of, optimal_threshold
from inference.components import Runs, fill_voids
from inference.errors import ImplausibleFindings, LungAbsent
from inference.findings import bounding_box
from inference.morphology import Mask, close, erode

NECK_MM = 3.0
CLOSING_MM = 3.0
"""Gaps in a lung, such as vessels, up to twice as wide are counted with it."""
PIECE_ML_MIN = 200.0
"""A smaller piece of enclosed air is taken for gas in a bowel or for a bulla of its own."""
GAS_HU = -965.0
"""What has a median below it is gas without tissue: even severe emphysema has less than half of its voxels there."""
PIECES_MAX = 8
BOTH_SIDES = 0.2
"""A piece with more than this share on the other side of the body is both lungs in one."""
CELL_MM = 3.0
CORE_SHARE_MIN = 0.15
THINNING_MAX = 8
_ROUNDS_MAX = 4_000


@dataclass(frozen=True, slots=True, eq=False)
class Lungs:
    """Where the lungs are, along the axes of the stack.

    Attributes
    ----------
    left, right
        Of the patient.
    threshold_hu
        What parted air from tissue.
    """

    left: Mask
    right: Mask
    threshold_hu: float


def lungs_of(stack: Stack) -> Lungs:
    """Find both lungs.

    Parameters
    ----------
    stack
        HU, of a chest; it is not changed.

    Raises
    ------
    AnatomyAbsent
        If there is no body.
    LungAbsent
        If no enclosed air is large enough and holds tissue.
    ImplausibleFindings
        `sides`: a lung is found on one side only.
    """
    threshold = optimal_threshold(stack.array)
    body = body_of(stack, threshold, NECK_MM)
    air = body & (stack.array < threshold)
    if not air.any():
        raise LungAbsent("the body encloses no air")
    middle = _middle(body)
    airways = airways_of(stack, air, body)
    air &= ~airways
    pieces = _pieces(stack, air)
    if not pieces:
        raise LungAbsent("no enclosed air is large enough to be a lung and holds lung tissue")
    sides: list[Mask | None] = [None, None]
    for piece, box in pieces:
        for side, part in enumerate(_parted(piece, box, middle, stack)):
            before = sides[side]
            if part is not None:
                sides[side] = part if before is None else before | part
    low, high = sides
    if low is None or high is None:
        raise ImplausibleFindings("a lung is found on one side of the body only", check="sides")
    del body, air
    closed = [_closed(part, stack) & ~airways for part in (low, high)]
    closed[1] &= ~closed[0]
    first, second = closed if stack.left_first else reversed(closed)
    return Lungs(first, second, threshold)


def _middle(body: Mask) -> float:
    """Index of the body's mid-plane along x: half of the body lies on each side."""
    columns = np.cumsum(np.count_nonzero(body, axis=(0, 1)))
    return float(np.searchsorted(columns, columns[-1] / 2))


Slices = tuple[slice, slice, slice]


def _pieces(stack: Stack, air: Mask) -> list[tuple[Mask, Slices]]:
    """Pieces of enclosed air that can be lung, the largest first, each in its box."""
    runs = Runs.of(air)
    if not len(runs.starts):
        return []
    labels = runs.components(diagonal=False)
    sizes = np.bincount(labels, weights=runs.ends - runs.starts)
    least = PIECE_ML_MIN / stack.volume.voxel_ml
    found = []
    for label in np.argsort(-sizes, kind="stable")[:PIECES_MAX]:
        if sizes[label] < least:
            break
        mask = np.zeros(air.shape, dtype=np.bool_)
        runs.paint(mask, labels == label, value=True)
        (z0, z1), (y0, y1), (x0, x1) = bounding_box(mask)
        box = (slice(z0, z1), slice(y0, y1), slice(x0, x1))
        piece = mask[box].copy()
        if float(np.median(stack.array[box][piece])) >= GAS_HU:
            found.append((piece, box))
    return found


def _parted(piece: Mask, box: Slices, middle: float, stack: Stack) -> tuple[Mask | None, Mask | None]:
    """What of a piece lies at low x, and what at high x, each of the stack's shape."""
    columns = np.count_nonzero(piece, axis=(0, 1))
    low_share = float(columns[: max(0, round(middle) - box[2].start)].sum()) / float(columns.sum())
    if BOTH_SIDES < low_share < 1 - BOTH_SIDES:
        parts = _two(piece, stack.spacing_mm)
        return _placed(parts[0], box, stack), _placed(parts[1], box, stack)
    whole = _placed(piece, box, stack)
    return (whole, None) if low_share >= 0.5 else (None, whole)


def _placed(part: Mask, box: Slices, stack: Stack) -> Mask:
    whole = np.zeros(stack.array.shape, dtype=np.bool_)
    whole[box] = part
    return whole


def _two(piece: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Mask, Mask]:
    """Two lungs that touch, the one at low x first. Raises `ImplausibleFindings`."""
    steps = [max(1, round(CELL_MM / step)) for step in spacing_mm]
    cells = _cells(piece, steps)
    cores = _cores(cells)
    grown = _grown(cells, cores)
    fine = grown
    for axis, step in enumerate(steps):
        fine = np.repeat(fine, step, axis=axis)
    z, y, x = piece.shape
    fine = fine[:z, :y, :x]
    one, other = piece & (fine == 1), piece & (fine == 2)
    at = [float(np.mean(np.flatnonzero(part.any(axis=(0, 1))))) for part in (one, other)]
    return (one, other) if at[0] <= at[1] else (other, one)


def _cells(piece: Mask, steps: list[int]) -> Mask:
    """Whether each block of voxels holds any of the piece."""
    padded = np.pad(piece, [(0, -size % step) for size, step in zip(piece.shape, steps, strict=True)])
    z, y, x = (size // step for size, step in zip(padded.shape, steps, strict=True))
    blocks = padded.reshape(z, steps[0], y, steps[1], x, steps[2])
    return np.asarray(blocks.any(axis=(1, 3, 5)))


def _cores(cells: Mask) -> npt.NDArray[np.uint8]:
    """Thin until two large components are left: labels 1 and 2."""
    padded = np.pad(cells, 1)
    for radius in range(1, THINNING_MAX + 1):
        core = erode(padded, (radius,) * 3)
        runs = Runs.of(core)
        if not len(runs.starts):
            break
        labels = runs.components(diagonal=False)
        sizes = np.bincount(labels, weights=runs.ends - runs.starts)
        order = np.argsort(-sizes, kind="stable")
        if len(order) > 1 and sizes[order[1]] >= CORE_SHARE_MIN * sizes.sum():
            marked = np.zeros(padded.shape, dtype=np.uint8)
            for number, label in enumerate(order[:2], start=1):
                part = np.zeros(padded.shape, dtype=np.bool_)
                runs.paint(part, labels == label, value=True)
                marked[part] = number
            return marked[1:-1, 1:-1, 1:-1]
    raise ImplausibleFindings("enclosed air on both sides of the body is not two lungs", check="sides")


def _grown(cells: Mask, cores: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Both cores grown through the cells, one face a round each; what neither reaches goes to the nearer side."""
    grown = np.pad(cores, 1)
    open_cells = np.pad(cells, 1) & (grown == 0)
    for _ in range(_ROUNDS_MAX):
        before = np.count_nonzero(open_cells)
        reached = grown.copy()
        for axis in range(3):
            for shift in (1, -1):
                moved = np.roll(grown, shift, axis=axis)
                np.copyto(reached, moved, where=open_cells & (reached == 0) & (moved > 0))
        grown, open_cells = reached, open_cells & (reached == 0)
        if np.count_nonzero(open_cells) == before:
            break
    inner = grown[1:-1, 1:-1, 1:-1].copy()
    left_over = cells & (inner == 0)
    centre = [float(np.mean(np.nonzero(cores == number)[2])) for number in (1, 2)]
    x = np.arange(cells.shape[2])
    nearer = np.where(abs(x - centre[0]) <= abs(x - centre[1]), 1, 2).astype(np.uint8)
    return np.where(left_over, nearer[None, None, :], inner).astype(np.uint8)


def _closed(part: Mask, stack: Stack) -> Mask:
    """With its vessels: gaps narrower than twice `CLOSING_MM`, and what is enclosed."""
    (z0, z1), (y0, y1), (x0, x1) = bounding_box(part)
    box = (slice(z0, z1), slice(y0, y1), slice(x0, x1))
    inner = close(part[box], stack.radii(CLOSING_MM))
    fill_voids(inner)
    whole = np.zeros(part.shape, dtype=np.bool_)
    whole[box] = inner
    return whole
