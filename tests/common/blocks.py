"""Synthetic CT series whose answer is known: blocks of given Hounsfield units in given places, and what must come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.common.dicom_factory import content_of, make_series

LOW_HU, HIGH_HU = -57.0, 164.0
"""What `tests.common.zoo` scales to 0 and 1 for CT."""

Block = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A study on disk, and where its blocks are.

    Attributes
    ----------
    study_uid, series_uid
        Of its one series.
    files
        Its instances, in order.
    labels
        (z, y, x): which structure each voxel belongs to; 0 is none.
    voxel_ml
        What one voxel holds.
    """

    study_uid: str
    series_uid: str
    files: list[Path]
    labels: npt.NDArray[np.uint8]
    voxel_ml: float

    def volume_ml(self, label: int) -> float:
        """What a structure holds."""
        return int((self.labels == label).sum()) * self.voxel_ml


def hounsfield(centre: float) -> int:
    """The value that `tests.common.zoo` scales to `centre` (0 to 1)."""
    return round(LOW_HU + centre * (HIGH_HU - LOW_HU))


def ct_study(
    folder: Path,
    blocks: Mapping[int, Block],
    centres: Sequence[float],
    number: int = 1,
    shape: tuple[int, int, int] = (48, 80, 72),
    spacing: tuple[float, float, float] = (1.5, 1.5, 2.0),
    **members: Any,
) -> Blocks:
    """Write an abdominal CT of blocks.

    Parameters
    ----------
    folder
        Where the files go.
    blocks
        Where (z, y, x) each structure is; the rest has the intensity of the first centre.
    centres
        Scaled intensity of the background, then of structure 1, 2 and so on, as for `zoo_bundle`.
    number
        Of the study: two numbers give two studies of two patients.
    shape, spacing
        (z, y, x); along (x, y, z), millimetres.
    members
        As for `make_series`.
    """
    labels = np.zeros(shape, np.uint8)
    for label, place in blocks.items():
        labels[place] = label
    stored = np.array([hounsfield(centre) + 1024 for centre in centres], np.int16)[labels]
    study_uid = f"1.2.826.0.1.99.{number}"
    given: dict[str, Any] = {
        "modality": "CT",
        "description": "Abdomen venous 2.0",
        "study_uid": study_uid,
        "series_uid": f"{study_uid}.1",
        "BodyPartExamined": "ABDOMEN",
        "patient": {"PatientID": f"CT-{number}", "PatientName": f"Synthetic^{number}"},
    }
    made = make_series(shape, spacing, pixels=stored, **(given | members))
    folder.mkdir(parents=True)
    files = []
    for place, dataset in enumerate(made):
        files.append(folder / f"{place:04}.dcm")
        files[-1].write_bytes(content_of(dataset))
    voxel_ml = float(np.prod(spacing)) / 1000
    return Blocks(study_uid, f"{study_uid}.1", files, labels, voxel_ml)
