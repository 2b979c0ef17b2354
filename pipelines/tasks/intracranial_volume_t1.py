"""Intracranial volume of a T1-weighted head. See `docs/pipelines/intracranial_volume_t1.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines import words
from pipelines.outputs import (
    ANATOMICAL_STRUCTURE,
    INTRACRANIAL,
    MILLILITRE,
    VOLUME,
    MeasurementOutput,
    PreviewOutput,
    SegmentOutput,
)
from pipelines.series import MR_STORAGES
from pipelines.spec import Pipeline, SeriesSelector
from pipelines.weightings import T1

_SELECTOR = SeriesSelector(
    modality="MR",
    sop_classes=MR_STORAGES,
    body_parts=frozenset({"HEAD", "BRAIN", "SKULL", "HEADNECK"}),
    shown_by_words=T1.shown_by_words,
    shown_by_timings=T1.shown_by_timings,
    contrary_words=T1.contrary_words,
    contrary_timings=T1.contrary_timings,
    other_anatomy_words=words.any_of(*words.joined(words.ANATOMY, without=("head",))),
    derived_words=words.any_of(*words.SURVEYS, *words.COMPUTED, *words.MR_COMPUTED),
    derived_types=words.DERIVED_TYPES,
    contrast_words=words.any_of(*words.CONTRAST, alone=words.CONTRAST_ALONE),
    with_contrast=False,
    spacing_mm_max=2.0,
    slices_min=60,
    extent_mm_min=120.0,
    age_years=(18.0, 120.0),
)

PIPELINE = Pipeline(
    name="intracranial_volume_t1",
    title="Intracranial volume (T1 head MR)",
    bundle="intracranial_t1",
    bundle_version="1.0.0",
    selector=_SELECTOR,
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
