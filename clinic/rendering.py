"""One frame as a picture for people (PS3.18 section 8.3.5): modality values, window, colours, PNG or JPEG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

from bithive import limits
from bithive.blobs import Blobs
from clinic.errors import BadQuery, UnreadablePixels
from clinic.instance import InstanceRow
from clinic.retrieve import one_frame

_NUMBER = r"[+-]?\d{1,12}(\.\d{1,12})?([eE][+-]?\d{1,2})?"
_WINDOW = re.compile(rf"({_NUMBER}),({_NUMBER})(?:,(linear|linear-exact|sigmoid))?")
_VIEWPORT = re.compile(r"(\d{1,5}),(\d{1,5})")
_FUNCTIONS = {"LINEAR": "linear", "LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Window:
    """A window of interest (PS3.3 C.11.2.1.2): centre and width in modality values, and the function's name."""

    center: float
    width: float
    function: str = "linear"

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Values mapped to 0 ... 1, same shape."""
        return _CURVES[self.function](values.astype(np.float64), self.center, self.width)


@dataclass(frozen=True, slots=True)
class Look:
    """How a frame is shown.

    Attributes
    ----------
    window
        Instead of the header's own.
    viewport
        Columns and rows that the picture has to fit in.
    quality
        Of JPEG, 1 to 100.
    """

    window: Window | None = None
    viewport: tuple[int, int] | None = None
    quality: int = 90


def look(parameters: dict[str, str]) -> Look:
    """Read the query of a rendered resource (PS3.18 Table 8.3.5-1).

    Raises
    ------
    BadQuery
        If a parameter is unknown or malformed.
    """
    unknown = set(parameters) - {"window", "viewport", "quality", "accept", "annotation"}
    if unknown:
        raise BadQuery("there is no such parameter", parameter=min(unknown)[:32])
    return Look(_window(parameters), _viewport(parameters), _quality(parameters))


def render(blobs: Blobs, row: InstanceRow, number: int, media_type: str, wanted: Look) -> bytes:
    """A frame as PNG or JPEG.

    Parameters
    ----------
    number
        Counted from 1.
    media_type
        "image/png" or "image/jpeg".

    Raises
    ------
    FrameAbsent, UnreadablePixels
        If it is not there or cannot be decoded.
    """
    dataset = one_frame(blobs, row, number)
    try:
        picture = Image.fromarray(_shown(dataset, number, wanted.window))
    except Exception as error:
        raise UnreadablePixels from error
    if wanted.viewport:
        scale = min(wanted.viewport[0] / picture.width, wanted.viewport[1] / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    if media_type == "image/png":
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.save(buffer, "JPEG", quality=wanted.quality)
    return buffer.getvalue()


def _shown(dataset: Dataset, number: int, window: Window | None) -> np.ndarray:
    """The frame as 8-bit grey (rows, columns) or RGB (rows, columns, 3)."""
    pixels = dataset.pixel_array
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        coloured: np.ndarray = apply_color_lut(pixels, dataset)
        return _eight_bits(coloured)
    if pixels.ndim == 3:
        return _eight_bits(pixels)
    shared = _functional(dataset, number)
    values = _modality_values(pixels, dataset, shared)
    if "VOILUTSequence" in dataset and window is None and "WindowCenter" not in dataset:
        looked_up = apply_voi(np.rint(values).astype(np.int32), dataset)
        unit = Window(*_whole_range(looked_up), "linear-exact").apply(looked_up)
    else:
        unit = (window or _own_window(dataset, shared) or _range_window(values, dataset)).apply(values)
    grey: np.ndarray = np.rint(unit * 255).astype(np.uint8)
    inverted = photometric == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    return ~grey if inverted else grey


def _modality_values(pixels: np.ndarray, dataset: Dataset, shared: dict[str, Any]) -> np.ndarray:
    if "ModalityLUTSequence" in dataset:
        values: np.ndarray = apply_modality_lut(pixels, dataset)
        return values
    slope = float(dataset.get("RescaleSlope") or shared.get("RescaleSlope") or 1)
    intercept = float(dataset.get("RescaleIntercept") or shared.get("RescaleIntercept") or 0)
    return pixels * slope + intercept


def _functional(dataset: Dataset, number: int) -> dict[str, Any]:
    """Rescale and window out of the functional groups of a multi-frame image (PS3.3 C.7.6.16)."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*(dataset.get("SharedFunctionalGroupsSequence") or []), *frames[number - 1 : number]]
    found: dict[str, Any] = {}
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name) or []:
                found.update({element.keyword: element.value for element in item})
    return found


def _own_window(dataset: Dataset, shared: dict[str, Any]) -> Window | None:
    center = _first_number(dataset.get("WindowCenter", shared.get("WindowCenter")))
    width = _first_number(dataset.get("WindowWidth", shared.get("WindowWidth")))
    if center is None or width is None or width < 1:
        return None
    name = dataset.get("VOILUTFunction", shared.get("VOILUTFunction")) or "LINEAR"
    return Window(center, width, _FUNCTIONS.get(name, "linear"))


def _first_number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        return float(value)
    except TypeError:
        return float(value[0]) if len(value) else None


def _range_window(values: np.ndarray, dataset: Dataset) -> Window:
    """From the smallest to the largest value, padding left out."""
    padding = dataset.get("PixelPaddingValue")
    seen = values[values != padding] if isinstance(padding, int) else values
    return Window(*_whole_range(seen if seen.size else values), "linear-exact")


def _whole_range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low + high) / 2, max(high - low, 1e-9)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Colour of any depth as 8 bits."""
    if pixels.dtype == np.uint8:
        return pixels
    return (pixels.astype(np.uint32) >> 8 * (pixels.dtype.itemsize - 1)).astype(np.uint8)


def _linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    return np.clip((values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5, 0, 1)


def _linear_exact(values: np.ndarray, center: float, width: float) -> np.ndarray:
    return np.clip((values - center) / width + 0.5, 0, 1)


def _sigmoid(values: np.ndarray, center: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))


_CURVES: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    "linear": _linear,
    "linear-exact": _linear_exact,
    "sigmoid": _sigmoid,
}


def _window(parameters: dict[str, str]) -> Window | None:
    text = parameters.get("window")
    if text is None:
        return None
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise BadQuery("it is a centre, a width of at least 1, and a function's name", parameter="window")
    center, width, function = float(match[1]), float(match[4]), match[7] or "linear"
    if not (math.isfinite(center) and math.isfinite(width) and (width >= 1 or (width > 0 and function != "linear"))):
        raise BadQuery("it is a centre, a width of at least 1, and a function's name", parameter="window")
    return Window(center, width, function)


def _viewport(parameters: dict[str, str]) -> tuple[int, int] | None:
    text = parameters.get("viewport")
    if text is None:
        return None
    match = _VIEWPORT.fullmatch(text)
    if match is None or not all(1 <= int(side) <= limits.VIEWPORT_PIXELS_MAX for side in match.groups()):
        raise BadQuery("it is columns and rows, separated by a comma", parameter="viewport")
    return int(match[1]), int(match[2])


def _quality(parameters: dict[str, str]) -> int:
    text = parameters.get("quality", "90")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 100):
        raise BadQuery("it is a whole number from 1 to 100", parameter="quality")
    return int(text)
