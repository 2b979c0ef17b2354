"""Runs a detector of the zoo's form: Volume in, boxes with a certainty out. A box is no segmentation, and no mask is made.

The image is brought to the voxel size of the anchors, filled up at its far ends to a size that the network divides, and
given to the network whole, or in sliding windows where it is larger than one: what MONAI's `RetinaNetDetector` and the
zoo's inferer do. `inference.boxes` chooses among the boxes; what they hold in the patient is told in LPS millimetres.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.boxes import Array, Boxes, Choice, chosen
from inference.errors import BundleRefused, TransformUnsupported, UnsupportedVolume
from inference.findings import Findings, Region
from inference.volume import Volume, VolumeSet
from inference.windows import Network, Size, Windows, plan
from inference.zoo_given import Given
from inference.zoo_picture import Picture
from inference.zoo_plan import plan_of, preparation_of
from inference.zoo_spatial import CropCentre, CropForeground, Pad, Resize

Progress = Callable[[str, float], None]
Networks = Callable[[tuple[int, ...]], Network]
"""A network for inputs of that shape (batch, channel, x, y, z)."""

_SEGMENTING, _MEASURING = 0.1, 0.95
_EDGES = 6
_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class DetectorPlan:
    """How a detector runs.

    Attributes
    ----------
    preparation
        From the source to the network's grid.
    windows
        How the network passes over a grid that is larger than one window.
    always
        Whether windows are used on a smaller one too.
    shapes
        Of each level the sizes of its anchors, (anchors, 3) in voxels.
    divisor
        What the network's input is a multiple of, along (x, y, z).
    classes
        How many there are.
    choice
        Which boxes are kept.
    """

    preparation: tuple[Any, ...]
    windows: Windows
    always: bool
    shapes: tuple[Array, ...]
    divisor: Size
    classes: int
    choice: Choice

    @property
    def window(self) -> Size:
        """Voxels of a window along (x, y, z)."""
        return self.windows.roi_size

    def padded(self, size: Sequence[int]) -> Size:
        """Voxels of the network's grid, filled up."""
        x, y, z = (-(-length // step) * step for length, step in zip(size, self.divisor, strict=True))
        return (x, y, z)

    def at_once(self, size: Sequence[int]) -> Size:
        """What the network is given of an image of that size at a time."""
        whole = not self.always and math.prod(size) < math.prod(self.window)
        return self.padded(size) if whole else self.window

    def level(self, size: Sequence[int], number: int) -> Size:
        """Places of a level over so many voxels; levels halve, and the coarsest has one place for each divisor."""
        finer = 2 ** (len(self.shapes) - 1 - number)
        x, y, z = (length * finer // step for length, step in zip(size, self.divisor, strict=True))
        return (x, y, z)


def carried_out(parts: Mapping[str, Any]) -> object:
    """Whether interpreted parts of a bundle can be carried out: those of a detector, or of one that labels voxels.

    Raises
    ------
    TransformUnsupported
        Naming what cannot be carried out exactly.
    """
    return detector_plan_of(parts) if "detector" in parts else plan_of(parts)


def detector_plan_of(parts: Mapping[str, Any]) -> DetectorPlan:
    """Understand a detector.

    Parameters
    ----------
    parts
        As `models.detector.parts_of` gives them.

    Raises
    ------
    TransformUnsupported
        Naming what cannot be carried out exactly.
    """
    preparation, _ = preparation_of(parts["preprocessing"])
    if any(isinstance(step, CropCentre | CropForeground | Pad | Resize) for step in preparation):
        raise TransformUnsupported("a detector that crops or resizes its image is not carried out here")
    _check_answer(parts["postprocessing"])
    network, detector = Given.of(parts["network_def"], "network"), Given.of(parts["detector"], "detector")
    divisor, classes = network.whole3("size_divisible", 1), network.whole("num_classes", 1)
    kinds, dims = network.whole("num_anchors", 1), network.whole("spatial_dims", 3)
    for name, value in (("spatial_dims", dims), ("num_classes", classes)):
        detector.only(name, value)
    if detector.whole3("size_divisible", list(divisor)) != divisor or dims != 3 or classes < 1 or min(divisor) < 1:
        raise detector.refuse("is of other dimensions than its network")
    detector.leave("debug", "target_keys")
    windows = _windows(detector.take("sliding_window_inferer"), divisor)
    choice = _choice(detector.take("box_selector_parameters"))
    detector.done()
    inferer = Given.of(parts["inferer"], "inferer")
    always = inferer.flag("force_sliding_window", False)
    inferer.done()
    return DetectorPlan(
        preparation, windows, always, _shapes(parts["anchor_generator"], kinds, divisor), divisor, classes, choice
    )


def _check_answer(part: Any) -> None:
    """The three steps that bring boxes into the patient, as the zoo writes them; here they are one step."""
    steps = [Given.of(node, "postprocessing") for node in part.get("transforms", [])]
    wanted = ["ClipBoxToImaged", "AffineBoxToWorldCoordinated", "ConvertBoxModed"]
    kept = [step for step in steps if step.target != "DeleteItemsd"]
    if [step.target for step in kept] != wanted:
        raise TransformUnsupported("boxes that are brought into the patient in another way are not carried out here")
    clip, world, mode = kept
    clip.only("remove_empty", True)
    world.only("affine_lps_to_ras", True)
    mode.only("src_mode", "xyzxyz")
    mode.only("dst_mode", "cccwhd")
    for step in kept:
        step.leave(*("box_keys", "label_keys", "box_ref_image_keys", "allow_missing_keys"))
        step.leave(*("image_meta_key", "image_meta_key_postfix"))
        step.done()


def _windows(arguments: Mapping[str, Any], divisor: Size) -> Windows:
    given = Given("set_sliding_window_inferer", dict(arguments))
    given.only("mode", "constant")
    given.only("padding_mode", "constant")
    given.only("cval", 0.0, 0)
    given.leave(*("device", "sw_device", "progress", "cache_roi_weight_map", "sw_batch_size", "sigma_scale"))
    size = given.whole3("roi_size")
    if any(length < 1 or length % step for length, step in zip(size, divisor, strict=True)):
        raise given.refuse("has a window that its network does not divide")
    made = Windows(size, given.number3("overlap", 0.5))
    given.done()
    return made


def _choice(arguments: Mapping[str, Any]) -> Choice:
    given = Given("set_box_selector_parameters", dict(arguments))
    given.only("apply_sigmoid", True)
    made = Choice(
        given.number("score_thresh", 0.05),
        given.whole("topk_candidates_per_level", 1000),
        given.number("nms_thresh", 0.5),
        given.whole("detections_per_img", 300),
    )
    given.done()
    if not (0 <= made.score_least < 1 and 0 <= made.overlap_most <= 1 and 1 <= made.level_max <= 10_000):
        raise given.refuse("chooses out of range")
    if not 1 <= made.boxes_max <= 1_000:
        raise given.refuse("chooses out of range")
    return made


def _shapes(part: Any, kinds: int, divisor: Size) -> tuple[Array, ...]:
    given = Given.of(part, "anchor generator")
    given.only("indexing", "ij")
    scales, shapes = given.take("feature_map_scales", [1, 2, 4, 8]), given.take("base_anchor_shapes")
    given.done()
    try:
        made = tuple(np.float32(scale) * np.asarray(shapes, dtype=np.float32) for scale in scales)
    except (TypeError, ValueError):
        raise given.refuse("has shapes that are no numbers") from None
    plain = 1 <= len(made) <= 8 and all(item.shape == (kinds, 3) and (item > 0).all() for item in made)
    if not plain or any(step % 2 ** (len(made) - 1) for step in divisor):
        raise given.refuse("has other anchors than its network, or other levels")
    return made


class DetectorRun:
    """A detector with its network in memory.

    Parameters
    ----------
    made
        What to do.
    networks
        Gives the network for a shape; one is kept.
    keys
        Of the classes.
    """

    def __init__(self, made: DetectorPlan, networks: Networks, keys: Sequence[str]) -> None:
        if len(keys) != made.classes:
            raise BundleRefused("the network has other classes than the bundle names")
        self._plan, self._keys = made, tuple(keys)
        self._networks = lru_cache(maxsize=1)(networks)

    def run(self, volume: Volume | VolumeSet, progress: Progress) -> Findings:
        """Find the boxes. Raises `UnsupportedVolume`, and what the engine raises."""
        if isinstance(volume, VolumeSet) or volume.unit != "HU":
            raise UnsupportedVolume("the image's unit is not the one that this bundle takes")
        progress("preparing", 0.0)
        picture = Picture(volume)
        for step in self._plan.preparation:
            step.apply(picture)
        image = picture.finished()
        low, high = float(image.min()), float(image.max())
        if not np.isfinite((low, high)).all() or low == high:
            raise UnsupportedVolume("the image is the same everywhere, or its intensities cannot be scaled")
        progress("segmenting", _SEGMENTING)
        share = _MEASURING - _SEGMENTING
        boxes = detected(
            image, self._plan, self._networks, lambda done: progress("segmenting", _SEGMENTING + share * done)
        )
        progress("measuring", _MEASURING)
        return Findings(regions=regions_of(boxes, picture.affine, self._keys))


def detected(
    image: Array, made: DetectorPlan, networks: Networks, tell: Callable[[float], None] = lambda _share: None
) -> Boxes:
    """The boxes of an image on the network's grid.

    Parameters
    ----------
    image
        float32, axes (x, y, z).
    made, networks
        What to do, and with what.
    tell
        Called with the share that is done.
    """
    size = image.shape
    padded = made.padded(size)
    whole = np.pad(image, [(0, filled - own) for own, filled in zip(size, padded, strict=True)])[None, None]
    given = made.at_once(size)
    network = networks((1, 1, *given))
    if given == padded:
        maps = _unpacked(network(np.ascontiguousarray(whole)), made, given)
    else:
        maps = _stitched(whole, made, network, tell)
    if not all(np.isfinite(item).all() for item in maps):
        raise UnsupportedVolume("the network gives no numbers for this image")
    levels = len(made.shapes)
    return chosen(maps[:levels], maps[levels:], made.shapes, size, padded, made.choice)


def _unpacked(answer: Array, made: DetectorPlan, size: Sequence[int]) -> list[Array]:
    """What the engine laid end to end: each level's logits, then each level's regression values."""
    maps, start, flat = list[Array](), 0, answer.reshape(-1)
    for values in (made.classes, _EDGES):
        for number, shapes in enumerate(made.shapes):
            shape = (len(shapes) * values, *made.level(size, number))
            count = math.prod(shape)
            maps.append(flat[start : start + count].reshape(shape) if start + count <= len(flat) else flat[:0])
            start += count
    if start != len(flat):
        raise BundleRefused("a network answers with other levels than its anchors have")
    return maps


def _stitched(whole: Array, made: DetectorPlan, network: Network, tell: Callable[[float], None]) -> list[Array]:
    """Maps of all windows, the mean where they overlap, and without what was filled up around a small image.

    Rounding is that of MONAI's `sliding_window_inference`, whose places on a coarse level may be half a voxel off.
    """
    places = plan(whole.shape[2:], made.windows)
    around = [(low, full - own - low) for low, full, own in zip(places.before, places.size, places.image, strict=True)]
    image = np.pad(whole, [(0, 0), (0, 0), *around])
    sums: list[Array] = []
    counts: list[Array] = []
    for done, start in enumerate(itertools.product(*places.starts), 1):
        window = image[(slice(None), slice(None), *_part(start, places.roi))]
        maps = _unpacked(network(np.ascontiguousarray(window)), made, places.roi)
        if not sums:
            sizes = [_scaled(places.size, item.shape[1:], places.roi) for item in maps]
            sums = [np.zeros((len(item), *size), dtype=np.float32) for item, size in zip(maps, sizes, strict=True)]
            counts = [np.zeros(size, dtype=np.float32) for size in sizes]
        for item, total, count in zip(maps, sums, counts, strict=True):
            part = _part(_scaled(start, item.shape[1:], places.roi), item.shape[1:])
            total[(slice(None), *part)] += item
            count[part] += np.float32(1.0)
        tell(done / places.count)
    levels = [item.shape[1:] for item in maps]
    return [
        (total / count)[(slice(None), *_inner(places.before, places.image, level, places.roi))]
        for total, count, level in zip(sums, counts, levels, strict=True)
    ]


def _scaled(voxels: Sequence[int], level: Sequence[int], roi: Sequence[int]) -> Size:
    x, y, z = (int(length * (places / size)) for length, places, size in zip(voxels, level, roi, strict=True))
    return (x, y, z)


def _part(start: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))


def _inner(before: Sequence[int], size: Sequence[int], level: Sequence[int], roi: Sequence[int]) -> tuple[slice, ...]:
    scales = [places / length for places, length in zip(level, roi, strict=True)]
    return tuple(
        slice(round(low * scale), round((low + own) * scale))
        for low, own, scale in zip(before, size, scales, strict=True)
    )


def regions_of(boxes: Boxes, affine: npt.NDArray[np.float64], keys: Sequence[str]) -> tuple[Region, ...]:
    """Boxes in the patient: the smallest along the patient's axes that hold them; numbered from 1, the best first.

    Parameters
    ----------
    boxes
        In voxels of a grid.
    affine
        (4, 4): index of that grid to RAS millimetres.
    keys
        Of the classes.
    """
    found = []
    for number, (corners, score, kind) in enumerate(zip(boxes.corners, boxes.scores, boxes.classes, strict=True), 1):
        ends = corners.astype(np.float64).reshape(2, 3)
        eight = np.array(list(itertools.product(*ends.T)))
        placed = (eight @ affine[:3, :3].T + affine[:3, 3]) * _TO_LPS
        low, high = placed.min(axis=0), placed.max(axis=0)
        centre, size = (low + high) / 2.0, high - low
        found.append(
            Region(
                keys[int(kind)],
                number,
                (float(centre[0]), float(centre[1]), float(centre[2])),
                (float(size[0]), float(size[1]), float(size[2])),
                min(max(float(score), 0.0), 1.0),
            )
        )
    return tuple(found)
