"""Transforms that turn the labels of many structures into Findings, and refuse those that nobody should believe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from inference._labelmap import LabelMap
from inference.components import keep_largest
from inference.conform import Conformed
from inference.errors import AnatomyAbsent, ImplausibleFindings
from inference.findings import Measurement, Score
from inference.geometry import Canonical
from inference.meshnet import Labelled
from inference.steps import Item, Keyed, Keys

Numbers = npt.NDArray[np.float64]

LEFT, RIGHT = "left_", "right_"


class KeepLargestLabelsd(Keyed):
    """Of all that is no background, whatever its label, keep the largest component (26 neighbours).

    Parameters
    ----------
    keys
        Of the `Labelled`; its labels are changed.

    Raises
    ------
    AnatomyAbsent
        If everything is background.
    """

    stage: ClassVar[str] = "measuring"

    def __call__(self, data: Item) -> Item:
        labels = data[self.key].labels
        kept = labels > 0
        if keep_largest(kept) == 0:
            raise AnatomyAbsent("the network marks nothing")
        np.multiply(labels, kept.view(np.uint8), out=labels)
        return data


class RestoreLabelsd(Keyed):
    """Labels of a box of the cube at the source's voxels and stored axes, each the nearest.

    Parameters
    ----------
    keys
        Of the `Labelled`.
    into
        Key of the uint8 array that is made, axes (z, y, x).
    cube, box
        Keys of the `Conformed` and of the `Box`.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(self, keys: Keys, into: str, cube: str, box: str) -> None:
        super().__init__(keys)
        self.into, self.cube, self.box = into, cube, box

    def __call__(self, data: Item) -> Item:
        cube: Conformed = data[self.cube]
        return {**data, self.into: cube.restored(data[self.key].labels, data[self.box])}


class WithholdImplausibled(Keyed):
    """Take out structures whose volume no adult's has: what a network labels so is not that structure.

    A network that fails often fails in one structure and not in the others. What is taken out becomes background: it has
    neither segment nor number, and what is made of it (sums, asymmetries) is not given either.

    Parameters
    ----------
    keys
        Of the labels, uint8, along stored axes; they are changed.
    into
        Key of the set of structures that were taken out.
    image
        Key of the `Canonical`.
    structures
        Key of each label from 1.
    limits
        (least, most) volume in mL of some structures; what has no limit stays.
    share_max
        Largest share of the structures with limits that may be taken out.

    Raises
    ------
    ImplausibleFindings
        If more are implausible: then the others are not to be believed either.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(
        self,
        keys: Keys,
        into: str,
        image: str,
        structures: Sequence[str],
        limits: Mapping[str, Sequence[float]],
        share_max: float,
    ) -> None:
        super().__init__(keys)
        if not set(limits) <= set(structures):
            raise TypeError("a limit is one of a structure")
        self.into, self.image, self.structures, self.share_max = into, image, tuple(structures), share_max
        self.limits = {key: (float(low), float(high)) for key, (low, high) in limits.items()}

    def __call__(self, data: Item) -> Item:
        image: Canonical = data[self.image]
        array = data[self.key]
        counts = LabelMap(array, self.structures).counts()[1:]
        volumes = dict(zip(self.structures, counts * image.volume.voxel_ml, strict=True))
        withheld = {key for key, (low, high) in self.limits.items() if not low <= volumes[key] <= high}
        if len(withheld) > self.share_max * len(self.limits):
            raise ImplausibleFindings("the check of structures fails", check="structures")
        kept = np.array(
            [0, *(0 if key in withheld else number for number, key in enumerate(self.structures, 1))], np.uint8
        )
        for plane in array:
            plane[:] = kept[plane]
        return {**data, self.into: frozenset(withheld)}


class MeasureStructuresd(Keyed):
    """Volumes of structures, what share they are of another mask, sums of some, and how unequal pairs are.

    For each structure that has a voxel: `<key>_volume` in mL and `<key>_share`, its per cent of the whole. For each pair
    `left_<key>`, `right_<key>` of which both have one, `<key>_asymmetry`: (left - right) / ((left + right) / 2) in %.

    Parameters
    ----------
    keys
        Of the labels, uint8, along stored axes.
    image
        Key of the `Canonical`.
    structures
        Key of each label from 1.
    whole, whole_measurement
        Key of the mask that shares are taken of, and of its volume in the Findings.
    sums
        For each further volume, the structures that it adds up; it gets a share too.
    pairs
        Whether pairs are compared: only where the network tells left from right.
    withheld
        Key of the set of structures that were taken out; no sum is made of them.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(
        self,
        keys: Keys,
        image: str,
        structures: Sequence[str],
        whole: str,
        whole_measurement: str,
        sums: Mapping[str, Sequence[str]],
        pairs: bool,
        withheld: str = "",
    ) -> None:
        super().__init__(keys)
        if not all(set(parts) <= set(structures) for parts in sums.values()):
            raise TypeError("a sum is of structures")
        self.image, self.structures, self.pairs = image, tuple(structures), pairs
        self.whole, self.whole_measurement, self.sums, self.withheld = whole, whole_measurement, dict(sums), withheld

    def __call__(self, data: Item) -> Item:
        image: Canonical = data[self.image]
        labels = LabelMap(data[self.key], self.structures)
        voxel_ml = image.volume.voxel_ml
        whole_ml = int(np.count_nonzero(data[self.whole])) * voxel_ml
        volumes = {
            key: int(count) * voxel_ml for key, count in zip(self.structures, labels.counts()[1:], strict=True) if count
        }
        found = [Measurement(self.whole_measurement, whole_ml, "mL")]
        for key, volume_ml in volumes.items():
            found.append(Measurement(f"{key}_volume", volume_ml, "mL", key))
            found.append(Measurement(f"{key}_share", 100.0 * volume_ml / whole_ml, "%", key))
        withheld = data[self.withheld] if self.withheld else frozenset()
        for key, parts in self.sums.items():
            if not withheld.isdisjoint(parts):
                continue
            total_ml = sum(volumes.get(part, 0.0) for part in parts)
            found.append(Measurement(f"{key}_volume", total_ml, "mL"))
            found.append(Measurement(f"{key}_share", 100.0 * total_ml / whole_ml, "%"))
        if self.pairs:
            found += _asymmetries(volumes)
        return {**data, "labels": labels, "masks": (), "measurements": tuple(found)}


class RequirePlausibleStructuresd(Keyed):
    """Refuse rather than be confidently wrong.

    Parameters
    ----------
    keys
        Of the `Labelled`.
    cube, box
        Keys of the `Conformed` and of the `Box` of the labels.
    labels
        Key of the labels at the source's voxels.
    mask
        Key of the mask that the structures must lie in.
    structures
        Key of each label from 1.
    inside_min
        Least share of what is labelled that lies in the mask.
    certainty_min
        Least mean probability of the labels taken.
    limits
        (least, most) of some measurements; one that is missing is 0.
    contrasts
        Rows of (structures, other structures, factor): the mean intensity of the first is at least `factor` times that
        of the others. T1 weighting is told by it.
    sides_apart_mm
        How far the middle of all left structures must lie to the left of that of all right ones; 0 where labels have no
        sides.

    Raises
    ------
    ImplausibleFindings
        Naming the first check that fails; never the values, which are clinical.
    """

    stage: ClassVar[str] = "measuring"

    def __init__(
        self,
        keys: Keys,
        cube: str,
        box: str,
        labels: str,
        mask: str,
        structures: Sequence[str],
        inside_min: float,
        certainty_min: float,
        limits: Mapping[str, Sequence[float]],
        contrasts: Sequence[Sequence[Any]],
        sides_apart_mm: float,
    ) -> None:
        super().__init__(keys)
        self.cube, self.box, self.labels, self.mask = cube, box, labels, mask
        self.numbers = {key: number for number, key in enumerate(structures, 1)}
        self.inside_min, self.certainty_min, self.sides_apart_mm = inside_min, certainty_min, sides_apart_mm
        self.limits = {key: (float(low), float(high)) for key, (low, high) in limits.items()}
        self.contrasts = [(self._of(first), self._of(others), float(factor)) for first, others, factor in contrasts]

    def __call__(self, data: Item) -> Item:
        labelled: Labelled = data[self.key]
        cube: Conformed = data[self.cube]
        values = {item.key: item.value for item in data["measurements"]}
        checks = {key: low <= values.get(key, 0.0) <= high for key, (low, high) in self.limits.items()}
        checks["inside"] = _inside(data[self.labels], data[self.mask]) >= self.inside_min
        checks["certainty"] = labelled.certainty >= self.certainty_min
        sums, counts = _intensities(labelled, cube.array[data[self.box].slices], len(self.numbers) + 1)
        checks["contrast"] = all(
            _mean(sums, counts, first) >= factor * _mean(sums, counts, others)
            for first, others, factor in self.contrasts
        )
        if self.sides_apart_mm:
            checks["sides"] = self._apart_mm(labelled) >= self.sides_apart_mm
        for name, holds in checks.items():
            if not holds:
                raise ImplausibleFindings(f"the check of {name} fails", check=name)
        return {**data, "scores": (Score("certainty", labelled.certainty),)}

    def _of(self, keys: Sequence[str]) -> list[int]:
        return [self.numbers[key] for key in keys]

    def _apart_mm(self, labelled: Labelled) -> float:
        """The cube's first axis grows to the left in millimetres."""
        counts = np.stack([np.bincount(plane.ravel(), minlength=len(self.numbers) + 1) for plane in labelled.labels])
        places = np.arange(len(counts), dtype=np.float64)
        middles = []
        for side in (LEFT, RIGHT):
            lines = counts[:, [number for key, number in self.numbers.items() if key.startswith(side)]].sum(axis=1)
            if not lines.any():
                return -np.inf
            middles.append(float(places @ lines) / float(lines.sum()))
        return middles[0] - middles[1]


def _asymmetries(volumes: Mapping[str, float]) -> list[Measurement]:
    found = []
    for key, left in volumes.items():
        base = key.removeprefix(LEFT)
        right = volumes.get(f"{RIGHT}{base}")
        if base != key and right is not None:
            found.append(Measurement(f"{base}_asymmetry", 200.0 * (left - right) / (left + right), "%"))
    return found


def _inside(labels: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> float:
    """Share of what is labelled that lies in a mask; plane by plane."""
    marked, within = 0, 0
    for plane, allowed in zip(labels, mask, strict=True):
        set_ = plane > 0
        marked += int(np.count_nonzero(set_))
        within += int(np.count_nonzero(set_ & allowed))
    return within / marked if marked else 0.0


def _intensities(labelled: Labelled, image: npt.NDArray[np.uint8], count: int) -> tuple[Numbers, Numbers]:
    """Sum of the intensities of each label, and its voxels."""
    sums, counts = np.zeros(count), np.zeros(count)
    for labels, values in zip(labelled.labels, image, strict=True):
        sums += np.bincount(labels.ravel(), values.ravel(), count)
        counts += np.bincount(labels.ravel(), minlength=count)
    return sums, counts


def _mean(sums: Numbers, counts: Numbers, numbers: Sequence[int]) -> float:
    voxels = float(counts[list(numbers)].sum())
    return float(sums[list(numbers)].sum()) / voxels if voxels else float("nan")
