"""From archived instances to a Volume: pixel values with their meaning, in the patient's millimetres.

Uncompressed little-endian pixels are read from the stored file straight into their place in the array, by several
threads; everything else goes through pydicom's decoders, frame by frame. Each file's SHA-256 is checked on the way.
Planes that lean or lie unevenly are then straightened (`clinic.straighten`). Planar images go to
`clinic.planar_reader`.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pydicom
from pydicom.pixels import iter_pixels

from bithive.blobs import Blobs, read_verified
from bithive.errors import DigestMismatch
from bithive.limits import PAYLOAD_BYTES_MAX, VOLUME_AXIS_VOXELS_MAX
from clinic import planar_reader, refusals
from clinic.geometry import Grid, SourcePlane, arrange
from clinic.instance import InstanceRow
from clinic.pixels import PixelForm, Pixels, dtype_of, fits, give_meaning, padding, pixel_form, unit_of
from clinic.planar import is_planar
from inference.volume import Volume

NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})
"""Transfer syntaxes whose pixel value is the pixels: Implicit and Explicit VR Little Endian."""

_CELLS_KEPT = NATIVE | {"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"}
"""Those that keep the cell of a pixel bit by bit: further Big Endian, Deflated and RLE."""

_CHUNK_BYTES = 1 << 20


def read(
    rows: Sequence[InstanceRow], blobs: Blobs, threads: int = 4, views: Collection[str] = ()
) -> tuple[Grid, Volume]:
    """Read a series.

    Parameters
    ----------
    rows
        Every instance of it, in any order.
    blobs
        Where their files are.
    threads
        How many files are read at once.
    views
        Of a planar series, the views that are taken; all of them when empty.

    Returns
    -------
    tuple
        The block that the images form, and the Volume: axes (z, y, x), affine in LPS millimetres; int16, uint16 or
        uint8 where values are whole and fit, else float32. Planar images: `clinic.planar_reader.read`.

    Raises
    ------
    Refused
        One of `clinic.refusals`: the geometry or the pixels are not what a Volume can be made of.
    DigestMismatch
        If a stored file has changed.
    """
    if is_planar(rows):
        return planar_reader.read(rows, blobs, threads, views)
    grid = arrange(rows, lambda one, other: _same_pixels(one, other, blobs))
    unit = unit_of([plane.attributes for plane in grid.planes])
    forms = [pixel_form(plane.attributes, unit) for plane in grid.planes]
    _check_size(grid, 4 if dtype_of(forms).kind == "f" else forms[0].bits_allocated // 8)
    stack = _stack(grid, forms, blobs, threads)
    if grid.straightening is not None:
        stack = grid.straightening.straightened(stack, padding(stack, unit), threads)
    return grid, Volume(stack, grid.affine, unit)


def _check_size(grid: Grid, itemsize: int) -> None:
    for shape in (grid.shape, grid.stack_shape):
        if max(shape) > VOLUME_AXIS_VOXELS_MAX or math.prod(shape) * itemsize > PAYLOAD_BYTES_MAX:
            raise refusals.VolumeTooLarge(axis_voxels_max=VOLUME_AXIS_VOXELS_MAX, size_bytes_max=PAYLOAD_BYTES_MAX)


def _stack(grid: Grid, forms: Sequence[PixelForm], blobs: Blobs, threads: int) -> Pixels:
    """The values of every plane (planes, rows, columns), in the narrowest type that holds them."""
    dtype = dtype_of(forms)
    stack: Pixels = np.empty(grid.stack_shape, dtype)
    places: dict[str, list[int]] = {}
    for k, plane in enumerate(grid.planes):
        places.setdefault(plane.row.sop_uid, []).append(k)

    def fill(chosen: Sequence[int]) -> list[tuple[int, int]]:
        planes = [grid.planes[k] for k in chosen]
        direct = _is_native(planes[0].row) and forms[chosen[0]].dtype.itemsize == dtype.itemsize and dtype.kind in "iu"
        targets = [stack[k].view(forms[k].dtype) if direct else None for k in chosen]
        loaded = _loaded(planes, [forms[k] for k in chosen], blobs, targets)
        return [give_meaning(stored, forms[k], stack[k]) for k, stored in zip(chosen, loaded, strict=True)]

    with ThreadPoolExecutor(threads) as pool:
        ends = [end for found in pool.map(fill, places.values()) for end in found]
    if dtype.kind == "f" or fits(ends, dtype):
        return stack
    return _as_float(grid, forms, blobs, places.values())


def _as_float(grid: Grid, forms: Sequence[PixelForm], blobs: Blobs, places: Iterable[Sequence[int]]) -> Pixels:
    """Read again into float32: the rare series whose values fit no 16-bit type."""
    _check_size(grid, 4)
    stack: Pixels = np.empty(grid.stack_shape, np.float32)
    for chosen in places:
        planes, own = [grid.planes[k] for k in chosen], [forms[k] for k in chosen]
        for k, stored in zip(chosen, _loaded(planes, own, blobs, [None] * len(chosen)), strict=True):
            give_meaning(stored, forms[k], stack[k])
    return stack


def _loaded(
    planes: Sequence[SourcePlane], forms: Sequence[PixelForm], blobs: Blobs, targets: Sequence[Pixels | None]
) -> Iterable[Pixels]:
    """The pixels as stored of some planes of one instance, in the memory of the targets where they are given."""
    if _is_native(planes[0].row):
        stored = [
            np.empty(plane.size, form.dtype) if target is None else target
            for plane, form, target in zip(planes, forms, targets, strict=True)
        ]
        _read_native(planes, blobs, stored)
        return stored
    return _decoded(planes, forms, blobs)


def _is_native(row: InstanceRow) -> bool:
    return row.transfer_syntax in NATIVE and row.pixel_offset is not None


def _read_native(planes: Sequence[SourcePlane], blobs: Blobs, stored: Sequence[Pixels]) -> None:
    """Fill `stored` with the pixels of planes of one instance, reading its file once and checking its digest.

    Raises
    ------
    TruncatedPixels
        If the pixel value is shorter than the planes.
    """
    row, frame_bytes = planes[0].row, stored[0].nbytes
    offset = row.pixel_offset
    assert offset is not None, "a native instance says where its pixels are"
    wanted = sorted(
        ((max(plane.frame, 1) - 1, target) for plane, target in zip(planes, stored, strict=True)),
        key=lambda pair: pair[0],
    )
    if (row.pixel_length or 0) < (wanted[-1][0] + 1) * frame_bytes:
        raise refusals.TruncatedPixels
    digest = hashlib.sha256()
    with blobs.open(row.blob) as file:
        for index, target in wanted:
            _skip_to(file, offset + index * frame_bytes, digest)
            view = target.data.cast("B")
            if file.readinto(view) != frame_bytes:  # type: ignore[attr-defined]
                raise refusals.TruncatedPixels
            digest.update(view)
        while rest := file.read(_CHUNK_BYTES):
            digest.update(rest)
    if digest.hexdigest() != row.blob:
        raise DigestMismatch("a stored image has changed")


def _skip_to(file: Any, position: int, digest: Any) -> None:
    left = position - file.tell()
    while left > 0:
        piece = file.read(min(left, _CHUNK_BYTES))
        if not piece:
            raise refusals.TruncatedPixels
        digest.update(piece)
        left -= len(piece)


def _decoded(planes: Sequence[SourcePlane], forms: Sequence[PixelForm], blobs: Blobs) -> Iterable[Pixels]:
    """Pixels by pydicom's decoders, as stored, one frame after the other.

    Raises
    ------
    UnsupportedPixels
        If the values lie elsewhere in their cells than a decoder leaves them.
    UndecodablePixels
        If no decoder can, or what comes out is not the plane that the header describes.
    """
    row = planes[0].row
    if row.transfer_syntax not in _CELLS_KEPT and any(form.high_bit != form.bits_stored - 1 for form in forms):
        raise refusals.UnsupportedPixels("the values of compressed pixels do not lie at the foot of their cells")
    content = read_verified(blobs, row.blob)
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        if row.transfer_syntax in _CELLS_KEPT:
            dataset.BitsStored = dataset.BitsAllocated  # the whole cell: pydicom takes any value for one at its foot
        found = iter_pixels(dataset, indices=[max(plane.frame, 1) - 1 for plane in planes], raw=True)
        for plane, form, pixels in zip(planes, forms, found, strict=True):
            if pixels.shape != plane.size or pixels.dtype.kind not in "iu":
                raise refusals.UndecodablePixels("the decoded image is not what its header describes")
            yield np.ascontiguousarray(pixels).astype(form.dtype)
    except refusals.UndecodablePixels:
        raise
    except Exception as error:
        raise refusals.UndecodablePixels from error


def _same_pixels(one: SourcePlane, other: SourcePlane, blobs: Blobs) -> bool:
    """Whether two images hold the same values: same form, same pixels."""
    forms = [pixel_form(plane.attributes, "arbitrary") for plane in (one, other)]
    if forms[0] != forms[1]:
        return False
    first, second = (
        next(iter(_loaded([plane], [form], blobs, [None]))) for plane, form in zip((one, other), forms, strict=True)
    )
    return np.array_equal(first, second)
