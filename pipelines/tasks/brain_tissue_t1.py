"""Grey and white matter of a T1-weighted head. See `docs/pipelines/brain_tissue_t1.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines.brains import TISSUES, outputs
from pipelines.heads import T1_HEAD
from pipelines.spec import Pipeline

PIPELINE = Pipeline(
    name="brain_tissue_t1",
    title="Grey and white matter (T1 head MR)",
    bundle="brain_tissue_t1",
    bundle_version="1.0.0",
    selector=T1_HEAD,
    outputs=outputs(
        TISSUES, (("brain_tissue", "grey and white matter together"),), "Grey and white matter, preview", pairs=False
    ),
    data_class=DataClass.P2,
    urgency=Urgency.MEDIUM,
    timeout_s=600.0,
    intended_use=(
        "Research use only, not for diagnosis. Volumes of grey and white matter, in mL and in per cent of the intracranial "
        "volume, on a three-dimensional T1-weighted MR image of an adult's head without contrast agent, large lesions or "
        "surgery."
    ),
)
