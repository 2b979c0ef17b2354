"""Brain mask and volume on T1-, T2-weighted or FLAIR MR of the head. See `docs/pipelines/brain_mr.md`."""

from __future__ import annotations

from dataclasses import replace

from bithive.offer import DataClass, Urgency
from pipelines.heads import T1_HEAD
from pipelines.outputs import (
    ANATOMICAL_STRUCTURE,
    BRAIN,
    MILLILITRE,
    VOLUME,
    MeasurementOutput,
    PreviewOutput,
    SegmentOutput,
)
from pipelines.spec import Pipeline
from pipelines.weightings import ANATOMICAL

_SELECTOR = replace(
    T1_HEAD,
    shown_by_words=ANATOMICAL.shown_by_words,
    shown_by_timings=ANATOMICAL.shown_by_timings,
    contrary_words=ANATOMICAL.contrary_words,
    contrary_timings=ANATOMICAL.contrary_timings,
    spacing_mm_max=6.0,
    slices_min=20,
)

PIPELINE = Pipeline(
    name="brain_mr",
    title="Brain volume (T1, T2 or FLAIR head MR)",
    bundle="brain_mr",
    bundle_version="1.0.0",
    selector=_SELECTOR,
    outputs=(
        SegmentOutput("brain", "Brain, with its fluid", ANATOMICAL_STRUCTURE, BRAIN, (229, 154, 170)),
        MeasurementOutput("brain_volume", "brain", VOLUME, MILLILITRE, BRAIN, BRAIN, label="Brain, with its fluid"),
        PreviewOutput(title="Brain on MR, preview"),
    ),
    data_class=DataClass.P2,
    urgency=Urgency.MEDIUM,
    timeout_s=600.0,
    intended_use=(
        "Research use only, not for diagnosis. Volume of the brain with the fluid in and around it, on a T1- or T2-weighted "
        "or FLAIR MR image of an adult's head without contrast agent. Large lesions, surgery and children were not validated."
    ),
)
