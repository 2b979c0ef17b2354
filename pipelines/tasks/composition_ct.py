"""Bone, fat and tissue of muscle's density on a CT of the trunk, by rule. See `docs/pipelines/composition_ct.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines.outputs import (
    ANATOMICAL_STRUCTURE,
    ATTENUATION,
    HOUNSFIELD,
    MEAN,
    MILLILITRE,
    MORPHOLOGICAL_OPERATIONS,
    TISSUE,
    VOLUME,
    Code,
    MeasurementOutput,
    PreviewOutput,
    SegmentOutput,
)
from pipelines.spec import Pipeline
from pipelines.trunks import trunk_ct

BONE = Code("272673000", "SCT", "Bone")
FAT = Code("55603005", "SCT", "Fat")
SOFT_TISSUE = Code("87784001", "SCT", "Soft tissue")
TRUNK = Code("22943007", "SCT", "Trunk")

_SELECTOR = trunk_ct(
    frozenset({"chest", "heart", "abdomen", "pelvis"}), spacing_mm_max=10.0, slices_min=5, extent_mm_min=10.0
)


def _volume(mask: str, tissue: Code, label: str) -> MeasurementOutput:
    return MeasurementOutput(
        measurement=f"{mask}_volume",
        mask=mask,
        name=VOLUME,
        unit=MILLILITRE,
        finding=tissue,
        finding_site=TRUNK,
        label=label,
    )


PIPELINE = Pipeline(
    name="composition_ct",
    title="Bone, fat and muscle density (body CT)",
    bundle="composition_ct",
    bundle_version="1.0.0",
    selector=_SELECTOR,
    outputs=(
        SegmentOutput("bone", "Bone (above 150 HU)", ANATOMICAL_STRUCTURE, BONE, (241, 214, 145)),
        SegmentOutput("fat", "Fat (-190 to -30 HU)", TISSUE, FAT, (230, 220, 70)),
        SegmentOutput("muscle", "Muscle and organs (-29 to 150 HU)", TISSUE, SOFT_TISSUE, (192, 104, 88)),
        _volume("bone", BONE, "Bone (above 150 HU)"),
        _volume("fat", FAT, "Fat (-190 to -30 HU)"),
        _volume("muscle", SOFT_TISSUE, "Muscle and organs (-29 to 150 HU)"),
        MeasurementOutput(
            measurement="muscle_mean",
            mask="muscle",
            name=ATTENUATION,
            unit=HOUNSFIELD,
            finding=SOFT_TISSUE,
            finding_site=TRUNK,
            statistic=MEAN,
            label="Muscle and organs, mean density",
        ),
        PreviewOutput(title="Bone, fat and muscle density, preview"),
    ),
    data_class=DataClass.P3,
    urgency=Urgency.MEDIUM,
    timeout_s=300.0,
    intended_use=(
        "Research use only, not for diagnosis. Volumes of bone, fat and tissue of muscle's density in the part of an adult's "
        "trunk that the CT shows, by published ranges of Hounsfield units alone. Organs of muscle's density count as such; "
        "vessels with contrast agent count as bone. No area at a vertebra and no index is given. Not evaluated here on any "
        "patient."
    ),
    algorithm_family=MORPHOLOGICAL_OPERATIONS,
)
