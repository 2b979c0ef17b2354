"""103 structures of the brain, each side for itself, on a T1-weighted head. See `docs/pipelines/brain_structures104_t1.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines.brains import STRUCTURES_104, outputs
from pipelines.heads import T1_HEAD
from pipelines.spec import Pipeline

_SUMS = (("brain_tissue", "brain tissue without ventricles"), ("cerebral_cortex", "cerebral cortex, both sides"))

PIPELINE = Pipeline(
    name="brain_structures104_t1",
    title="103 structures of the brain (T1 head MR)",
    bundle="brain_structures104_t1",
    bundle_version="1.0.0",
    selector=T1_HEAD,
    outputs=outputs(STRUCTURES_104, _SUMS, "103 structures of the brain, preview", pairs=True),
    data_class=DataClass.P2,
    urgency=Urgency.LOW,
    timeout_s=900.0,
    intended_use=(
        "Research use only, not for diagnosis. Volumes of 103 structures of the brain, in mL and in per cent of the "
        "intracranial volume, and how left and right differ, on a three-dimensional T1-weighted MR image of an adult's head "
        "without contrast agent, large lesions or surgery."
    ),
)
