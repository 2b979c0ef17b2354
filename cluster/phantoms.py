"""Images of nobody, for tests that the network gives its cells: painted, or a public sample changed at random.

Every seed gives another image, always the same one. Its size, spacing and noise are drawn as those of real images vary,
so that nothing but its seed tells it from a public image that somebody else sends.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from bithive.errors import BadInput
from inference.volume import Volume

_AIR, _FAT, _MUSCLE, _LUNG, _BONE = -1000.0, -100.0, 50.0, -850.0, 700.0
_NIFTI_BYTES = 348
_TYPES = {4: "int16", 8: "int32", 16: "float32", 64: "float64", 512: "uint16", 2: "uint8"}
_ARBITRARY_MAX = 4095


class BadSampleImage(BadInput):
    code, title = "bad-sample-image", "The public image cannot be read"


@dataclass(frozen=True, slots=True)
class _Part:
    """An ellipsoid in patient coordinates: centre and half axes in LPS millimetres, and its Hounsfield unit."""

    centre: tuple[float, float, float]
    half_axes: tuple[float, float, float]
    value: float


def trunk(seed: bytes) -> Volume:
    """A trunk as computed tomography would show it: fat, muscle, spine and two lungs with vessels, on a table.

    Parameters
    ----------
    seed
        32 bytes; the same give the same image.
    """
    random = _random(seed)
    size = float(random.uniform(0.85, 1.1))
    in_plane, slice_mm = float(random.uniform(2.6, 3.6)), float(random.uniform(3.0, 5.0))
    width, depth = (int(extent / in_plane) for extent in (440 * size, 380 * size))
    shape = (int(random.uniform(270, 330) / slice_mm), depth, width)
    affine = np.diag([in_plane, in_plane, slice_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3].diagonal() * ((np.array(shape[::-1]) - 1) / 2)
    array = _painted(_parts(random, size), shape, affine)
    array += random.normal(0.0, float(random.uniform(4, 12)), shape).astype(np.float32)
    return Volume(np.clip(np.rint(array), -1024, 3071).astype(np.int16), affine, "HU")


def head(sample: Path, seed: bytes) -> Volume:
    """A public head changed at random: another brightness and contrast, noise, other margins.

    Parameters
    ----------
    sample
        A three-dimensional image, NIfTI-1 (https://nifti.nimh.nih.gov/nifti-1), `.nii` or `.nii.gz`.
    seed
        32 bytes.

    Raises
    ------
    BadSampleImage
        If it is none.
    """
    random = _random(seed)
    values, affine = _read_nifti(sample)
    values = values - values.min()
    values *= _ARBITRARY_MAX * float(random.uniform(0.5, 0.9)) / max(float(values.max()), 1e-6)
    values = values ** float(random.uniform(0.95, 1.05))
    values += np.abs(random.normal(0.0, float(random.uniform(2, 12)), values.shape).astype(np.float32))
    cut = [int(random.integers(0, max(1, extent // 40))) for extent in values.shape]
    kept = values[cut[0] :, cut[1] :, cut[2] :]
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array(cut[::-1], dtype=np.float64)
    return Volume(np.ascontiguousarray(np.clip(np.rint(kept), 0, _ARBITRARY_MAX).astype(np.int16)), moved, "arbitrary")


def _random(seed: bytes) -> np.random.Generator:
    """Philox is counter-based and the same on every machine (https://www.thesalmons.org/john/random123)."""
    key = int.from_bytes(hashlib.sha256(b"bithive.phantom.v1\x00" + seed).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key))


def _parts(random: np.random.Generator, size: float) -> list[_Part]:
    far = 10_000.0

    def about(value: float, share: float = 0.06) -> float:
        return value * size * float(random.uniform(1 - share, 1 + share))

    parts = [
        _Part((0, 190 * size, 0), (220 * size, 26 * size, far), -60.0),
        _Part((0, 0, 0), (about(180), about(130), far), _FAT),
        _Part((0, 0, 0), (about(160), about(112), far), _MUSCLE),
        _Part((0, about(92), 0), (about(22), about(15), far), _BONE),
    ]
    for side in (-1, 1):
        centre = (side * about(80), about(4, 0.5), about(5, 1.0))
        parts.append(_Part(centre, (about(52), about(78), about(105)), _LUNG))
        for _ in range(int(random.integers(6, 14))):
            vessel = tuple(axis + float(random.uniform(-0.4, 0.4)) * 60 * size for axis in centre)
            parts.append(_Part((vessel[0], vessel[1], vessel[2]), (about(4), about(4), about(14, 0.4)), 30.0))
    parts.append(_Part((0, about(10, 0.4), about(110)), (about(9), about(10), about(85)), _AIR))
    return parts


def _painted(
    parts: list[_Part], shape: tuple[int, int, int], affine: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    array = np.full(shape, _AIR, dtype=np.float32)
    axes = [affine[axis, axis] * np.arange(shape[2 - axis]) + affine[axis, 3] for axis in range(3)]
    x, y, z = axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None]
    for part in parts:
        terms = zip((x, y, z), part.centre, part.half_axes, strict=True)
        inside = sum(((along - middle) / half) ** 2 for along, middle, half in terms) <= 1.0
        array[inside] = part.value
    return array


def _read_nifti(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Values along (z, y, x) of the file's own axes, and their affine to LPS millimetres."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        order: Literal["<", ">"] = "<" if struct.unpack_from("<i", content)[0] == _NIFTI_BYTES else ">"
        dimensions = struct.unpack_from(f"{order}8h", content, 40)
        kind = _TYPES[struct.unpack_from(f"{order}h", content, 70)[0]]
        offset = int(struct.unpack_from(f"{order}f", content, 108)[0])
        slope, intercept = struct.unpack_from(f"{order}2f", content, 112)
        rows = struct.unpack_from(f"{order}12f", content, 280)
        form = struct.unpack_from(f"{order}h", content, 254)[0]
        if struct.unpack_from(f"{order}i", content)[0] != _NIFTI_BYTES or dimensions[0] != 3 or form <= 0:
            raise BadSampleImage("it is no three-dimensional NIfTI-1 image with an affine")
        shape = dimensions[3], dimensions[2], dimensions[1]
        dtype = np.dtype(kind).newbyteorder(order)
        stored = np.frombuffer(content, dtype, shape[0] * shape[1] * shape[2], offset).reshape(shape)
    except (OSError, EOFError, KeyError, ValueError, zlib.error, struct.error) as error:
        raise BadSampleImage from error
    values = stored.astype(np.float32)
    if slope:
        values = values * np.float32(slope) + np.float32(intercept)
    if not np.isfinite(values).all() or min(shape) < 2:
        raise BadSampleImage("it is not a three-dimensional image of finite values")
    affine = np.eye(4)
    affine[:3] = np.diag([-1.0, -1.0, 1.0]) @ np.array(rows, dtype=np.float64).reshape(3, 4)
    return values, affine
