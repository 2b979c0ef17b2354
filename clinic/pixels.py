"""How stored pixels become values: their cell (PS3.3 C.7.6.3) and what they mean (C.11.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clinic import elements, refusals

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_INT16 = np.iinfo(np.int16)
_RESCALE_MAX = 1e9
_AIR_HU = -1000
Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class PixelForm:
    """How the pixels of one image are stored (PS3.3 C.7.6.3) and what they mean (C.11.1).

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


def pixel_form(attributes: Mapping[str, Any], unit: str) -> PixelForm:
    """How the pixels of an image are stored.

    Parameters
    ----------
    attributes
        What the header says of it, DICOM JSON Model.
    unit
        `HU` or `arbitrary`.

    Raises
    ------
    UnsupportedPixels
        If they are colour, floating point, of an unusual depth, or have a look-up table for a meaning.
    """
    photometric = elements.text(attributes, "00280004")
    if elements.integer(attributes, "00280002") != 1 or photometric not in _GREY:
        raise refusals.UnsupportedPixels("the images are not grey")
    if "00283000" in attributes:
        raise refusals.UnsupportedPixels("pixel values get their meaning from a look-up table")
    return cell_form(attributes, inverted=photometric == "MONOCHROME1" and unit != "HU")


def cell_form(attributes: Mapping[str, Any], *, inverted: bool = False) -> PixelForm:
    """The cell of one sample and its rescale, whatever it is the sample of.

    Raises
    ------
    UnsupportedPixels
        If it is floating point, of an unusual depth, or impossible.
    """
    allocated, stored = elements.integer(attributes, "00280100"), elements.integer(attributes, "00280101")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise refusals.UnsupportedPixels("the pixel depth is neither 8 nor 16 bits")
    high = elements.number(attributes, "00280102")
    slope, intercept = elements.number(attributes, "00281053"), elements.number(attributes, "00281052")
    form = PixelForm(
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else int(high),
        signed=elements.integer(attributes, "00280103") == 1,
        inverted=inverted,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
    )
    possible = 0 < abs(form.slope) <= _RESCALE_MAX and abs(form.intercept) <= _RESCALE_MAX
    if not stored - 1 <= form.high_bit < allocated or not possible:
        raise refusals.UnsupportedPixels("the pixel cell or the rescale slope is impossible")
    return form


def unit_of(images: Sequence[Mapping[str, Any]]) -> str:
    """`HU` for CT with a rescale to Hounsfield units, else `arbitrary`.

    Raises
    ------
    NoHounsfield
        If CT images do not say how their values become Hounsfield units.
    """
    if elements.text(images[0], "00080060") != "CT":
        return "arbitrary"
    for attributes in images:
        known = "00281052" in attributes and "00281053" in attributes
        if not known or elements.text(attributes, "00281054") not in ("", "HU", "US"):
            raise refusals.NoHounsfield
    return "HU"


def dtype_of(forms: Sequence[PixelForm]) -> np.dtype[Any]:
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


def give_meaning(stored: Pixels, form: PixelForm, plane: Pixels) -> tuple[int, int]:
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


def fits(ends: Sequence[tuple[int, int]], dtype: np.dtype[Any]) -> bool:
    """Whether least and greatest values of every plane can be held."""
    limits = np.iinfo(dtype)
    return all(limits.min <= low and high <= limits.max for low, high in ends)


def padding(array: Pixels, unit: str) -> float:
    """The value of what was not imaged: air, or the least value that there is."""
    least = float(array.min())
    return max(least, _AIR_HU) if unit == "HU" else least
