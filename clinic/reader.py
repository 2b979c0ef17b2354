"""From archived instances to a Volume: pixel values with their meaning, in the patient's millimetres.

Uncompressed little-endian pixels are read from the stored file straight into their place in the array, by several
threads; everything else goes through pydicom's decoders. Each file's SHA-256 is checked on the way.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from bithive.blobs import Blobs, read_verified
from bithive.errors import DigestMismatch
from clinic import elements, refusals
from clinic.geometry import Grid, arrange
from clinic.instance import InstanceRow
from inference.volume import Volume

NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})
"""Transfer syntaxes whose pixel value is the pixels: Implicit and Explicit VR Little Endian."""

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_INT16 = np.iinfo(np.int16)
Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class PixelForm:
    """How the pixels of one instance are stored (PS3.3 C.7.6.3) and what they mean (C.11.1).

    Attributes
    ----------
    bits_allocated, bits_stored, high_bit, signed
        The cell of one pixel.
    inverted
        MONOCHROME1 of arbitrary unit: stored values run from white to black, and are turned round. Hounsfield units
        keep their meaning however they are shown.
    slope, intercept
        Stored value times slope plus intercept is the value.
    """

    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    inverted: bool
    slope: float
    intercept: float

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one stored pixel, little-endian."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @property
    def ends(self) -> tuple[int, int]:
        """Least and greatest stored value."""
        half = 1 << (self.bits_stored - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)

    @property
    def linear(self) -> bool:
        """Whether values are whole numbers."""
        return self.slope == 1.0 and self.intercept == int(self.intercept)


def pixel_form(row: InstanceRow, unit: str) -> PixelForm:
    """How the pixels of an instance are stored.

    Raises
    ------
    UnsupportedPixels
        If they are colour, floating point, of an unusual depth, or have a look-up table for a meaning.
    """
    header = row.header
    allocated, stored = elements.integer(header, "00280100"), elements.integer(header, "00280101")
    photometric = elements.text(header, "00280004")
    if elements.integer(header, "00280002") != 1 or photometric not in _GREY:
        raise refusals.UnsupportedPixels("the images are not grey")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise refusals.UnsupportedPixels("the pixel depth is neither 8 nor 16 bits")
    if "00283000" in header:
        raise refusals.UnsupportedPixels("pixel values get their meaning from a look-up table")
    high = elements.number(header, "00280102")
    slope, intercept = elements.number(header, "00281053"), elements.number(header, "00281052")
    form = PixelForm(
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else int(high),
        signed=elements.integer(header, "00280103") == 1,
        inverted=photometric == "MONOCHROME1" and unit != "HU",
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
    )
    if not stored - 1 <= form.high_bit < allocated or form.slope == 0:
        raise refusals.UnsupportedPixels("the pixel cell or the rescale slope is impossible")
    return form


def unit_of(rows: Sequence[InstanceRow]) -> str:
    """`HU` for CT with a rescale to Hounsfield units, else `arbitrary`.

    Raises
    ------
    NoHounsfield
        If CT images do not say how their values become Hounsfield units.
    """
    if elements.text(rows[0].header, "00080060") != "CT":
        return "arbitrary"
    for row in rows:
        known = "00281052" in row.header and "00281053" in row.header
        if not known or elements.text(row.header, "00281054") not in ("", "HU", "US"):
            raise refusals.NoHounsfield
    return "HU"


def read(rows: Sequence[InstanceRow], blobs: Blobs, threads: int = 4) -> tuple[Grid, Volume]:
    """Read a series.

    Parameters
    ----------
    rows
        Every instance of it, in any order.
    blobs
        Where their files are.
    threads
        How many files are read at once.

    Returns
    -------
    tuple
        The block that the instances form, and the Volume: axes (z, y, x), affine in LPS millimetres; int16, uint16 or
        uint8 where values are whole and fit, else float32.

    Raises
    ------
    Refused
        One of `clinic.refusals`: the geometry or the pixels are not what a Volume can be made of.
    DigestMismatch
        If a stored file has changed.
    """
    grid = arrange(rows, lambda one, other: _same_pixels(one, other, blobs))
    unit = unit_of(grid.rows)
    forms = [pixel_form(row, unit) for row in grid.rows]
    dtype = _dtype(forms)
    array: Pixels = np.empty(grid.shape, dtype)

    def fill(z: int) -> tuple[int, int]:
        row, form, plane = grid.rows[z], forms[z], array[z]
        if _is_native(row) and form.dtype.itemsize == dtype.itemsize and dtype.kind in "iu":
            _read_native(row, blobs, plane.view(form.dtype))
            stored = plane.view(form.dtype)
        else:
            stored = _decoded(row, blobs, form, grid.shape[1:])
        return _give_meaning(stored, form, plane)

    with ThreadPoolExecutor(threads) as pool:
        ends = list(pool.map(fill, range(grid.shape[0])))
    if dtype.kind != "f" and not _fits(ends, dtype):
        array = _as_float(grid, forms, blobs)
    return grid, Volume(array, grid.affine, unit)


def _dtype(forms: Sequence[PixelForm]) -> np.dtype[Any]:
    """The narrowest type that can hold every slice as whole numbers, judged by how values are stored."""
    if not all(form.linear for form in forms):
        return np.dtype(np.float32)
    if any(form.bits_allocated != forms[0].bits_allocated for form in forms):
        return np.dtype(np.float32)
    plain = all(not form.signed and form.intercept >= 0 for form in forms)
    if forms[0].bits_allocated == 8:
        return np.dtype(np.uint8) if plain else np.dtype(np.float32)
    whole = plain and any(form.ends[1] + form.intercept > _INT16.max for form in forms)
    return np.dtype(np.uint16) if whole else np.dtype(np.int16)


def _is_native(row: InstanceRow) -> bool:
    return row.transfer_syntax in NATIVE and row.pixel_offset is not None


def _read_native(row: InstanceRow, blobs: Blobs, plane: Pixels) -> None:
    """Fill `plane` with the pixels as stored, checking the file's digest.

    Raises
    ------
    TruncatedPixels
        If the pixel value is shorter than the plane.
    """
    offset = row.pixel_offset
    assert offset is not None, "a native instance says where its pixels are"
    if (row.pixel_length or 0) < plane.nbytes:
        raise refusals.TruncatedPixels
    target = plane.data.cast("B")
    digest = hashlib.sha256()
    with blobs.open(row.blob) as file:
        digest.update(file.read(offset))
        filled = file.readinto(target)  # type: ignore[attr-defined]
        if filled != plane.nbytes:
            raise refusals.TruncatedPixels
        digest.update(target)
        digest.update(file.read())
    if digest.hexdigest() != row.blob:
        raise DigestMismatch("a stored image has changed")


def _decoded(row: InstanceRow, blobs: Blobs, form: PixelForm, size: tuple[int, ...]) -> Pixels:
    """Pixels by pydicom's decoders, as stored.

    Raises
    ------
    UndecodablePixels
        If no decoder can, or what comes out is not the plane that the header describes.
    """
    content = read_verified(blobs, row.blob)
    try:
        plane: Pixels = pydicom.dcmread(io.BytesIO(content), force=True).pixel_array
    except Exception as error:
        raise refusals.UndecodablePixels from error
    if plane.shape != size or plane.dtype.kind not in "iu":
        raise refusals.UndecodablePixels("the decoded image is not what its header describes")
    return np.ascontiguousarray(plane).astype(form.dtype, copy=False)


def _give_meaning(stored: Pixels, form: PixelForm, plane: Pixels) -> tuple[int, int]:
    """Write the values of one plane: cut to the stored bits, turned round if inverted, rescaled.

    `stored` may lie in the memory of `plane`. Values that do not fit an integer plane wrap round; what is returned
    tells.

    Returns
    -------
    tuple
        Least and greatest value; of a float plane, before rescaling.
    """
    above = form.bits_allocated - 1 - form.high_bit
    below = form.high_bit + 1 - form.bits_stored
    if above or below:
        stored[...] = np.right_shift(np.left_shift(stored, above), above + below)
    if form.inverted:
        low, high = form.ends
        stored = (low + high) - stored.astype(np.int32)
    least, greatest = int(stored.min()), int(stored.max())
    if plane.dtype.kind == "f":
        plane[...] = stored.astype(np.float64) * form.slope + form.intercept
        return least, greatest
    shift = int(form.intercept)
    if shift or form.inverted or not np.may_share_memory(stored, plane):
        plane[...] = stored.astype(np.int32) + shift
    return least + shift, greatest + shift


def _fits(ends: Sequence[tuple[int, int]], dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return all(limits.min <= low and high <= limits.max for low, high in ends)


def _as_float(grid: Grid, forms: Sequence[PixelForm], blobs: Blobs) -> Pixels:
    """Read again into float32: the rare series whose values fit no 16-bit type."""
    array: Pixels = np.empty(grid.shape, np.float32)
    for z, (row, form) in enumerate(zip(grid.rows, forms, strict=True)):
        stored = _stored(row, form, blobs, grid.shape[1:])
        _give_meaning(stored, form, array[z])
    return array


def _stored(row: InstanceRow, form: PixelForm, blobs: Blobs, size: tuple[int, ...]) -> Pixels:
    if not _is_native(row):
        return _decoded(row, blobs, form, size)
    plane: Pixels = np.empty(size, form.dtype)
    _read_native(row, blobs, plane)
    return plane


def _same_pixels(one: InstanceRow, other: InstanceRow, blobs: Blobs) -> bool:
    """Whether two instances hold the same values: same form, same pixels."""
    unit = "arbitrary"
    first, second = pixel_form(one, unit), pixel_form(other, unit)
    size = (elements.integer(one.header, "00280010"), elements.integer(one.header, "00280011"))
    return first == second and np.array_equal(_stored(one, first, blobs, size), _stored(other, second, blobs, size))
