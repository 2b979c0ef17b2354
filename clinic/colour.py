"""From colour to brightness: ITU-R BT.601 luma, as PS3.3 C.7.6.3.1.2 defines Y of YBR_FULL.

0.299 red + 0.587 green + 0.114 blue, rounded; Pillow computes the same of 8 bits in fixed point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset

from clinic import lookup
from clinic.pixels import PixelForm
from clinic.shades import display_dtype

Pixels = npt.NDArray[Any]

RGB, YBR_FULL, YBR_FULL_422, PALETTE = "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR"
COLOURS = frozenset({RGB, YBR_FULL, YBR_FULL_422, "YBR_ICT", "YBR_RCT"})
"""Photometric Interpretations of three samples that can be read."""
_WEIGHTS = np.array((0.299, 0.587, 0.114))
_STRIP_ROWS = 128


def luma(colours: Pixels) -> Pixels:
    """The brightness of pixels.

    Parameters
    ----------
    colours
        uint8 or uint16 (rows, columns, 3): red, green, blue.

    Returns
    -------
    array
        (rows, columns) of the same type.
    """
    if colours.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))
    bright = np.empty(colours.shape[:2], colours.dtype)
    for top in range(0, len(colours), _STRIP_ROWS):
        bright[top : top + _STRIP_ROWS] = np.rint(colours[top : top + _STRIP_ROWS] @ _WEIGHTS)
    return bright


def palette_luma(dataset: Dataset, form: PixelForm) -> Pixels:
    """The brightness of every stored value of an image with a palette.

    Returns
    -------
    array
        uint8 (at most 8 bits are stored) or uint16, first that of `form.ends[0]`, upwards.

    Raises
    ------
    UnsupportedPixels
        If there is no palette, or none that can be read.
    """
    first, colours = lookup.palette(dataset, form.signed)
    bright = colours @ _WEIGHTS
    dtype = display_dtype(form.bits_stored)
    stored = np.arange(form.ends[0], form.ends[1] + 1, dtype=np.float64)
    return np.rint(lookup.mapped(stored, first, bright) * np.iinfo(dtype).max).astype(dtype)
