"""Seventeen structures of the brain, both sides together, on a T1-weighted head. See `docs/pipelines/brain_structures18_t1.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines.brains import STRUCTURES_18, outputs
from pipelines.heads import T1_HEAD
from pipelines.spec import Pipeline

PIPELINE = Pipeline(
    name="brain_structures18_t1",
    title="17 structures of the brain (T1 head MR)",
    bundle="brain_structures18_t1",
    bundle_version="1.0.0",
    selector=T1_HEAD,
    outputs=outputs(
        STRUCTURES_18,
        (("brain_tissue", "brain tissue without ventricles"),),
        "17 structures of the brain, preview",
        pairs=False,
    ),
    data_class=DataClass.P2,
    urgency=Urgency.LOW,
    timeout_s=900.0,
    intended_use=(
        "Research use only, not for diagnosis. Volumes of seventeen structures of the brain, both sides together, in mL and in "
        "per cent of the intracranial volume, on a three-dimensional T1-weighted MR image of an adult's head without contrast "
        "agent, large lesions or surgery."
    ),
)
