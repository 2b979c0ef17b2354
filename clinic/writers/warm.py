"""Writes one tiny object of each kind and throws it away.

The libraries read their dictionaries at first use, which takes half a second; the first study need not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clinic import planar
from clinic.geometry import arrange
from clinic.instance import InstanceRow
from clinic.uids import ResultUids
from clinic.writers import Context, Source, write
from inference.findings import Classification, Findings, Mask, Measurement, ScalarMap, Score
from inference.volume import DISPLAY, Volume
from pipelines.outputs import (
    ClassOutput,
    KeyImageOutput,
    MapOutput,
    MeasurementOutput,
    Output,
    ScoreOutput,
    SegmentOutput,
)
from pipelines.spec import Pipeline

_MR = "1.2.840.10008.5.1.4.1.1.4"
_EDGE, _SEGMENTS = 8, 2


def warm(pipeline: Pipeline) -> int:
    """Write what a pipeline declares for an empty cube of nobody, and of many segments the first.

    Returns
    -------
    int
        How many objects were written.
    """
    source = _planar_source() if pipeline.selector.planar else _source()
    grid = source.grid
    findings = findings_of(pipeline.outputs, grid.shape, segments_max=_SEGMENTS)
    uids = ResultUids(b"warm" * 8, "", "", "")
    return len(write(source, findings, Context(pipeline, "0" * 64, "nod_warm", "", 0, uids)))


def findings_of(outputs: Sequence[Output], shape: tuple[int, int, int], segments_max: int | None = None) -> Findings:
    """Something of everything that is declared.

    Parameters
    ----------
    outputs
        What a pipeline declares.
    shape
        (z, y, x) of the Volume; each mask fills it.
    segments_max
        How many of its segments, or None for all.
    """
    masks = sorted({item.mask for item in outputs if isinstance(item, SegmentOutput)})[:segments_max]
    measured = [item for item in outputs if isinstance(item, MeasurementOutput) and item.mask in ("", *masks)]
    asked = [item for item in outputs if isinstance(item, ClassOutput)]
    maps = [item for item in outputs if isinstance(item, MapOutput)]
    without = {key for item in outputs if isinstance(item, KeyImageOutput) for key in item.without}
    classes = {
        item.classification: next((o.key for o in item.options if o.key not in without), item.options[0].key)
        for item in asked
    }
    return Findings(
        masks=tuple(Mask(key, np.ones(shape, np.bool_)) for key in masks),
        measurements=tuple(Measurement(item.measurement, 1.0, item.unit.value, item.mask or None) for item in measured),
        scores=tuple(Score(item.score, 0.0) for item in outputs if isinstance(item, ScoreOutput)),
        maps=tuple(ScalarMap(item.map, np.zeros(shape, np.float32)) for item in maps),
        classes=tuple(Classification(key, 0, value, 1.0) for key, value in classes.items()),
    )


def _source() -> Source:
    grid = arrange([_row(z) for z in range(2)])
    return Source(grid, Volume(np.zeros(grid.shape, np.int16), grid.affine, "arbitrary"))


def _planar_source() -> Source:
    grid = planar.arrange([_row(0)])
    return Source(grid, Volume(np.zeros(grid.shape, np.uint8), grid.affine, DISPLAY))


def _row(z: int) -> InstanceRow:
    members: dict[str, tuple[str, list[object]]] = {
        "00080060": ("CS", ["MR"]),
        "00200032": ("DS", [0, 0, z]),
        "00200037": ("DS", [1, 0, 0, 0, 1, 0]),
        "00200052": ("UI", ["2.25.1"]),
        "00280010": ("US", [_EDGE]),
        "00280011": ("US", [_EDGE]),
        "00280030": ("DS", [1, 1]),
    }
    header = {tag: {"vr": vr, "Value": value} for tag, (vr, value) in members.items()}
    return InstanceRow(
        study_uid="2.25.2",
        series_uid="2.25.3",
        sop_uid=f"2.25.4{z}",
        sop_class=_MR,
        transfer_syntax="1.2.840.10008.1.2.1",
        blob="",
        size_bytes=0,
        header=header,
        pixel_offset=None,
        pixel_length=None,
        received_ms=0,
        batch="",
    )
