"""Runs a bundle of the zoo's form: Volume in, one label map with the volume of each structure out.

A network of several channels takes a VolumeSet. Where each of its channels is decided by a threshold of its own the
structures may lie within each other (the core of a tumour within the whole), and come out as masks.

Nothing but numpy and scipy is needed beside the engine that runs the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.errors import BundleRefused, UnsupportedVolume
from inference.findings import Findings, LabelMap, Mask, Measurement
from inference.geometry import sample
from inference.labels import AxisMap, Restore, label_volume
from inference.stripped import check_stripped
from inference.volume import Volume, VolumeSet
from inference.windows import Array, Network
from inference.zoo_components import Labels
from inference.zoo_picture import Picture
from inference.zoo_plan import Plan
from inference.zoo_spatial import Resize, Space, Turn
from models.bundle import Bundle

Progress = Callable[[str, float], None]

_SEGMENTING, _MEASURING = 0.1, 0.9
_KEY_CHARS_MAX = 64 - len("_volume")
_STEP_MM, _ALONG_MIN = (0.9, 1.1), 0.9
_UNITS = {"CT": "HU", "MR": "arbitrary", "MRI": "arbitrary"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a bundle of the zoo's form takes and gives.

    Attributes
    ----------
    unit
        That a Volume must have; empty when its metadata does not say.
    keys
        Of its structures: `keys[i]` is label i + 1.
    first_channel
        Label of the first channel when each channel has a threshold of its own: 0 when it is that of the background.
    """

    unit: str
    keys: tuple[str, ...]
    first_channel: int = 1

    @classmethod
    def of(cls, bundle: Bundle, plan: Plan, channels: int) -> Wanted:
        """Of a bundle whose network answers with that many channels.

        Raises
        ------
        BundleRefused
            If the channels are not those that the bundle names.
        """
        keys = tuple(structure.key for structure in bundle.structures)
        spare = channels - len(keys)
        allowed = (1,) if plan.decision.kind == "argmax" else (0, 1)
        if not keys or spare not in allowed:
            raise BundleRefused("the network has other channels than the structures that the bundle names")
        return cls(_unit(bundle.metadata), keys, 1 - spare)


def _unit(metadata: Mapping[str, Any]) -> str:
    inputs = metadata.get("network_data_format", {}).get("inputs", {})
    images = [item for item in inputs.values() if isinstance(item, Mapping)]
    first = images[0] if images else {}
    if str(first.get("format", "")).lower() == "hounsfield":
        return "HU"
    return _UNITS.get(str(first.get("modality", "")).strip().upper(), "")


class ZooRun:
    """A bundle of the zoo's form with its network in memory.

    Parameters
    ----------
    plan
        What to do.
    network
        From the engine; takes one window, or the whole grid, at a time.
    wanted
        What it takes and gives.
    input_shape
        Of the network: (batch, channel, x, y, z).
    """

    def __init__(self, plan: Plan, network: Network, wanted: Wanted, input_shape: Sequence[int]) -> None:
        self._plan, self._network, self._wanted = plan, network, wanted
        self._input_shape = tuple(input_shape)

    def run(self, given: Volume | VolumeSet, progress: Progress) -> Findings:
        """Find the structures. Raises `UnsupportedVolume`, `NotSkullStripped`, and what the engine raises."""
        volume = given.first if isinstance(given, VolumeSet) else given
        if given.channels != self._input_shape[1]:
            raise UnsupportedVolume("the number of images is not that of the network's channels")
        if self._wanted.unit not in ("", volume.unit):
            raise UnsupportedVolume("the image's unit is not the one that this bundle takes")
        progress("preparing", 0.0)
        if self._plan.stripped and isinstance(given, VolumeSet):
            check_form(given, self._plan)
        picture, image = prepared(given, self._plan)
        if self._plan.windows is None and image[None].shape != self._input_shape:
            raise UnsupportedVolume("the image has another size on the network's grid than the network takes")
        progress("segmenting", _SEGMENTING)
        labels = self._labelled(volume, picture, image, progress)
        progress("measuring", _MEASURING)
        voxel_mm3 = volume.voxel_ml * 1000.0
        for component in self._plan.answer.on_source:
            component.act(labels, voxel_mm3)
        if self._plan.decision.kind == "each":
            return self._overlapping(labels, volume.voxel_ml)
        found = LabelMap(labels, self._wanted.keys)
        return Findings(labels=found, measurements=volumes_ml(found, volume.voxel_ml))

    def _overlapping(self, bits: Labels, voxel_ml: float) -> Findings:
        """A mask of each structure that is there, and its volume."""
        spare = 1 - self._wanted.first_channel
        masks = [
            Mask(key, (bits & bits.dtype.type(1 << number + spare)) != 0)
            for number, key in enumerate(self._wanted.keys)
        ]
        there = tuple(mask for mask in masks if mask.array.any())
        measured = tuple(
            Measurement(f"{mask.key}_volume", int(np.count_nonzero(mask.array)) * voxel_ml, "mL", mask.key)
            for mask in there
            if len(mask.key) <= _KEY_CHARS_MAX
        )
        return Findings(masks=there, measurements=measured)

    def _labelled(self, volume: Volume, picture: Picture, image: Array, progress: Progress) -> Labels:
        """The labels of the source, along its stored axes."""

        def tell(share: float) -> None:
            progress("segmenting", _SEGMENTING + (_MEASURING - _SEGMENTING) * min(share, 1.0))

        answer = self._plan.answer
        labels = self._blank(volume.array.shape)
        back = [line.back(interpolate=answer.interpolate) for line in picture.lines]
        into = picture.axes.view(labels)[tuple(slice(first, past) for (first, past), _ in back)]
        if into.size == 0:
            return labels
        maps = tuple(axis for _, axis in back)
        if answer.on_grid:
            grid = self._blank(picture.shape)
            still = Restore(_maps([AxisMap(size, 1.0, 0.0) for size in picture.shape]), interpolate=False)
            self._label(image, still, grid, tell)
            for component in answer.on_grid:
                component.act(grid, abs(float(np.linalg.det(picture.affine[:3, :3]))))
            x, y, z = (axis.lies.astype(np.int64) for axis in maps)
            sample(grid, (x, y, z), into)
        else:
            self._label(image, Restore(_maps(maps), answer.interpolate), into, tell)
        return labels

    def _blank(self, shape: Sequence[int]) -> Labels:
        few = 7 if self._plan.decision.kind == "each" else 254
        if len(self._wanted.keys) <= few:
            return np.zeros(shape, dtype=np.uint8)
        return np.zeros(shape, dtype=np.uint16)

    def _label(self, image: Array, restore: Restore, into: Labels, tell: Callable[[float], None]) -> None:
        x, y, z = into.shape
        label_volume(image, self._network, self._plan.windows, self._plan.decision, restore, (x, y, z), into, tell)
        if self._plan.decision.kind == "threshold" and self._wanted.first_channel == 0:
            for plane in into:
                plane[plane > 0] -= 1


def prepared(given: Volume | VolumeSet, plan: Plan) -> tuple[Picture, Array]:
    """A Volume, or each of a set by itself, on the network's grid.

    Returns
    -------
    Picture
        How it came there.
    ndarray
        float32, axes (channel, x, y, z), with one channel for each image.

    Raises
    ------
    UnsupportedVolume
        If it cannot be brought there, or is the same everywhere.
    """
    if isinstance(given, VolumeSet):
        pictures = [prepared(volume, plan) for volume in given.volumes]
        return pictures[0][0], np.concatenate([image for _, image in pictures])
    picture = Picture(given)
    for step in plan.preparation:
        step.apply(picture)
    image = picture.finished()
    low, high = float(image.min()), float(image.max())
    if not np.isfinite((low, high)).all():
        raise UnsupportedVolume("the intensities of the image cannot be scaled")
    if low == high:
        raise UnsupportedVolume("the image is the same everywhere")
    return picture, image[None]


def check_form(volumes: VolumeSet, plan: Plan) -> None:
    """Refuse what is not of the form that networks of several images without a background have learnt from.

    Raises
    ------
    UnsupportedVolume
        If the bundle brings nothing to a grid of its own and the images are not axial, with voxels of about 1 mm.
    NotSkullStripped
        If they are not of a brain without its skull (`inference.stripped`).
    """
    if not any(isinstance(step, Space | Resize) for step in plan.preparation):
        steps = volumes.first.spacing_mm
        if not all(_STEP_MM[0] <= step <= _STEP_MM[1] for step in steps):
            raise UnsupportedVolume("the voxels are not of about 1 mm, and the bundle does not resample")
        if min(np.diag(volumes.first.affine)[:3] / steps) < _ALONG_MIN and not _turned(plan):
            raise UnsupportedVolume("the slices are not axial, and the bundle does not turn them")
    check_stripped(volumes)


def _turned(plan: Plan) -> bool:
    return any(isinstance(step, Turn) for step in plan.preparation)


def volumes_ml(labels: LabelMap, voxel_ml: float) -> tuple[Measurement, ...]:
    """`<key>_volume` in millilitres of each structure that is there, unless that is longer than a key may be."""
    counts = labels.counts()[1:]
    return tuple(
        Measurement(f"{key}_volume", int(count) * voxel_ml, "mL", key)
        for key, count in zip(labels.keys, counts, strict=True)
        if count and len(key) <= _KEY_CHARS_MAX
    )


def _maps(axes: Sequence[AxisMap]) -> tuple[AxisMap, AxisMap, AxisMap]:
    x, y, z = axes
    return (x, y, z)
