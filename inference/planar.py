"""Transforms of planar images (radiographs, ultrasound): one frame after the other, so that a clip is never held as floats.

`image` is a `Volume` of the unit `display`, axes (frames, rows, columns). A step that refuses says which check failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bithive.limits import PLANAR_FRAMES_MAX
from inference.errors import AnatomyAbsent, UnsupportedVolume
from inference.findings import Classification, Score
from inference.sector import Crop, Screen, find_sector, widened
from inference.steps import Item, Keyed, Keys, Network
from inference.volume import DISPLAY, Volume

Float = npt.NDArray[np.float32]

_LEAST = 1e-30
_FLAT = 1e-6


class CheckPlanard(Keyed):
    """Refuse what is no stack of landscape screens of a usable size.

    Parameters
    ----------
    keys
        Of a `Volume`.
    rows_min, columns_min
        Of a frame.
    aspect
        (least, most) columns for each row. Slices and detectors are square, screens are wider than high.
    contrast_min
        Least difference of the darkest and the brightest pixel, as a share of white, that at least one frame must have.

    Raises
    ------
    UnsupportedVolume
        With the `check` that failed: `unit`, `size`, `frames` or `aspect`.
    AnatomyAbsent
        If every frame is the same everywhere.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(
        self, keys: Keys, rows_min: int, columns_min: int, aspect: Sequence[float], contrast_min: float
    ) -> None:
        super().__init__(keys)
        self.rows_min, self.columns_min, self.contrast_min = rows_min, columns_min, contrast_min
        self.aspect_min, self.aspect_max = aspect

    def __call__(self, data: Item) -> Item:
        for key in self.keys:
            self._check(data[key])
        return data

    def _check(self, volume: Volume) -> None:
        frames, rows, columns = volume.array.shape
        checks = {
            "unit": volume.unit == DISPLAY,
            "size": rows >= self.rows_min and columns >= self.columns_min,
            "frames": frames <= PLANAR_FRAMES_MAX,
            "aspect": self.aspect_min <= columns / rows <= self.aspect_max,
        }
        for check, held in checks.items():
            if not held:
                raise UnsupportedVolume("this is no screen of an ultrasound machine", check=check)
        least = self.contrast_min * np.iinfo(volume.array.dtype).max
        if not any(float(np.ptp(frame)) >= least for frame in volume.array):
            raise AnatomyAbsent("the image is the same everywhere", check="contrast")


class LocateSectord(Keyed):
    """Find the part of each frame that a network is given.

    A screen of known layout is cut where the network's training images were; on any other one the lit sector is searched
    (`inference.sector`), and its box is widened to the same proportions: whole, and without a part of its top, since where
    exactly the authors would have cut it is not known.

    Parameters
    ----------
    keys
        Of a `Volume` of screens.
    into
        Key of the tuple that is made: for each frame its `Crop`s, none where no sector is to be seen.
    screens
        Known layouts: members as `inference.sector.Screen`.
    area_min, filled_min, surround_min, surround_dark_min, shadow_min, grain_min
        What a sector must reach at least; see `inference.sector.Sector`.
    trims
        What is left away at the top of a box that was searched, as shares of its height: one crop for each.
    side
        (least, most) of the shorter of its straight sides: a framed photograph's are as long as the picture is high.

    Raises
    ------
    AnatomyAbsent
        If no frame has a sector (`check`: `sector`): a photograph, a radiograph, noise.
    """

    stage: ClassVar[str] = "locating"

    def __init__(
        self,
        keys: Keys,
        into: str,
        screens: Sequence[Mapping[str, Any]],
        area_min: float,
        filled_min: float,
        surround_min: float,
        surround_dark_min: float,
        shadow_min: float,
        grain_min: float,
        side: Sequence[float],
        trims: Sequence[float],
    ) -> None:
        super().__init__(keys)
        self.trims = tuple(float(trim) for trim in trims)
        if not self.trims or not all(0 <= trim < 1 for trim in self.trims):
            raise ValueError("something of a box is left")
        self.into, self.screens = into, tuple(Screen.of(dict(screen)) for screen in screens)
        self.shape = self.screens[0].crop.shape
        self.side_min, self.side_max = side
        self.least = {
            "area": area_min,
            "filled": filled_min,
            "surround": surround_min,
            "surround_dark": surround_dark_min,
            "shadow": shadow_min,
            "grain": grain_min,
        }

    def __call__(self, data: Item) -> Item:
        crops = tuple(self._crops(frame) for frame in data[self.key].array)
        if not any(crops):
            raise AnatomyAbsent("no sector of an ultrasound image is to be seen", check="sector")
        return {**data, self.into: crops}

    def _crops(self, frame: npt.NDArray[Any]) -> tuple[Crop, ...]:
        screen = next((screen for screen in self.screens if screen.is_of(frame)), None)
        if screen is not None:
            return (screen.crop,)
        sector = find_sector(frame)
        if sector is None:
            return ()
        if not self.side_min <= min(sector.left_side, sector.right_side) <= self.side_max:
            return ()
        if any(getattr(sector, name) < least for name, least in self.least.items()):
            return ()
        box = sector.box
        tops = (box.top + round(trim * box.shape[0]) for trim in self.trims)
        return tuple(widened(replace(box, top=top), self.shape) for top in tops)


class ClassifyFramesd(Keyed):
    """Ask a network about each frame, in several views of it, and average what it answers.

    A view is the crop without a margin on one side or the other, mirrored or not; the planes it is asked for have no
    handedness. Averaging the logarithms of the shares makes the answer less dependent on where the crop falls. Where a
    frame has several crops, a class has the least share that any of them gives it: what depends on the crop is not clear.

    Parameters
    ----------
    keys
        Of a `Volume`.
    into
        Key of the float64 array that is made: (frames, classes), shares that sum to 1 at most; NaN where there is no crop.
    within
        Key of the crops.
    network
        (1, 1, rows, columns) standardised by the view's own mean and standard deviation, to shares of classes on axis 1.
    spatial_size
        (rows, columns) of its input.
    margin
        What a view leaves away along each axis, as a share of the crop.
    views
        For each view [top, left, mirrored]: which part of that margin it leaves away at the top and at the left (0 to 1),
        and whether it is mirrored.
    scale
        What a standard deviation is given as.

    Raises
    ------
    AnatomyAbsent
        If every crop is the same everywhere (`check`: `contrast`).
    """

    stage: ClassVar[str] = "segmenting"

    def __init__(
        self,
        keys: Keys,
        into: str,
        within: str,
        network: Network,
        spatial_size: Sequence[int],
        margin: float,
        views: Sequence[Sequence[float]],
        scale: float,
    ) -> None:
        super().__init__(keys)
        self.into, self.within, self.network = into, within, network
        rows, columns = spatial_size
        self.spatial_size, self.margin, self.scale = (rows, columns), margin, scale
        self.views = tuple((float(top), float(left), bool(mirrored)) for top, left, mirrored in views)
        if not self.views or not 0 <= margin < 1 or not all(0 <= part <= 1 for view in self.views for part in view[:2]):
            raise ValueError("views lie within the crop")

    def __call__(self, data: Item) -> Item:
        volume: Volume = data[self.key]
        found = [self._shares(frame, crops) for frame, crops in zip(volume.array, data[self.within], strict=True)]
        classes = max(len(shares) for shares in found)
        if not classes:
            raise AnatomyAbsent("the image is the same everywhere", check="contrast")
        rows = [shares if len(shares) else np.full(classes, np.nan) for shares in found]
        return {**data, self.into: np.stack(rows)}

    def _shares(self, frame: npt.NDArray[Any], crops: Sequence[Crop]) -> npt.NDArray[np.float64]:
        cut = [crop.of(frame) for crop in crops]
        found = [self._of_crop(pixels) for pixels in cut if np.ptp(pixels)]
        return np.asarray(np.min(found, axis=0) if found else [], np.float64)

    def _of_crop(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        logarithms = [np.log(np.maximum(self._answer(pixels, view), _LEAST)) for view in self.views]
        mean = np.mean(logarithms, axis=0)
        shares = np.exp(mean - mean.max())
        return np.asarray(shares / shares.sum(), np.float64)

    def _answer(self, pixels: npt.NDArray[Any], view: tuple[float, float, bool]) -> npt.NDArray[np.float64]:
        top, left, mirrored = view
        rows, columns = (round(self.margin * size) for size in pixels.shape)
        y, x = round(top * rows), round(left * columns)
        cut = pixels[y : y + pixels.shape[0] - rows, x : x + pixels.shape[1] - columns]
        image = resized(cut[:, ::-1] if mirrored else cut, self.spatial_size)
        standardised = (image - image.mean(dtype=np.float64)) * (self.scale / max(float(image.std()), _FLAT))
        answer = self.network(np.ascontiguousarray(standardised, np.float32)[None, None])
        return answer.reshape(-1).astype(np.float64)


class NamePlanesd(Keyed):
    """Turn each frame's shares into one class, and none of the planes where that is not clear.

    Parameters
    ----------
    keys
        Of an array (frames, classes).
    classification
        Key of the `Classification` of each frame.
    classes
        Keys in the order of the network's answer.
    background
        That which stands for none of the others.
    certainty_min, lead_min
        A frame is given another class than the background only if the class has at least this share, and this much more
        than the next.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(
        self,
        keys: Keys,
        classification: str,
        classes: Sequence[str],
        background: str,
        certainty_min: float,
        lead_min: float,
    ) -> None:
        super().__init__(keys)
        self.classification, self.classes, self.background = classification, tuple(classes), background
        self.certainty_min, self.lead_min = certainty_min, lead_min
        if background not in self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError("the background is one of the classes, each of which occurs once")

    def __call__(self, data: Item) -> Item:
        shares: npt.NDArray[np.float64] = data[self.key]
        if shares.shape[1] != len(self.classes):
            raise ValueError("the network answers another number of classes")
        named = tuple(self._named(number, row) for number, row in enumerate(shares))
        best = max((item.certainty for item in named if item.value != self.background), default=0.0)
        return {**data, "classes": named, "scores": (*data.get("scores", ()), Score("certainty", best))}

    def _named(self, frame: int, shares: npt.NDArray[np.float64]) -> Classification:
        if not np.isfinite(shares).all():
            return Classification(self.classification, frame, self.background, 1.0)
        second, first = np.sort(shares)[-2:]
        value = self.classes[int(np.argmax(shares))]
        if value != self.background and (first < self.certainty_min or first - second < self.lead_min):
            return Classification(self.classification, frame, self.background, float(min(1.0, 1.0 - first)))
        return Classification(self.classification, frame, value, float(min(1.0, first)))


def resized(image: npt.NDArray[Any], shape: Sequence[int]) -> Float:
    """Linear interpolation between the four nearest pixel centres, without smoothing first; (rows, columns) float32."""
    (top, bottom, down), (left, right, along) = (_between(*sizes) for sizes in zip(image.shape, shape, strict=True))
    upper, lower = image[top].astype(np.float32), image[bottom].astype(np.float32)
    rows = upper + (lower - upper) * down[:, None]
    first, second = rows[:, left], rows[:, right]
    found: Float = first + (second - first) * along
    return found


def _between(size: int, wanted: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float]:
    """For each wanted pixel the two nearest ones along an axis, and how far it lies from the first."""
    at = np.clip((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0, size - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32)
