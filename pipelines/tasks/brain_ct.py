"""Brain mask and volume, and fluid inside it, on a CT of the head. See `docs/pipelines/brain_ct.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines import words
from pipelines.outputs import (
    ANATOMICAL_STRUCTURE,
    ATTENUATION,
    BRAIN,
    HOUNSFIELD,
    MEDIAN,
    MILLILITRE,
    VOLUME,
    Code,
    MeasurementOutput,
    PreviewOutput,
    SegmentOutput,
)
from pipelines.series import CT_STORAGES
from pipelines.spec import Pipeline, SeriesSelector

CEREBROSPINAL_FLUID = Code("65216001", "SCT", "Cerebrospinal Fluid")
BODY_SUBSTANCE = Code("91720002", "SCT", "Body Substance")

_SELECTOR = SeriesSelector(
    modality="CT",
    sop_classes=CT_STORAGES,
    body_parts=frozenset({"HEAD", "BRAIN", "SKULL", "HEADNECK"}),
    shown_by_words=words.EVERYTHING,
    shown_by_timings=(),
    contrary_words=words.NOTHING,
    contrary_timings=(),
    other_anatomy_words=words.any_of(*words.joined(words.ANATOMY, without=("head",))),
    derived_words=words.any_of(*words.SURVEYS, *words.CT_SURVEYS, *words.COMPUTED, *words.CT_COMPUTED),
    derived_types=words.DERIVED_TYPES,
    contrast_words=words.any_of(*words.CONTRAST, r"cta", alone=words.CONTRAST_ALONE),
    with_contrast=False,
    spacing_mm_max=8.0,
    slices_min=15,
    extent_mm_min=110.0,
    age_years=(18.0, 120.0),
    body_part_required=True,
)

PIPELINE = Pipeline(
    name="brain_ct",
    title="Brain and fluid volume (head CT)",
    bundle="brain_ct",
    bundle_version="1.0.0",
    selector=_SELECTOR,
    outputs=(
        SegmentOutput("brain", "Brain, with its fluid", ANATOMICAL_STRUCTURE, BRAIN, (229, 154, 170)),
        SegmentOutput("csf", "Fluid density (0 to 15 HU)", BODY_SUBSTANCE, CEREBROSPINAL_FLUID, (85, 188, 255)),
        MeasurementOutput("brain_volume", "brain", VOLUME, MILLILITRE, BRAIN, BRAIN, label="Brain, with its fluid"),
        MeasurementOutput(
            "brain_median",
            "brain",
            ATTENUATION,
            HOUNSFIELD,
            BRAIN,
            BRAIN,
            statistic=MEDIAN,
            label="Brain, median density",
        ),
        MeasurementOutput(
            "csf_volume",
            "csf",
            VOLUME,
            MILLILITRE,
            CEREBROSPINAL_FLUID,
            BRAIN,
            label="Fluid density (0 to 15 HU)",
        ),
        PreviewOutput(title="Brain and fluid on CT, preview"),
    ),
    data_class=DataClass.P2,
    urgency=Urgency.MEDIUM,
    timeout_s=600.0,
    intended_use=(
        "Research use only, not for diagnosis. Volume of the brain with the fluid in and around it, on a CT of an adult's "
        "head without contrast agent, and the part of it that has the density of fluid. Bleeding, infarction, tumours, surgery "
        "and children were not validated; it finds no disease and excludes none."
    ),
)
