"""Intracranial volume of a T1-weighted head. See `docs/pipelines/intracranial_volume_t1.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines.heads import T1_HEAD
from pipelines.outputs import (
    ANATOMICAL_STRUCTURE,
    INTRACRANIAL,
    MILLILITRE,
    VOLUME,
    MeasurementOutput,
    PreviewOutput,
    ReferenceRange,
    SegmentOutput,
)
from pipelines.spec import Pipeline

_MATSUMAE = (
    "Matsumae M and others. Age-related changes in intracranial compartment volumes in normal adults assessed by magnetic "
    "resonance imaging. Journal of Neurosurgery 84:982-991 (1996)"
)
_HEALTHY = "Healthy adults, mean and two standard deviations: men 1,469 ± 102 ml, women 1,289 ± 111 ml"
_RANGES = (
    ReferenceRange(1265.0, 1673.0, _HEALTHY, _MATSUMAE, sex="M"),
    ReferenceRange(1067.0, 1511.0, _HEALTHY, _MATSUMAE, sex="F"),
)

PIPELINE = Pipeline(
    name="intracranial_volume_t1",
    title="Intracranial volume (T1 head MR)",
    bundle="intracranial_t1",
    bundle_version="1.0.0",
    selector=T1_HEAD,
    outputs=(
        SegmentOutput(
            mask="intracranial",
            label="Intracranial volume",
            category=ANATOMICAL_STRUCTURE,
            type=INTRACRANIAL,
            colour_rgb=(64, 156, 255),
        ),
        MeasurementOutput(
            measurement="intracranial_volume",
            mask="intracranial",
            name=VOLUME,
            unit=MILLILITRE,
            finding=INTRACRANIAL,
            finding_site=INTRACRANIAL,
            references=_RANGES,
        ),
        PreviewOutput(title="Intracranial volume, preview"),
    ),
    data_class=DataClass.P2,
    urgency=Urgency.MEDIUM,
    timeout_s=300.0,
    intended_use=(
        "Research use only, not for diagnosis. Measures the total intracranial volume (not the volume of the brain) on a "
        "three-dimensional T1-weighted MR image of the head, without contrast agent, of an adult without large lesions or "
        "surgery."
    ),
)
