"""Objects written from a series and a mask, for tests of the writers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from clinic.reader import read
from clinic.uids import ResultUids, site_key
from clinic.writers import Context, Source
from inference.findings import Findings, Mask, Measurement
from pipelines.catalog import pipelines
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


def context(**members: Any) -> Context:
    """The circumstances of an attempt."""
    uids = ResultUids(site_key("s" * 32), "a" * 64, "b" * 64, "c" * 64)
    made = Context(PIPELINE, "b" * 64, NODE, "Test Hospital", 1_800_000_000_000, uids)
    return replace(made, **members)
