"""Objects written from a series and a mask, for tests of the writers."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from clinic.reader import read
from clinic.uids import ResultUids, site_key
from clinic.writers import Context, Source
from inference.findings import Findings, LabelMap, Mask, Measurement
from pipelines.catalog import pipelines
from pipelines.outputs import MeasurementOutput, SegmentOutput
from tests.common.dicom_factory import rows_of
from tests.common.loop_network import NODE

PIPELINE = pipelines()["intracranial_volume_t1"]
SEGMENT, MEASUREMENT, PREVIEW = PIPELINE.outputs


def source_of(series: Sequence[Dataset | bytes]) -> Source:
    """A series as it was analysed."""
    rows, blobs = rows_of(series)
    return Source(*read(rows, blobs))


def ellipsoid(shape: tuple[int, ...], scale: float = 0.6) -> np.ndarray:
    """A mask off centre, unlike itself in every mirror."""
    z, y, x = (np.linspace(-1, 1, size) for size in shape)
    return ((z[:, None, None] - 0.2) ** 2 + (y[:, None] + 0.1) ** 2 * 2 + (x - 0.15) ** 2 * 3) < scale


def findings_of(source: Source, mask: np.ndarray | None = None) -> Findings:
    """An intracranial mask and its volume."""
    array = ellipsoid(source.grid.shape) if mask is None else mask
    volume_ml = float(array.sum()) * source.volume.voxel_ml
    measured = Measurement("intracranial_volume", volume_ml, "mL", "intracranial")
    return Findings((Mask("intracranial", array),), (measured,))


@dataclass(frozen=True, slots=True)
class Many:
    """A made-up body of many structures: what declares them, where they are, the circumstances."""

    segments: tuple[SegmentOutput, ...]
    measured: tuple[MeasurementOutput, ...]
    findings: Findings
    context: Context


def many(source: Source, count: int, *, empty: Collection[int] = (), label_maps: bool = True) -> Many:
    """Structures as blocks in a cylinder off centre, unlike themselves in every mirror; numbers in `empty` have none."""
    keys = tuple(f"structure_{number}" for number in range(1, count + 1))
    segments = tuple(
        replace(SEGMENT, mask=key, label=key.replace("_", " "), colour_rgb=_hue(place / count), may_be_absent=True)
        for place, key in enumerate(keys)
    )
    measured = tuple(replace(MEASUREMENT, measurement=f"{key}_volume", mask=key) for key in keys)
    array = blocks(source.grid.shape, count)
    array[np.isin(array, list(empty))] = 0
    labels = LabelMap(array, keys)
    volumes = labels.counts()[1:] * source.volume.voxel_ml
    values = tuple(
        Measurement(f"{key}_volume", float(volume), "mL", key) for key, volume in zip(keys, volumes, strict=True)
    )
    pipeline = replace(PIPELINE, outputs=(*segments, *measured, PREVIEW))
    return Many(segments, measured, Findings((), values, (), labels), context(pipeline=pipeline, label_maps=label_maps))


def blocks(shape: tuple[int, int, int], count: int) -> np.ndarray:
    """Labels from 1 to `count`, one block each, around the axis of a cylinder; 0 outside."""
    z, y, x = (np.linspace(0, 1, size, endpoint=False)[axis] for size, axis in zip(shape, _AXES, strict=True))
    across = max(1, round(count ** (1 / 3)))
    down = -(-count // (across * across))
    number = (z * down).astype(int) * across * across + (y * across).astype(int) * across + (x * across).astype(int)
    inside = ((x - 0.55) ** 2 + (y - 0.45) ** 2 * 1.5 < 0.6) & (number < count)
    return np.where(inside, number + 1, 0).astype(np.uint8 if count < 256 else np.uint16)


def as_frames(series: Sequence[Dataset]) -> Dataset:
    """A series as one enhanced MR instance (PS3.3 A.36.2), its frames in reverse order."""
    frames = list(reversed(series))
    made = copy.deepcopy(frames[0])
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(made, name)
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4.1", f"{made.SeriesInstanceUID}.1"
    made.NumberOfFrames, shared = len(frames), Dataset()
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = frames[0].PixelSpacing, frames[0].SliceThickness
    orientation.ImageOrientationPatient = frames[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    made.SharedFunctionalGroupsSequence, groups = [shared], []
    for number, frame in enumerate(frames, start=1):
        group, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient, content.DimensionIndexValues = frame.ImagePositionPatient, [number]
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    made.PixelData = b"".join(frame.PixelData for frame in frames)
    return made


_AXES = (np.s_[:, None, None], np.s_[None, :, None], np.s_[None, None, :])


def _hue(turn: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in hsv_to_rgb(turn, 0.8, 1.0))
    return red, green, blue


def context(**members: Any) -> Context:
    """The circumstances of an attempt."""
    uids = ResultUids(site_key("s" * 32), "a" * 64, "b" * 64, "c" * 64)
    made = Context(PIPELINE, "b" * 64, NODE, "Test Hospital", 1_800_000_000_000, uids)
    return replace(made, **members)
