"""Findings: what a bundle has to say about a Volume, before anybody encodes it.

Container (`application/x-bithive-findings`): magic `BHFIND03`, header length (uint32, little-endian), JSON header
{`masks`: [{`key`, `shape`: [z, y, x], `box`: [[z0, z1], [y0, y1], [x0, x1]], `size_bytes`}], `measurements`: [{`key`,
`value`, `unit`, `mask`}], `scores`: [{`key`, `value`}], `labels`: null or {`shape`, `box`, `dtype`, `keys`, `chunks`:
[size_bytes]}, `maps`: [{`key`, `shape`, `box`, `chunks`}], `classes`: [{`key`, `frame`, `value`, `certainty`}]; and where there are
boxes `regions`: [{`key`, `number`, `centre_mm`, `size_mm`, `certainty`}]}, blanks
up to a multiple of 64 bytes, then for each mask its box as packed bits (C order, most significant bit first) compressed
by zlib, one after the other, then the label map's box in slabs of 32 planes (the last one has what is left), each as its
little-endian labels in C order compressed by zlib, then each map's box in slabs of 4 planes of little-endian float32.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bithive.limits import (
    FINDINGS_BYTES_MAX,
    FINDINGS_CLASSES_MAX,
    FINDINGS_ITEMS_MAX,
    FINDINGS_MAPS_MAX,
    FINDINGS_MEASUREMENTS_MAX,
    FINDINGS_REGIONS_MAX,
    FINDINGS_VOXELS_MAX,
    VOLUME_AXIS_VOXELS_MAX,
)
from inference import _labelmap, _mask, _region, _scalarmap
from inference._frame import extent_of, key_of, members, number, pack_header, rows, unpack_header, whole
from inference._labelmap import LabelMap
from inference._mask import Mask, bounding_box
from inference._region import Region
from inference._scalarmap import ScalarMap
from inference.errors import BadFindings

__all__ = [
    "Classification",
    "Findings",
    "LabelMap",
    "Mask",
    "Measurement",
    "Region",
    "ScalarMap",
    "Score",
    "announced_shapes",
    "bounding_box",
    "header_of",
]

MAGIC = b"BHFIND03"

_KEYS = frozenset({"masks", "measurements", "scores", "labels", "maps", "classes"})
_REGIONS = frozenset({"regions"})
"""Written only where there are some: containers without are what they were."""
_UNIT = re.compile(r"[!-~]{1,16}")
_SHAPE_MAX = (VOLUME_AXIS_VOXELS_MAX,) * 3


@dataclass(frozen=True, slots=True)
class Measurement:
    """How much of something there is.

    Attributes
    ----------
    key, value
        What, and its finite value.
    unit
        UCUM code, for example `mL`.
    mask
        Key of the mask, or of the label map's structure, that was measured; None when it is the whole image.
    """

    key: str
    value: float
    unit: str
    mask: str | None = None

    def __post_init__(self) -> None:
        key_of(self.key, BadFindings)
        if not math.isfinite(self.value) or not _UNIT.fullmatch(self.unit):
            raise BadFindings("a measurement is not finite, or its unit is malformed")


@dataclass(frozen=True, slots=True)
class Score:
    """A number without a unit, such as a probability."""

    key: str
    value: float

    def __post_init__(self) -> None:
        key_of(self.key, BadFindings)
        if not math.isfinite(self.value):
            raise BadFindings("a score is not finite")


@dataclass(frozen=True, slots=True)
class Classification:
    """To which class one frame belongs.

    Attributes
    ----------
    key
        What was asked, for example `plane`; the pipeline's outputs refer to it.
    frame
        Plane of the Volume, from 0.
    value
        Key of the class that it was given.
    certainty
        0 to 1.
    """

    key: str
    frame: int
    value: str
    certainty: float

    def __post_init__(self) -> None:
        key_of(self.key, BadFindings)
        key_of(self.value, BadFindings)
        if type(self.frame) is not int or not 0 <= self.frame < VOLUME_AXIS_VOXELS_MAX:
            raise BadFindings("a classification is not of a frame")
        if not 0.0 <= self.certainty <= 1.0:
            raise BadFindings("a certainty is not within 0 and 1")


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Masks, measurements, scores, at most one label map, maps, classifications and boxes of one Attempt.

    Raises
    ------
    BadFindings
        If two of a kind share a key (of classifications: key and frame; of boxes: key and number), a mask has the key of a structure of the label
        map, a measurement names neither a mask nor a structure, or there are too many.
    """

    masks: tuple[Mask, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    scores: tuple[Score, ...] = ()
    labels: LabelMap | None = None
    maps: tuple[ScalarMap, ...] = ()
    classes: tuple[Classification, ...] = ()
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        kinds: tuple[tuple[list[object], int], ...] = (
            ([item.key for item in self.masks], FINDINGS_ITEMS_MAX),
            ([item.key for item in self.measurements], FINDINGS_MEASUREMENTS_MAX),
            ([item.key for item in self.scores], FINDINGS_ITEMS_MAX),
            ([item.key for item in self.maps], FINDINGS_MAPS_MAX),
            ([(item.key, item.frame) for item in self.classes], FINDINGS_CLASSES_MAX),
            ([(item.key, item.number) for item in self.regions], FINDINGS_REGIONS_MAX),
        )
        for names, count_max in kinds:
            if len(names) > count_max or len(set(names)) != len(names):
                raise BadFindings("there are too many findings of a kind, or two with one key")
        known = set(self.structures)
        if len(known) != len(self.structures):
            raise BadFindings("a mask has the key of a structure of the label map")
        if not all(item.mask is None or item.mask in known for item in self.measurements):
            raise BadFindings("a measurement names a mask that is not here")

    @property
    def structures(self) -> tuple[str, ...]:
        """Keys of the masks, then of the label map."""
        return (*(mask.key for mask in self.masks), *(self.labels.keys if self.labels else ()))

    def mask(self, key: str) -> Mask | None:
        """The mask of that key, or None. One of the label map is made for it: a boolean for each voxel."""
        found = next((mask for mask in self.masks if mask.key == key), None)
        if found is None and self.labels is not None and key in self.labels.keys:
            return Mask(key, self.labels.array == self.labels.number(key))
        return found

    def plane(self, key: str, z: int) -> npt.NDArray[np.bool_]:
        """Where a mask or structure is in one plane, axes (y, x), without making the rest. Raises `KeyError`."""
        found = next((mask for mask in self.masks if mask.key == key), None)
        if found is None and (self.labels is None or key not in self.labels.keys):
            raise KeyError(key)
        if found is not None:
            plane: npt.NDArray[np.bool_] = found.array[z]
        else:
            assert self.labels is not None, "the key is one of its structures"
            plane = self.labels.array[z] == self.labels.number(key)
        return plane

    def measurement(self, key: str) -> Measurement | None:
        """The measurement of that key, or None."""
        return next((item for item in self.measurements if item.key == key), None)

    def score(self, key: str) -> Score | None:
        """The score of that key, or None."""
        return next((item for item in self.scores if item.key == key), None)

    def map(self, key: str) -> ScalarMap | None:
        """The map of that key, or None."""
        return next((item for item in self.maps if item.key == key), None)

    def classified(self, key: str) -> tuple[Classification, ...]:
        """The classifications of that key, in the order of their frames."""
        return tuple(sorted((item for item in self.classes if item.key == key), key=lambda item: item.frame))

    def boxed(self, key: str, least: float = 0.0) -> tuple[Region, ...]:
        """The boxes of that key that are at least so certain, the most certain first."""
        found = (item for item in self.regions if item.key == key and item.certainty >= least)
        return tuple(sorted(found, key=lambda item: (-item.certainty, item.number)))

    def to_bytes(self) -> bytes:
        """The container: each mask cut to its bounding box, as packed bits; label map and maps cut to theirs, in slabs."""
        packed = [mask.pack() for mask in self.masks]
        labels, chunks = self.labels.pack() if self.labels else (None, [])
        maps = [item.pack() for item in self.maps]
        header = {
            "masks": [row for row, _ in packed],
            "labels": labels,
            "maps": [row for row, _ in maps],
            "measurements": [
                {"key": item.key, "value": float(item.value), "unit": item.unit, "mask": item.mask}
                for item in self.measurements
            ],
            "scores": [{"key": item.key, "value": float(item.value)} for item in self.scores],
            "classes": [
                {"key": item.key, "frame": item.frame, "value": item.value, "certainty": float(item.certainty)}
                for item in self.classes
            ],
            **({"regions": [item.pack() for item in self.regions]} if self.regions else {}),
        }
        slabs = [chunk for _, of_map in maps for chunk in of_map]
        return b"".join((pack_header(MAGIC, header), *(bits for _, bits in packed), *chunks, *slabs))

    @classmethod
    def from_bytes(cls, content: bytes | bytearray | memoryview, shape_max: tuple[int, int, int]) -> Findings:
        """Read a container from somebody we do not trust.

        Parameters
        ----------
        content
            The plain container.
        shape_max
            Largest size of a mask or map along (z, y, x): the shape of the Volume that was sent. Nothing larger is
            allocated.

        Raises
        ------
        BadFindings
            If the content is truncated, has something after its end, expands beyond what it announces or what the
            limits allow, or does not describe Findings.
        """
        view = memoryview(content).cast("B")
        if len(view) > FINDINGS_BYTES_MAX:
            raise BadFindings("it is longer than findings may be", size_bytes_max=FINDINGS_BYTES_MAX)
        header, offset = unpack_header(MAGIC, view, BadFindings, _KEYS, _REGIONS)
        listed = [_mask.check_row(row, shape_max) for row in rows(header["masks"], FINDINGS_ITEMS_MAX, BadFindings)]
        labels = None if header["labels"] is None else _labelmap.check_row(header["labels"], shape_max)
        announced = [
            _scalarmap.check_row(row, shape_max) for row in rows(header["maps"], FINDINGS_MAPS_MAX, BadFindings)
        ]
        extent = sum(extent_of(box) for _, box in listed) + sum(size_bytes for _, _, size_bytes in announced)
        if extent + (labels[2] if labels else 0) > FINDINGS_VOXELS_MAX:
            raise BadFindings("its masks, labels or maps expand beyond the limit", voxels_max=FINDINGS_VOXELS_MAX)
        masks, maps, label_map = [], [], None
        for row, box in listed:
            mask, size_bytes = _mask.unpack(row, box, view[offset:])
            masks.append(mask)
            offset += size_bytes
        if labels is not None:
            label_map, size_bytes = _labelmap.unpack(labels[0], labels[1], view[offset:])
            offset += size_bytes
        for row, box, _ in announced:
            found, size_bytes = _scalarmap.unpack(row, box, view[offset:])
            maps.append(found)
            offset += size_bytes
        if offset != len(view):
            raise BadFindings("something follows its end")
        measured, scores = _measurements(header["measurements"]), _scores(header["scores"])
        classes, regions = _classes(header["classes"], shape_max[0]), _region.unpack(header.get("regions", []))
        return cls(tuple(masks), measured, scores, label_map, tuple(maps), classes, regions)


def header_of(content: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The header of a container: nothing is unpacked, and nothing but its members is checked. Raises `BadFindings`."""
    return unpack_header(MAGIC, memoryview(content).cast("B"), BadFindings, _KEYS, _REGIONS)[0]


def announced_shapes(content: bytes | bytearray | memoryview) -> list[tuple[int, int, int]]:
    """The shapes (z, y, x) of the masks, the label map and the maps, by the header alone: nothing is unpacked.

    Raises
    ------
    BadFindings
        If the header is not one of Findings.
    """
    header, _ = unpack_header(MAGIC, memoryview(content).cast("B"), BadFindings, _KEYS, _REGIONS)
    listed = [_mask.check_row(row, _SHAPE_MAX)[0] for row in rows(header["masks"], FINDINGS_ITEMS_MAX, BadFindings)]
    if header["labels"] is not None:
        listed.append(_labelmap.check_row(header["labels"], _SHAPE_MAX)[0])
    listed += [_scalarmap.check_row(row, _SHAPE_MAX)[0] for row in rows(header["maps"], FINDINGS_MAPS_MAX, BadFindings)]
    return [(row["shape"][0], row["shape"][1], row["shape"][2]) for row in listed]


def _measurements(value: Any) -> tuple[Measurement, ...]:
    names = {"key", "value", "unit", "mask"}
    listed = [members(row, names, BadFindings) for row in rows(value, FINDINGS_MEASUREMENTS_MAX, BadFindings)]
    for row in listed:
        if not isinstance(row["unit"], str) or not isinstance(row["mask"], str | None):
            raise BadFindings("a measurement is malformed")
    return tuple(
        Measurement(key_of(row["key"], BadFindings), number(row["value"], BadFindings), row["unit"], row["mask"])
        for row in listed
    )


def _scores(value: Any) -> tuple[Score, ...]:
    listed = [members(row, {"key", "value"}, BadFindings) for row in rows(value, FINDINGS_ITEMS_MAX, BadFindings)]
    return tuple(Score(key_of(row["key"], BadFindings), number(row["value"], BadFindings)) for row in listed)


def _classes(value: Any, frames_max: int) -> tuple[Classification, ...]:
    names = {"key", "frame", "value", "certainty"}
    listed = [members(row, names, BadFindings) for row in rows(value, FINDINGS_CLASSES_MAX, BadFindings)]
    return tuple(
        Classification(
            row["key"],
            whole(row["frame"], 0, frames_max - 1, BadFindings),
            row["value"],
            number(row["certainty"], BadFindings),
        )
        for row in listed
    )
