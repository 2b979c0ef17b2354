"""Volume and density of the lungs on a chest CT, by rule. See `docs/pipelines/lungs_ct.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines.anatomy import local_code
from pipelines.outputs import (
    ANATOMICAL_STRUCTURE,
    ATTENUATION,
    HOUNSFIELD,
    LEFT,
    MEAN,
    MILLILITRE,
    MORPHOLOGICAL_OPERATIONS,
    PERCENT,
    RIGHT,
    VOLUME,
    Code,
    MeasurementOutput,
    PreviewOutput,
    SegmentOutput,
)
from pipelines.spec import Pipeline
from pipelines.trunks import trunk_ct

LUNG = Code("39607008", "SCT", "Lung")
LOW_ATTENUATION = local_code("laa_950", "Share of lung below -950 HU (LAA-950)")
PERCENTILE_15 = local_code("pd15", "15th percentile of lung density (PD15)")

_SELECTOR = trunk_ct(frozenset({"chest", "heart", "abdomen"}), spacing_mm_max=5.0, slices_min=20, extent_mm_min=30.0)


def _measured(name: str, mask: str, said: str, side: Code | None) -> tuple[MeasurementOutput, ...]:
    """Volume and density of one lung, or of both together."""
    rows = (
        ("volume", VOLUME, MILLILITRE, None, f"{said}, volume"),
        ("mean", ATTENUATION, HOUNSFIELD, MEAN, f"{said}, mean density"),
        ("laa950", LOW_ATTENUATION, PERCENT, None, f"{said}, below -950 HU"),
        ("pd15", PERCENTILE_15, HOUNSFIELD, None, f"{said}, 15th percentile"),
    )
    return tuple(
        MeasurementOutput(
            measurement=f"{name}_{key}",
            mask=mask,
            name=concept,
            unit=unit,
            finding=LUNG,
            finding_site=LUNG,
            laterality=side,
            statistic=statistic,
            label=label,
        )
        for key, concept, unit, statistic, label in rows
    )


PIPELINE = Pipeline(
    name="lungs_ct",
    title="Lungs, volume and density (chest CT)",
    bundle="lungs_ct",
    bundle_version="1.0.0",
    selector=_SELECTOR,
    outputs=(
        SegmentOutput("left_lung", "Left lung", ANATOMICAL_STRUCTURE, LUNG, (102, 178, 255), laterality=LEFT),
        SegmentOutput("right_lung", "Right lung", ANATOMICAL_STRUCTURE, LUNG, (255, 178, 102), laterality=RIGHT),
        *_measured("lungs", "", "Both lungs", None),
        *_measured("left_lung", "left_lung", "Left lung", LEFT),
        *_measured("right_lung", "right_lung", "Right lung", RIGHT),
        PreviewOutput(title="Lungs, preview"),
    ),
    data_class=DataClass.P3,
    urgency=Urgency.MEDIUM,
    timeout_s=300.0,
    intended_use=(
        "Research use only, not for diagnosis. Measures volume and density of an adult's lungs on a chest CT by a rule "
        "(threshold, components, airways), without a network. Meant for thin sections in full inspiration without contrast "
        "agent; on others the share below -950 HU and the 15th percentile are shifted. Not evaluated here on any patient."
    ),
    algorithm_family=MORPHOLOGICAL_OPERATIONS,
)
