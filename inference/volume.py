"""Volume: an image as the network side knows it. An array never travels without its geometry.

Container (`application/x-bithive-volume`): magic `BHVOLUM1`, header length (uint32, little-endian), JSON header
{`affine`: 4 rows of 4, `dtype`, `shape`: [z, y, x], `unit`}, blanks up to a multiple of 64 bytes, then the array,
C-contiguous and little-endian, and nothing after it.

Several images of one geometry travel as a VolumeSet: magic `BHVOLSET`, the same header with `channels` beside the rest,
and the arrays one after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bithive.limits import PAYLOAD_BYTES_MAX, VOLUME_AXIS_VOXELS_MAX
from inference._frame import number, pack_header, unpack_header, whole
from inference.errors import BadVolume

MAGIC = b"BHVOLUM1"
SET_MAGIC = b"BHVOLSET"
CHANNELS_MAX = 8
DTYPES = ("int16", "uint16", "uint8", "float32")
DISPLAY = "display"
"""Unit of planar images: P-values (PS3.14), 0 black, the type's maximum white."""
UNITS = ("HU", "arbitrary", DISPLAY)

_KEYS = frozenset({"affine", "dtype", "shape", "unit"})
_SPACING_MM_MIN, _SPACING_MM_MAX = 1e-3, 1e3
_SKEW_MIN = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A three-dimensional image with its place in the patient, or planar images one behind the other.

    Planar images (a radiograph, ultrasound, a secondary capture) have the unit `display`: axes (frames, rows, columns),
    uint8 or uint16, an affine of diag(column spacing, row spacing, 1) that places nothing in a patient.

    Attributes
    ----------
    array
        Axes (z, y, x), C-contiguous; int16, uint16, uint8 or float32.
    affine
        (4, 4) float64: maps the index (x, y, z, 1) to LPS millimetres (PS3.3 C.7.6.2.1.1) of the voxel's centre.
    unit
        `HU` (Hounsfield units), `arbitrary` or `display`.

    Raises
    ------
    BadVolume
        When made of anything else: wrong axes, an empty or oversized array, an affine that is not finite or singular.
    """

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    unit: str

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or str(self.array.dtype) not in DTYPES:
            raise BadVolume("the array is not three-dimensional, or its type is not one of ours")
        if not self.array.flags.c_contiguous:
            raise BadVolume("the array is not C-contiguous")
        _check_shape(self.array.shape, self.array.dtype.itemsize)
        _check_affine(self.affine)
        if self.unit not in UNITS:
            raise BadVolume("the unit is not one of ours")
        if self.unit == DISPLAY:
            _check_display(self.array.dtype, self.affine)

    @property
    def planar(self) -> bool:
        """Whether these are planar images: axis 0 counts images, and no voxel lies anywhere in a patient."""
        return self.unit == DISPLAY

    @property
    def channels(self) -> int:
        """How many images it holds of each place: one."""
        return 1

    @property
    def voxels(self) -> int:
        """How many places it has."""
        return int(self.array.size)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along (x, y, z)."""
        x, y, z = (float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))
        return (x, y, z)

    @property
    def voxel_ml(self) -> float:
        """What one voxel holds, in millilitres."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_bytes(self) -> bytes:
        """The container: equal volumes give equal bytes."""
        header = {
            "affine": [[float(item) for item in row] for row in self.affine],
            "dtype": str(self.array.dtype),
            "shape": list(self.array.shape),
            "unit": self.unit,
        }
        raw = self.array.astype(self.array.dtype.newbyteorder("<"), copy=False)
        return b"".join((pack_header(MAGIC, header), raw.data.cast("B")))

    @classmethod
    def from_bytes(cls, content: bytes | bytearray | memoryview) -> Volume:
        """Read a container without copying its array: the Volume is a read-only view of `content`.

        Raises
        ------
        BadVolume
            If the content is truncated, has something after its end, or does not describe a Volume.
        """
        view = memoryview(content).cast("B")
        header, offset = unpack_header(MAGIC, view, BadVolume, _KEYS)
        if header["dtype"] not in DTYPES or header["unit"] not in UNITS:
            raise BadVolume("the type or the unit is not one of ours")
        dtype = np.dtype(header["dtype"]).newbyteorder("<")
        shape = _shape(header["shape"], dtype.itemsize)
        if len(view) - offset != math.prod(shape) * dtype.itemsize:
            raise BadVolume("the array is shorter or longer than its shape says")
        array = np.frombuffer(view, dtype=dtype, offset=offset).reshape(shape)
        array.flags.writeable = False
        return cls(array.view(np.dtype(header["dtype"])), _affine(header["affine"]), header["unit"])


@dataclass(frozen=True, slots=True, eq=False)
class VolumeSet:
    """Several images of one patient on one grid, in the order of a network's channels.

    Attributes
    ----------
    volumes
        Two to `CHANNELS_MAX`, of one shape, affine, unit and type; the first is the one that findings belong to.

    Raises
    ------
    BadVolume
        When made of anything else, of planar images, or of more than a payload may hold.
    """

    volumes: tuple[Volume, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.volumes) <= CHANNELS_MAX:
            raise BadVolume("a set holds two images or more, and not too many", channels_max=CHANNELS_MAX)
        first = self.volumes[0]
        for other in self.volumes[1:]:
            same = (other.array.shape, other.array.dtype, other.unit) == (
                first.array.shape,
                first.array.dtype,
                first.unit,
            )
            if not (same and np.array_equal(other.affine, first.affine)):
                raise BadVolume("the images of a set differ in shape, type, unit or place")
        if first.planar:
            raise BadVolume("planar images form no set")
        if first.array.nbytes * len(self.volumes) > PAYLOAD_BYTES_MAX:
            raise BadVolume("the arrays are larger than a payload may be", size_bytes_max=PAYLOAD_BYTES_MAX)

    @property
    def first(self) -> Volume:
        """The image that findings belong to."""
        return self.volumes[0]

    @property
    def channels(self) -> int:
        """How many images it holds of each place."""
        return len(self.volumes)

    @property
    def voxels(self) -> int:
        """How many places it has, whatever the number of images."""
        return self.first.voxels

    def to_bytes(self) -> bytes:
        """The container: equal sets give equal bytes."""
        first = self.first
        header = {
            "affine": [[float(item) for item in row] for row in first.affine],
            "channels": len(self.volumes),
            "dtype": str(first.array.dtype),
            "shape": list(first.array.shape),
            "unit": first.unit,
        }
        dtype = first.array.dtype.newbyteorder("<")
        raw = (volume.array.astype(dtype, copy=False).data.cast("B") for volume in self.volumes)
        return b"".join((pack_header(SET_MAGIC, header), *raw))

    @classmethod
    def from_bytes(cls, content: bytes | bytearray | memoryview) -> VolumeSet:
        """Read a container without copying its arrays. Raises as `Volume.from_bytes`."""
        view = memoryview(content).cast("B")
        header, offset = unpack_header(SET_MAGIC, view, BadVolume, _KEYS | {"channels"})
        if header["dtype"] not in DTYPES or header["unit"] not in UNITS:
            raise BadVolume("the type or the unit is not one of ours")
        channels = whole(header["channels"], 2, CHANNELS_MAX, BadVolume)
        dtype = np.dtype(header["dtype"]).newbyteorder("<")
        shape, affine = _shape(header["shape"], dtype.itemsize), _affine(header["affine"])
        if len(view) - offset != channels * math.prod(shape) * dtype.itemsize:
            raise BadVolume("the arrays are shorter or longer than their shape says")
        arrays = np.frombuffer(view, dtype=dtype, offset=offset).reshape(channels, *shape)
        arrays.flags.writeable = False
        plain = arrays.view(np.dtype(header["dtype"]))
        return cls(tuple(Volume(array, affine, header["unit"]) for array in plain))


def read_payload(content: bytes | bytearray | memoryview) -> Volume | VolumeSet:
    """A payload of either kind, by its magic. Raises `BadVolume` as their `from_bytes`."""
    kind = VolumeSet if bytes(memoryview(content).cast("B")[: len(SET_MAGIC)]) == SET_MAGIC else Volume
    return kind.from_bytes(content)


def _shape(value: Any, itemsize: int) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) != 3:
        raise BadVolume("the shape is not three numbers")
    shape = tuple(whole(item, 1, VOLUME_AXIS_VOXELS_MAX, BadVolume) for item in value)
    _check_shape(shape, itemsize)
    return shape


def _check_shape(shape: tuple[int, ...], itemsize: int) -> None:
    if not all(1 <= size <= VOLUME_AXIS_VOXELS_MAX for size in shape):
        raise BadVolume("an axis is empty or too long", axis_voxels_max=VOLUME_AXIS_VOXELS_MAX)
    if math.prod(shape) * itemsize > PAYLOAD_BYTES_MAX:
        raise BadVolume("the array is larger than a payload may be", size_bytes_max=PAYLOAD_BYTES_MAX)


def _affine(value: Any) -> npt.NDArray[np.float64]:
    if not (isinstance(value, list) and len(value) == 4 and all(isinstance(r, list) and len(r) == 4 for r in value)):
        raise BadVolume("the affine is not 4 x 4")
    return np.array([[number(item, BadVolume) for item in row] for row in value], dtype=np.float64)


def _check_affine(affine: npt.NDArray[np.float64]) -> None:
    if affine.shape != (4, 4) or affine.dtype != np.float64 or not np.isfinite(affine).all():
        raise BadVolume("the affine is not 4 x 4 finite float64")
    if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
        raise BadVolume("the affine's last row is not 0 0 0 1")
    if np.abs(affine).max() > 1e7:
        raise BadVolume("the affine lies beyond any room")
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((steps >= _SPACING_MM_MIN) & (steps <= _SPACING_MM_MAX)).all():
        raise BadVolume("the spacing is out of range")
    if abs(float(np.linalg.det(affine[:3, :3] / steps))) < _SKEW_MIN:
        raise BadVolume("the affine is singular")


def _check_display(dtype: np.dtype[Any], affine: npt.NDArray[np.float64]) -> None:
    if dtype.kind != "u":
        raise BadVolume("planar images are unsigned")
    if not np.array_equal(affine, np.diag((affine[0, 0], affine[1, 1], 1.0, 1.0))) or min(np.diag(affine)) <= 0:
        raise BadVolume("the affine of planar images says more than the spacing of their pixels")
