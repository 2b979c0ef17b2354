"""Dense bone on a CT of the trunk, by rule."""

from bithive.offer import DataClass, Urgency
from pipelines import regions, words
from pipelines.outputs import (
    ANATOMICAL_STRUCTURE,
    MILLILITRE,
    VOLUME,
    Code,
    MeasurementOutput,
    PreviewOutput,
    SegmentOutput,
)
from pipelines.series import CT_STORAGES
from pipelines.spec import Pipeline, SeriesSelector

BONE = Code("272673000", "SCT", "Bone")
SHOWN = frozenset({"chest", "abdomen", "pelvis"})

PIPELINE = Pipeline(
    name="dense_bone_ct",
    title="Dense bone (body CT)",
    bundle="dense_bone_ct",
    bundle_version="0.1.0",
    selector=SeriesSelector(
        modality="CT",
        sop_classes=CT_STORAGES,
        body_parts=regions.body_parts(SHOWN),
        shown_by_words=words.EVERYTHING,
        shown_by_timings=(),
        contrary_words=words.NOTHING,
        contrary_timings=(),
        other_anatomy_words=regions.other_anatomy(SHOWN),
        derived_words=words.any_of(*words.SURVEYS, *words.CT_SURVEYS),
        derived_types=words.DERIVED_TYPES,
        contrast_words=words.NOTHING,
        with_contrast=True,
        spacing_mm_max=10.0,
        slices_min=5,
        extent_mm_min=10.0,
        age_years=(18.0, 120.0),
    ),
    outputs=(
        SegmentOutput("dense", "Dense bone", ANATOMICAL_STRUCTURE, BONE, (241, 214, 145)),
        MeasurementOutput("dense_volume", "dense", VOLUME, MILLILITRE, BONE, BONE),
        PreviewOutput("Dense bone, preview"),
    ),
    data_class=DataClass.P3,
    urgency=Urgency.LOW,
    timeout_s=60.0,
    intended_use="Research use only, not for diagnosis. Volume denser than 300 HU in the trunk of an adult.",
)
