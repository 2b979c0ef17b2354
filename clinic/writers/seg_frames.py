"""The frames of a Segmentation: their functional groups (PS3.3 A.51.5), their pixels, and the check of their places.

Each frame lies in a plane of the source, whatever was done to make a Volume of it. Before an object is handed on, the
place of every frame is read back out of what was encoded, and the place of every voxel is compared between the plane it
is written to and the Volume it was found in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from clinic.gaps import POSITION_TOLERANCE, POSITION_TOLERANCE_MM
from clinic.geometry import COSINE_TOLERANCE, SPACING_TOLERANCE, SourcePlane
from clinic.refusals import MisplacedFrame
from clinic.writers import encode
from clinic.writers.seg_layers import Bits, Layers
from clinic.writers.source import Source

TOLERANCE_MM = 1e-3
GROUP_ELEMENTS_MAX = 28
"""How many elements and items the functional groups of one frame have at most."""

_HALF_VOXEL = 0.5 + 1e-3
_PURPOSE = encode.code(0x0040A170, "121322", "DCM", "Source image for image processing operation")
_SEGMENTED = encode.code(0x00089215, "113076", "DCM", "Segmentation")
_POSITION_HEAD = encode.element(0x00200032, "DS", b"")[:6]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes
    ----------
    segment
        Segment number from 1; 0 for a frame of all segments.
    k
        Plane of the source, from 0.
    place
        Place among the planes that have frames, from 1.
    """

    segment: int
    k: int
    place: int


def binary_frames(in_planes: Sequence[tuple[int, ...]], count: int) -> list[Frame]:
    """One frame for each segment and plane that holds it, segment by segment.

    Without any voxel there is one empty frame in the middle, since an object without frames is none.
    """
    filled = [k for k, numbers in enumerate(in_planes) if numbers]
    planes: dict[int, list[tuple[int, int]]] = {number: [] for number in range(1, count + 1)}
    for place, k in enumerate(filled, start=1):
        for number in in_planes[k]:
            planes[number].append((k, place))
    found = [Frame(number, k, place) for number, held in planes.items() for k, place in held]
    return found or [Frame(1, len(in_planes) // 2, 1)]


def label_map_frames(in_planes: Sequence[tuple[int, ...]]) -> list[Frame]:
    """One frame for each plane from the first to the last that holds anything; one in the middle when none does."""
    filled = [k for k, numbers in enumerate(in_planes) if numbers] or [len(in_planes) // 2]
    return [Frame(0, k, place) for place, k in enumerate(range(filled[0], filled[-1] + 1), start=1)]


def group(frame: Frame, source: Source, how: bytes = _SEGMENTED) -> bytes:
    """The functional groups of one frame; `how` is the Derivation Code Sequence (0008,9215), encoded."""
    index = (frame.segment, frame.place) if frame.segment else (frame.place,)
    parts = [
        derivation(source.grid.planes[frame.k], how),
        encode.sequence(0x00209111, encode.unsigned(0x00209157, *index)),
        encode.sequence(0x00209113, encode.decimals(0x00200032, source.grid.planes[frame.k].position.tolist())),
    ]
    if frame.segment:
        parts.append(encode.sequence(0x0062000A, encode.short(0x0062000B, frame.segment)))
    return b"".join(parts)


def derivation(plane: SourcePlane, how: bytes) -> bytes:
    """The Derivation Image group of a frame that was made of an image of the source.

    Parameters
    ----------
    plane
        The image.
    how
        Derivation Code Sequence (0008,9215), encoded.
    """
    image = [encode.words(0x00081150, "UI", plane.row.sop_class), encode.words(0x00081155, "UI", plane.row.sop_uid)]
    if plane.frame:
        image.append(encode.words(0x00081160, "IS", str(plane.frame)))
    image += [encode.words(0x0028135A, "CS", "YES"), _PURPOSE]
    return encode.sequence(0x00089124, encode.sequence(0x00082112, b"".join(image)) + how)


def packed_size_bytes(frames: Sequence[Frame], source: Source) -> int:
    """How long the pixels of BINARY frames are, without the padding."""
    _, rows, columns = source.grid.stack_shape
    return -(-len(frames) * rows * columns // 8)


def packed(frames: Sequence[Frame], layers: Layers, source: Source) -> Iterator[bytes]:
    """Frames as bits, first pixel in the least significant bit, without gaps between frames (PS3.5 section 8.1.1)."""
    left: Bits = np.zeros(0, np.bool_)
    for frame in frames:
        bits = layers.bits(source, frame.segment, frame.k).reshape(-1)
        if len(left):
            bits = np.concatenate((left, bits))
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
        left = bits[whole:]
    if len(left):
        yield np.packbits(left, bitorder="little").tobytes()


def numbered(frames: Sequence[Frame], layers: Layers, source: Source) -> Iterator[memoryview]:
    """Frames as segment numbers, little-endian, row by row."""
    little = layers.dtype.newbyteorder("<")
    for frame in frames:
        yield np.ascontiguousarray(layers.plane(source, frame.k), little).data


def check_places(content: bytes, groups: Sequence[bytes], frames: Sequence[Frame], source: Source) -> None:
    """Read each frame's position back, and compare the place of each of its voxels in source and Volume.

    Parameters
    ----------
    content
        The value of the Per-Frame Functional Groups Sequence.
    groups
        What it is made of, one for each frame.
    frames, source
        What they stand for.

    Raises
    ------
    MisplacedFrame
        If a frame is off its plane by more than 1e-3 mm; if a plane is off the Volume's affine by more than
        `clinic.geometry` lets a slice be; or, where planes were straightened, if a voxel of the source is not within
        half a voxel of the Volume's voxel that it was taken from.
    """
    assert len(content) == sum(len(group) + 8 for group in groups), "every frame has its item"
    planes = [source.grid.planes[frame.k] for frame in frames]
    written = np.array([_position(group) for group in groups])
    stored = np.array([plane.position for plane in planes])
    if float(np.linalg.norm(written - stored, axis=1).max()) > TOLERANCE_MM:
        raise MisplacedFrame
    if source.grid.straightening is None:
        _check_slices(stored, np.array([frame.k for frame in frames]), source)
    else:
        _check_voxels(sorted({frame.k for frame in frames}), source)


def check_shared(shared: Dataset, source: Source) -> None:
    """Orientation and pixel spacing, which all frames share, are those of every plane of the source.

    Parameters
    ----------
    shared
        The item of the Shared Functional Groups Sequence.
    source
        The series.

    Raises
    ------
    MisplacedFrame
        If they move a voxel of the first plane by more than 1e-3 mm, or are not those of another plane within what
        `clinic.geometry` takes for equal.
    """
    told = np.array([float(item) for item in shared.PlaneOrientationSequence[0].ImageOrientationPatient]).reshape(2, 3)
    between = np.array([float(item) for item in shared.PixelMeasuresSequence[0].PixelSpacing])
    written = np.stack((told[0] * between[1], told[1] * between[0]), axis=1)
    moved = float(np.abs(written - in_plane(source)).max() * max(source.grid.stack_shape[1:]))
    turned = np.abs(np.array([plane.cosines for plane in source.grid.planes]) - told).max()
    scaled = np.abs(np.array([plane.spacing_mm for plane in source.grid.planes]) / between - 1).max()
    if moved > TOLERANCE_MM or turned > COSINE_TOLERANCE * 2 or scaled > SPACING_TOLERANCE * 2:
        raise MisplacedFrame


def in_plane(source: Source, k: int = 0) -> npt.NDArray[np.float64]:
    """(3, 2): one step along x and one along y of a plane of the source."""
    plane = source.grid.planes[k]
    between_rows, between_columns = plane.spacing_mm
    return np.stack((plane.cosines[0] * between_columns, plane.cosines[1] * between_rows), axis=1)


def _check_slices(stored: npt.NDArray[np.float64], depth: npt.NDArray[np.int64], source: Source) -> None:
    """Plane k is the Volume's slice k."""
    affine = source.volume.affine
    expected = affine[:3, 3] + depth[:, None] * affine[:3, 2]
    slack = max(POSITION_TOLERANCE * source.volume.spacing_mm[2], POSITION_TOLERANCE_MM)
    across = float(np.abs(in_plane(source) - affine[:3, :2]).max() * max(source.grid.stack_shape[1:]))
    if float(np.linalg.norm(stored - expected, axis=1).max()) > slack or across > TOLERANCE_MM:
        raise MisplacedFrame


def _check_voxels(planes: Sequence[int], source: Source) -> None:
    """Every pixel of a plane came from the nearest voxel of the Volume: asked of the cut itself, index by index."""
    shape = source.grid.shape
    forms = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
    indices = [np.broadcast_to(np.arange(size).reshape(form), shape) for size, form in zip(shape, forms, strict=True)]
    inverse = np.linalg.inv(source.volume.affine)
    _, rows, columns = source.grid.stack_shape
    for k in planes:
        z, y, x = (source.plane(index, k) for index in indices)
        steps = inverse[:3, :3] @ in_plane(source, k)
        start = inverse[:3, :3] @ source.grid.planes[k].position + inverse[:3, 3]
        column, row = np.arange(columns), np.arange(rows)[:, None]
        for found, axis in ((x, 0), (y, 1), (z, 2)):
            exact = start[axis] + steps[axis, 0] * column + steps[axis, 1] * row
            if found.shape != exact.shape or float(np.abs(found - exact).max()) > _HALF_VOXEL:
                raise MisplacedFrame


def _position(group: bytes) -> list[float]:
    start = group.index(_POSITION_HEAD)
    size = int.from_bytes(group[start + 6 : start + 8], "little")
    return [float(item) for item in group[start + 8 : start + 8 + size].decode("ascii").split("\\")]
