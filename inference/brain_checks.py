"""What is measured of a marked brain, and the checks that keep a phantom or another part of the body from being one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from inference.brain import histogram_of
from inference.components import Runs, keep_largest
from inference.conform import Conformed
from inference.errors import AnatomyAbsent
from inference.findings import Mask, Measurement, bounding_box
from inference.geometry import Canonical
from inference.morphology import dilate, erode
from inference.postprocess import RequireShaped
from inference.rules import HOUNSFIELD
from inference.steps import Item, Keyed, Keys

Where = npt.NDArray[np.bool_]

_HU_LOW = -1024
_MARGIN_MM = 12.0


class TrimBoned(Keyed):
    """Take from a mask on CT the bone that hangs together with bone outside it: skull, never calcification within.

    What the network marked before is what the checks judge: its shares of bone and of air are kept in the item.

    Parameters
    ----------
    keys
        Of the mask, along stored axes; changed in place.
    image
        Key of the `Canonical` in Hounsfield units.
    into
        Key of the shares that are made: a dictionary with `bone` and `air`.
    bone_hu, air_hu
        Above the one is bone, below the other air.

    Raises
    ------
    AnatomyAbsent
        If nothing is left.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, image: str, into: str, bone_hu: float, air_hu: float) -> None:
        super().__init__(keys)
        self.image, self.into, self.bone_hu, self.air_hu = image, into, bone_hu, air_hu

    def __call__(self, data: Item) -> Item:
        image: Canonical = data[self.image]
        mask: Where = data[self.key]
        part = _around(mask, image)
        inner, values = mask[part], image.volume.array[part]
        marked, bone = max(1, int(np.count_nonzero(inner))), values > self.bone_hu
        shares = {
            "bone": float(np.count_nonzero(bone & inner)) / marked,
            "air": float(np.count_nonzero((values < self.air_hu) & inner)) / marked,
        }
        runs = Runs.of(bone)
        if len(runs.starts):
            labels = runs.components(diagonal=True)
            open_labels = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
            open_labels[labels[_set_within(bone & ~inner, runs) > 0]] = True
            runs.paint(inner, open_labels[labels], value=False)
        if keep_largest(inner) == 0:
            raise AnatomyAbsent("what the network marks is bone")
        return {**data, self.into: shares}


def _set_within(mask: Where, runs: Runs) -> npt.NDArray[np.int64]:
    """How many voxels of a mask each run of another mask of that shape holds."""
    planes, lines, length = runs.shape
    padded = np.zeros((planes, lines + 1, length + 1), dtype=np.uint8)
    padded[:, :lines, :length] = mask
    upto = np.concatenate(([0], np.cumsum(padded.ravel(), dtype=np.int64)))
    found: npt.NDArray[np.int64] = upto[runs.ends] - upto[runs.starts]
    return found


class MeasureBraind(Keyed):
    """Volume of the brain; with Hounsfield units also its median density, and the part that has the density of fluid.

    Parameters
    ----------
    keys
        Of the mask, along stored axes.
    image
        Key of the `Canonical`.
    fluid_hu
        (lowest, highest) density of fluid, both ends within; absent where the image has no Hounsfield units.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, image: str, fluid_hu: Sequence[float] | None = None) -> None:
        super().__init__(keys)
        self.image = image
        self.fluid_hu = None if fluid_hu is None else (fluid_hu[0], fluid_hu[1])

    def __call__(self, data: Item) -> Item:
        volume = data[self.image].volume
        mask: Where = data[self.key]
        masks = [Mask("brain", mask)]
        measured = [Measurement("brain_volume", int(np.count_nonzero(mask)) * volume.voxel_ml, "mL", "brain")]
        if self.fluid_hu is not None:
            low, high = self.fluid_hu
            fluid = np.zeros(mask.shape, dtype=np.bool_)
            for plane, where, into in zip(volume.array, mask, fluid, strict=True):
                levels = np.rint(plane) if plane.dtype.kind == "f" else plane
                np.logical_and((levels >= low) & (levels <= high), where, out=into)
            counts = np.cumsum(histogram_of(volume.array, mask))
            median = _HU_LOW + int(np.searchsorted(counts, counts[-1] / 2))
            masks.append(Mask("csf", fluid))
            measured += [
                Measurement("brain_median", float(median), HOUNSFIELD, "brain"),
                Measurement("csf_volume", int(np.count_nonzero(fluid)) * volume.voxel_ml, "mL", "csf"),
            ]
        return {**data, "masks": tuple(masks), "measurements": tuple(measured)}


class RequireBrainOnCtd(RequireShaped):
    """Refuse a brain on CT that none is.

    Parameters
    ----------
    keys
        Of the mask, along stored axes.
    image
        Key of the `Canonical`.
    volume_ml, extent_mm
        (least, most) volume; and extent of the mask's box along every axis.
    border_cm2_max
        Largest area of the mask on one side of the image: more means that the brain was cut off.
    certainty_min
        Least of the score `certainty`.
    shares
        Key of what `TrimBoned` found.
    median_hu
        (least, most) median density.
    bone_share_max, air_share_max
        Of what the network marked.
    skull_hu, skull_mm, skull_share_min
        At least that share of the mask's surface has bone denser than `skull_hu` within `skull_mm`.

    Raises
    ------
    ImplausibleFindings
        Naming the first check that fails; never the values, which are clinical.
    """

    def __init__(
        self,
        keys: Keys,
        image: str,
        volume_ml: Sequence[float],
        extent_mm: Sequence[float],
        border_cm2_max: float,
        certainty_min: float,
        shares: str,
        median_hu: Sequence[float],
        bone_share_max: float,
        air_share_max: float,
        skull_hu: float,
        skull_mm: float,
        skull_share_min: float,
    ) -> None:
        super().__init__(keys, image, "brain_volume", volume_ml, extent_mm, border_cm2_max, certainty_min)
        self.shares, self.median_hu = shares, tuple(median_hu)
        self.bone_share_max, self.air_share_max = bone_share_max, air_share_max
        self.skull_hu, self.skull_mm, self.skull_share_min = skull_hu, skull_mm, skull_share_min

    def further(self, data: Item) -> dict[str, bool]:
        """Density, what the network marked of bone and air, and the skull around."""
        median = next(item.value for item in data["measurements"] if item.key == "brain_median")
        skull = skull_share(data[self.key], data[self.image], self.skull_hu, self.skull_mm)
        return {
            "density": self.median_hu[0] <= median <= self.median_hu[1],
            "bone": data[self.shares]["bone"] <= self.bone_share_max,
            "air": data[self.shares]["air"] <= self.air_share_max,
            "skull": skull >= self.skull_share_min,
        }


class RequireBrainOnMrd(RequireShaped):
    """Refuse a brain on MR that none is.

    Parameters
    ----------
    keys, image, volume_ml, extent_mm, border_cm2_max, certainty_min
        As of `RequireBrainOnCtd`.
    cube
        Key of the `Conformed`.
    variation
        (least, most) spread of intensities inside the mask as a share of their mean: what is filled evenly is a phantom.
    brightness_min
        How many times brighter the mask must be, on the average, than all of the cube.

    Raises
    ------
    ImplausibleFindings
        Naming the first check that fails; never the values, which are clinical.
    """

    def __init__(
        self,
        keys: Keys,
        image: str,
        volume_ml: Sequence[float],
        extent_mm: Sequence[float],
        border_cm2_max: float,
        certainty_min: float,
        cube: str,
        variation: Sequence[float],
        brightness_min: float,
    ) -> None:
        super().__init__(keys, image, "brain_volume", volume_ml, extent_mm, border_cm2_max, certainty_min)
        self.cube, self.variation, self.brightness_min = cube, tuple(variation), brightness_min

    def further(self, data: Item) -> dict[str, bool]:
        """Texture and brightness."""
        variation, brightness = texture(data[self.key], data[self.image], data[self.cube])
        return {
            "texture": self.variation[0] <= variation <= self.variation[1],
            "brightness": brightness >= self.brightness_min,
        }


def skull_share(mask: Where, image: Canonical, bone_hu: float, within_mm: float) -> float:
    """Share of a mask's surface that has bone within a distance, along the axes of the image.

    The ends of the image do not count as surface: there the brain may go on.
    """
    part = _around(mask, image)
    inner = mask[part]
    radii = [max(1, int(within_mm / step)) for step in image.volume.spacing_mm[::-1]]
    surface = inner & ~erode(inner, (1, 1, 1))
    near = dilate(image.volume.array[part] > bone_hu, radii)
    count = int(np.count_nonzero(surface))
    return float(np.count_nonzero(surface & near)) / count if count else 0.0


def texture(mask: Where, image: Canonical, cube: Conformed) -> tuple[float, float]:
    """Spread inside a mask as a share of the mean there, and that mean as a multiple of the whole cube's."""
    total = squares = 0.0
    count = 0
    for plane, where in zip(image.volume.array, mask, strict=True):
        values = plane[where].astype(np.float64)
        total, squares, count = total + float(values.sum()), squares + float(values @ values), count + values.size
    whole = float(cube.array.mean(dtype=np.float64))
    if not count or total <= 0 or whole <= 0:
        return 0.0, 0.0
    mean = total / count
    spread = max(0.0, squares / count - mean * mean) ** 0.5
    inside = _mean_in_cube(mask, image, cube)
    return spread / mean, inside / whole


def _mean_in_cube(mask: Where, image: Canonical, cube: Conformed) -> float:
    """Mean byte of the cube at a sample of the mask's voxels."""
    z, y, x = np.nonzero(mask[:: max(1, mask.shape[0] // 64), ::4, ::4])
    stored = (z * max(1, mask.shape[0] // 64), y * 4, x * 4)
    seen = []
    for axis, flipped in zip(image.axes.order, image.axes.flipped, strict=True):
        seen.append(mask.shape[axis] - 1 - stored[axis] if flipped else stored[axis])
    inverse = np.linalg.inv(cube.to_source)
    at = np.rint(np.stack(seen, axis=-1) @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int64)
    within = ((at >= 0) & (at < cube.array.shape[0])).all(axis=1)
    picked = cube.array[tuple(at[within].T)]
    return float(picked.mean()) if picked.size else 0.0


def _around(mask: Where, image: Canonical) -> tuple[slice, slice, slice]:
    """The mask's box and some millimetres around it."""
    margins = [int(_MARGIN_MM / step) + 2 for step in image.volume.spacing_mm[::-1]]
    z, y, x = (
        slice(max(0, low - margin), min(size, high + margin))
        for (low, high), margin, size in zip(bounding_box(mask), margins, mask.shape, strict=True)
    )
    return (z, y, x)
