"""Transforms of chest radiographs for a network that sees films of 28 x 28 grey levels, as PneumoniaMNIST has them.

`image` is a `Volume` of the unit `display`, axes (frames, rows, columns); each frame is a film of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bithive.limits import PLANAR_FRAMES_MAX
from inference.errors import NotAChestRadiograph, UnsupportedVolume
from inference.findings import ScalarMap, Score
from inference.planar import resized
from inference.steps import Item, Keyed, Keys, Network
from inference.volume import DISPLAY, Volume

Float = npt.NDArray[np.float32]

PROBABILITY, DISTANCE, RESIDUAL = 0, 1, 2
"""Columns of the network's answer."""

_CUBIC = -0.5
_SUPPORT = 2.0
_LEAST = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One frame as the network sees it.

    Attributes
    ----------
    top, left, side
        The centre square of the frame, in its pixels.
    grey
        (rows, columns) of the network's size, 0 black to 1 white in 255 steps.
    """

    top: int
    left: int
    side: int
    grey: Float


class CheckFilmd(Keyed):
    """Refuse what cannot be a film.

    Parameters
    ----------
    keys
        Of a `Volume`.
    aspect
        (least, most) columns for each row.
    contrast_min
        Least difference of the 1st and 99th percentile, as a share of white.

    Raises
    ------
    UnsupportedVolume
        If the image is not planar, or has too many frames.
    NotAChestRadiograph
        With the `check` that failed: `aspect`, `contrast`.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, aspect: Sequence[float], contrast_min: float) -> None:
        super().__init__(keys)
        self.aspect_min, self.aspect_max = aspect
        self.contrast_min = contrast_min

    def __call__(self, data: Item) -> Item:
        volume: Volume = data[self.key]
        frames, rows, columns = volume.array.shape
        if volume.unit != DISPLAY or frames > PLANAR_FRAMES_MAX:
            raise UnsupportedVolume("this is no radiograph", check="unit" if volume.unit != DISPLAY else "frames")
        if not self.aspect_min <= columns / rows <= self.aspect_max:
            raise NotAChestRadiograph("no film has this shape", check="aspect")
        white = float(np.iinfo(volume.array.dtype).max)
        for frame in volume.array:
            low, high = np.percentile(frame, (1.0, 99.0))
            if high - low < self.contrast_min * white:
                raise NotAChestRadiograph("the image is nearly the same everywhere", check="contrast")
        return data


class ShrinkFilmsd(Keyed):
    """The centre square of each frame, its side the shorter one of the frame, at the network's size.

    The images that the network learnt from were made so (Yang et al., Scientific Data 10:41, 2023): bicubic, smoothed
    before it is thinned out, in 256 grey levels. An image of that size passes unchanged.

    Parameters
    ----------
    keys
        Of a `Volume`.
    into
        Key of the tuple of `Film` that is made.
    spatial_size
        Side of a film, in pixels.
    """

    stage: ClassVar[str] = "preparing"

    def __init__(self, keys: Keys, into: str, spatial_size: int) -> None:
        super().__init__(keys)
        self.into, self.size = into, spatial_size

    def __call__(self, data: Item) -> Item:
        return {**data, self.into: tuple(self._film(frame) for frame in data[self.key].array)}

    def _film(self, frame: npt.NDArray[Any]) -> Film:
        side = min(frame.shape)
        top, left = ((size - side) // 2 for size in frame.shape)
        square = frame[top : top + side, left : left + side]
        scale = 255.0 / np.iinfo(frame.dtype).max
        levels = shrunk(square.astype(np.float32) * np.float32(scale), self.size)
        return Film(top, left, side, np.asarray(np.rint(np.clip(levels, 0, 255)) / 255, np.float32))


class AskNetworkd(Keyed):
    """The network's answer to each film, and to the film with one patch after the other hidden.

    Parameters
    ----------
    keys
        Of the films.
    into
        Key of the float64 array that is made: (films, 1 + patches, 3); columns as `PROBABILITY`, `DISTANCE`, `RESIDUAL`.
    network
        (1 + patches, 1, rows, columns) to (1 + patches, 3, 1, 1).
    patch, stride
        Side of a square patch and distance of neighbouring ones, in pixels of the film.
    """

    stage: ClassVar[str] = "segmenting"

    def __init__(self, keys: Keys, into: str, network: Network, patch: int, stride: int) -> None:
        super().__init__(keys)
        self.into, self.network, self.patch, self.stride = into, network, patch, stride

    def __call__(self, data: Item) -> Item:
        answers = [self._answer(film.grey) for film in data[self.key]]
        return {**data, self.into: np.stack(answers)}

    def _answer(self, grey: Float) -> npt.NDArray[np.float64]:
        places = corners(len(grey), self.patch, self.stride)
        batch = np.repeat(grey[None, None], 1 + len(places) ** 2, axis=0)
        mean = grey.mean()
        for number, (y, x) in enumerate(((y, x) for y in places for x in places), start=1):
            batch[number, 0, y : y + self.patch, x : x + self.patch] = mean
        answer = np.asarray(self.network(batch), np.float64).reshape(len(batch), 3)
        if not np.isfinite(answer).all():
            raise NotAChestRadiograph("the network gives no number for it", check="answer")
        return answer


class RequireChestFilmd(Keyed):
    """Refuse a film that is unlike those that the network learnt from.

    Parameters
    ----------
    keys
        Of the answers.
    distance_max, residual_max
        Of the film's features from those of the training films; and what their principal components leave of it. The
        network gives both in units of its own limit.

    Raises
    ------
    NotAChestRadiograph
        With the `check` that failed: `features`, `appearance`.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, distance_max: float, residual_max: float) -> None:
        super().__init__(keys)
        self.distance_max, self.residual_max = distance_max, residual_max

    def __call__(self, data: Item) -> Item:
        for answer in data[self.key][:, 0]:
            if answer[RESIDUAL] > self.residual_max:
                raise NotAChestRadiograph("it does not look like a frontal chest film", check="appearance")
            if answer[DISTANCE] > self.distance_max:
                raise NotAChestRadiograph("the network was never shown anything like it", check="features")
        return data


class ScoreFilmsd(Keyed):
    """The probability, and what it rests on: how far it falls where a part of the film is hidden.

    Parameters
    ----------
    keys
        Of the answers.
    image, films
        Keys of the `Volume` and of the films.
    score, map
        Keys of the `Score`, the highest of all films, and of the `ScalarMap`: 0 to 1 of the largest fall of the log odds on
        any film, 0 outside the square that the network sees.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, image: str, films: str, score: str, map: str) -> None:  # noqa: A002
        super().__init__(keys)
        self.image, self.films, self.score, self.map = image, films, score, map

    def __call__(self, data: Item) -> Item:
        answers: npt.NDArray[np.float64] = data[self.key]
        shape = data[self.image].array.shape
        falls = [_falls(answer[:, PROBABILITY]) for answer in answers]
        most = max(_LEAST, *(float(fall.max()) for fall in falls))
        saliency = np.zeros(shape, np.float32)
        for plane, film, fall in zip(saliency, data[self.films], falls, strict=True):
            square = resized(fall / most, (film.side, film.side))
            plane[film.top : film.top + film.side, film.left : film.left + film.side] = np.clip(square, 0, 1)
        highest = float(answers[:, 0, PROBABILITY].max())
        return {
            **data,
            "scores": (*data.get("scores", ()), Score(self.score, min(1.0, max(0.0, highest)))),
            "maps": (*data.get("maps", ()), ScalarMap(self.map, saliency)),
        }


def corners(size: int, patch: int, stride: int) -> range:
    """Where patches begin along an axis."""
    return range(0, size - patch + 1, stride)


def shrunk(image: Float, size: int) -> Float:
    """A square image at another size: cubic convolution (Keys 1981, a = -0.5) widened by the scale, so that it smooths.

    Parameters
    ----------
    image
        (side, side).
    size
        Of the answer; `image` itself when it has that size.
    """
    if len(image) == size:
        return image
    weights = _weights(len(image), size)
    found: Float = (weights @ image @ weights.T).astype(np.float32)
    return found


def _weights(given: int, wanted: int) -> Float:
    """(wanted, given): how much each pixel along an axis adds to each wanted one."""
    scale = given / wanted
    widened = max(scale, 1.0)
    weights = np.zeros((wanted, given), np.float64)
    for place in range(wanted):
        centre = (place + 0.5) * scale
        first = max(0, int(centre - _SUPPORT * widened + 0.5))
        past = min(given, int(centre + _SUPPORT * widened + 0.5))
        row = _cubic((np.arange(first, past) + 0.5 - centre) / widened)
        weights[place, first:past] = row / row.sum()
    return weights.astype(np.float32)


def _cubic(at: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    far = np.abs(at)
    near = ((_CUBIC + 2) * far - (_CUBIC + 3)) * far**2 + 1
    beyond = (((far - 5) * far + 8) * far - 4) * _CUBIC
    return np.where(far < 1, near, np.where(far < _SUPPORT, beyond, 0.0))


def _falls(probabilities: npt.NDArray[np.float64]) -> Float:
    """How far the log odds fall with each patch hidden: (patches along y, along x), 0 where they rise."""
    inside = np.clip(probabilities, _LEAST, 1 - _LEAST)
    odds = np.log(inside / (1 - inside))
    side = round((len(odds) - 1) ** 0.5)
    falls: Float = np.maximum(odds[0] - odds[1:], 0.0).astype(np.float32).reshape(side, side)
    return falls
