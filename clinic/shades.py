"""From stored grey values to what is shown: modality, VOI and presentation transformations (PS3.3 C.11.1, C.11.2, C.11.6).

A stored value has at most 16 bits, so the whole way is computed once for every possible value, in float64, and images
are looked up in that table. What is shown are P-values: 0 is black, the type's maximum is white.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from clinic import elements, lookup, refusals
from clinic.pixels import PixelForm

Values = npt.NDArray[np.float64]
Table = npt.NDArray[Any]

MODALITY_LUT, VOI_LUT = "00283000", "00283010"
_WINDOW_MAX = 1e9


def needs_lut(attributes: Mapping[str, Any]) -> bool:
    """Whether the shades of an image need a look-up table out of its file."""
    return bool(elements.values(attributes, MODALITY_LUT) or elements.values(attributes, VOI_LUT))


def display_dtype(bits_stored: int) -> np.dtype[Any]:
    """uint8 for what is stored in 8 bits or fewer, else uint16."""
    return np.dtype(np.uint8 if bits_stored <= 8 else np.uint16)


def shades(form: PixelForm, attributes: Mapping[str, Any], dataset: Dataset | None = None) -> Table:
    """The P-value of every stored value of a grey image.

    A VOI LUT goes before a window; of several the first is taken. Without either, the full range that `form` can store
    runs from black to white.

    Parameters
    ----------
    form
        How its pixels are stored.
    attributes
        What the header says of it, DICOM JSON Model.
    dataset
        The same with its look-up tables; needed where `needs_lut`.

    Returns
    -------
    array
        uint8 or uint16 (2 to the power of `form.bits_stored`): first that of `form.ends[0]`, upwards.

    Raises
    ------
    UnsupportedPixels
        If a table, window, slope or shape is impossible or unknown.
    """
    low, high = form.ends
    meant = _modality(np.arange(low, high + 1, dtype=np.float64), form, attributes, dataset)
    shown = _voi(meant, attributes, dataset)
    if _is_inverse(attributes):
        shown = 1.0 - shown
    dtype = display_dtype(form.bits_stored)
    return np.rint(np.clip(shown, 0.0, 1.0) * np.iinfo(dtype).max).astype(dtype)


def _modality(values: Values, form: PixelForm, attributes: Mapping[str, Any], dataset: Dataset | None) -> Values:
    if not elements.values(attributes, MODALITY_LUT):
        return values * form.slope + form.intercept
    first, entries, _ = lookup.grey_table(_item(dataset, "ModalityLUTSequence"), signed=form.signed)
    return lookup.mapped(values, first, entries)


def _voi(values: Values, attributes: Mapping[str, Any], dataset: Dataset | None) -> Values:
    """Values from 0 to 1 of what is shown."""
    if elements.values(attributes, VOI_LUT):
        first, entries, white = lookup.grey_table(_item(dataset, "VOILUTSequence"), signed=bool(values.min() < 0))
        return lookup.mapped(values, first, entries) / white
    centre, width = elements.number(attributes, "00281050"), elements.number(attributes, "00281051")
    if centre is None or width is None:
        low, high = float(values.min()), float(values.max())
        return (values - low) / max(high - low, 1.0)
    function = _WINDOWS.get(elements.text(attributes, "00281056").upper())
    if function is None or abs(centre) > _WINDOW_MAX or not 0 < width <= _WINDOW_MAX:
        raise refusals.UnsupportedPixels("the window is impossible, or its function is not known")
    return function(values, centre, width)


def _linear(values: Values, centre: float, width: float) -> Values:
    if width < 1:
        raise refusals.UnsupportedPixels("the window is narrower than one value")
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _linear_exact(values: Values, centre: float, width: float) -> Values:
    return (values - centre) / width + 0.5


def _sigmoid(values: Values, centre: float, width: float) -> Values:
    steep: Values = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0)))
    return steep


_WINDOWS: dict[str, Callable[[Values, float, float], Values]] = {
    "": _linear,
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}
"""VOI LUT Function (0028,1056): C.11.2.1.2 and C.11.2.1.3."""


def _is_inverse(attributes: Mapping[str, Any]) -> bool:
    """Whether the lowest value is white. MONOCHROME1 and the shape INVERSE say the same thing (C.8.11.3.1.2)."""
    shape = elements.text(attributes, "20500020").upper()
    if shape not in ("", "IDENTITY", "INVERSE"):
        raise refusals.UnsupportedPixels("the presentation shape is not known")
    return shape == "INVERSE" or elements.text(attributes, "00280004") == "MONOCHROME1"


def _item(dataset: Dataset | None, name: str) -> Dataset:
    assert dataset is not None, "who asks for a table gives it"
    found = dataset.get(name)
    if not found:
        raise refusals.UnsupportedPixels("a look-up table cannot be read")
    item: Dataset = found[0]
    return item
