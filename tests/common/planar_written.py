"""Planar pipelines and what they found, for tests of the writers: a scored radiograph, and a classified clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset

from clinic.planar_reader import read
from clinic.writers import Context, Source
from inference.findings import Classification, Findings, Measurement, ScalarMap, Score
from pipelines.anatomy import local_code
from pipelines.outputs import (
    CERTAINTY,
    MEAN,
    OF_INTEREST,
    PERCENT,
    UNITY,
    ClassOption,
    ClassOutput,
    Code,
    KeyImageOutput,
    MapOutput,
    MeasurementOutput,
    PreviewOutput,
    ScoreOutput,
)
from tests.common.dicom_factory import rows_of
from tests.common.planar import chest, radiograph, sector, ultrasound
from tests.common.written import PIPELINE, context

LUNG, PNEUMONIA = Code("39607008", "SCT", "Lung"), Code("233604007", "SCT", "Pneumonia")
ACTIVATION = Code("130402", "DCM", "Class activation")
SCORE = ScoreOutput("pneumonia", "Pneumonia", CERTAINTY, PERCENT, PNEUMONIA, LUNG, positive_from=0.5)
SALIENCY = MapOutput("saliency", "Saliency of pneumonia", ACTIVATION, UNITY)
BRIGHTNESS = MeasurementOutput(
    "brightness", "", local_code("brightness", "Brightness"), UNITY, LUNG, LUNG, statistic=MEAN, label="Mean brightness"
)
SCORED = replace(
    PIPELINE,
    name="scored_radiograph",
    title="Pneumonia score",
    outputs=(SCORE, BRIGHTNESS, SALIENCY, PreviewOutput("Pneumonia score, preview")),
    validated_age_years=(1.0, 6.0),
)
PLANES = ClassOutput(
    "plane",
    "Standard plane",
    local_code("standard_plane", "Fetal standard plane"),
    (
        ClassOption("head", "Head", local_code("plane_head", "Fetal head plane")),
        ClassOption("abdomen", "Abdomen", local_code("plane_abdomen", "Fetal abdomen plane")),
        ClassOption("background", "No standard plane", local_code("plane_none", "No standard plane")),
    ),
)
CLASSIFIED = replace(
    PIPELINE,
    name="classified_clip",
    title="Fetal standard planes",
    outputs=(
        PLANES,
        KeyImageOutput("plane", OF_INTEREST, 0.5, frozenset({"background"})),
        PreviewOutput("Fetal standard planes, preview"),
    ),
)


@dataclass(frozen=True, slots=True)
class PlanarCase:
    """A planar series, as data sets and as it was analysed, what was found, and the circumstances."""

    series: list[Dataset]
    source: Source
    findings: Findings
    context: Context


def planar_source(series: Sequence[Dataset | bytes]) -> Source:
    """A planar series as it was analysed."""
    rows, blobs = rows_of(series)
    return Source(*read(rows, blobs, 1))


def scored(score: float = 0.871, age: str = "004Y", **members: object) -> PlanarCase:
    """Two radiographs of different sizes, a score of both, and a map that is strongest off centre."""
    series = [
        radiograph(chest(60, 44), number=1, patient={"PatientAge": age or None}, **members),
        radiograph(chest(50, 48), number=2, patient={"PatientAge": age or None}, **members),
    ]
    source = planar_source(series)
    array = np.zeros(source.grid.shape, np.float32)
    array[0, 10:30, 5:17] = np.linspace(0.25, 1.0, 20, dtype=np.float32)[:, None]
    findings = Findings(
        measurements=(Measurement("brightness", float(source.volume.array.mean()), "1"),),
        scores=(Score("pneumonia", score),),
        maps=(ScalarMap("saliency", array),),
    )
    return PlanarCase(series, source, findings, context(pipeline=SCORED))


def classified(count: int = 8) -> PlanarCase:
    """A still and a clip; the still shows a head, and of the clip's frames one an abdomen best."""
    clip = np.stack([sector(30, 40, seed) for seed in range(count)])
    series = [ultrasound(sector(36, 40), number=1), ultrasound(clip, number=2)]
    source = planar_source(series)
    found = [Classification("plane", 0, "head", 0.97)]
    for frame in range(1, count + 1):
        value, certainty = ("abdomen", 0.5 + 0.4 * frame / count) if frame % 2 else ("background", 0.8)
        found.append(Classification("plane", frame, value, certainty))
    return PlanarCase(series, source, Findings(classes=tuple(found)), context(pipeline=CLASSIFIED))
