"""Writes one tiny object of each kind and throws it away.

The libraries read their dictionaries at first use, which takes half a second; the first study need not wait for it.
"""

from __future__ import annotations

import numpy as np

from clinic.geometry import arrange
from clinic.instance import InstanceRow
from clinic.uids import ResultUids
from clinic.writers import Context, Source, write
from inference.findings import Findings, Mask, Measurement
from inference.volume import Volume
from pipelines.outputs import MeasurementOutput, SegmentOutput
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
    grid = arrange([_row(z) for z in range(2)])
    source = Source(grid, Volume(np.zeros(grid.shape, np.int16), grid.affine, "arbitrary"))
    masks = sorted({item.mask for item in pipeline.outputs if isinstance(item, SegmentOutput)})[:_SEGMENTS]
    measured = [item for item in pipeline.outputs if isinstance(item, MeasurementOutput) and item.mask in masks]
    findings = Findings(
        tuple(Mask(key, np.ones(grid.shape, np.bool_)) for key in masks),
        tuple(Measurement(item.measurement, 1.0, item.unit.value, item.mask) for item in measured),
    )
    uids = ResultUids(b"warm" * 8, "", "", "")
    return len(write(source, findings, Context(pipeline, "0" * 64, "nod_warm", "", 0, uids)))


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
