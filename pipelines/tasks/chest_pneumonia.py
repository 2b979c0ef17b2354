"""Pneumonia on a frontal chest radiograph of a small child. See `docs/pipelines/chest_pneumonia.md`."""

from __future__ import annotations

from bithive.offer import DataClass, Urgency
from pipelines import words
from pipelines.outputs import CERTAINTY, PERCENT, UNITY, Code, MapOutput, PreviewOutput, ScoreOutput
from pipelines.series import RADIOGRAPH_STORAGES
from pipelines.spec import Pipeline, SeriesSelector

_LUNG = Code("39607008", "SCT", "Lung")
_PNEUMONIA = Code("233604007", "SCT", "Pneumonia")

_NOT_A_FILM = (
    *words.SURVEYS,
    *(r"lat(eral)?", r"seitlich", r"decub\w*", r"lordotic", r"ribs?", r"stern\w*", r"clavic\w*", r"scapul\w*"),
    *(r"tomo\w*", r"bone ?-?suppr\w*", r"enhanced", r"dual ?-?energy", r"cad", r"report", r"phantom\w*"),
)
"""Other films of the chest, and what a program made of one."""

_SELECTOR = SeriesSelector(
    modality="CR",
    further_modalities=frozenset({"DX"}),
    sop_classes=RADIOGRAPH_STORAGES,
    body_parts=frozenset({"CHEST", "THORAX", "LUNG", "LUNGS"}),
    body_part_required=True,
    views=frozenset({"PA", "AP"}),
    shown_by_words=words.EVERYTHING,
    shown_by_timings=(),
    contrary_words=words.NOTHING,
    contrary_timings=(),
    other_anatomy_words=words.any_of(*words.joined(words.ANATOMY, without=("chest",))),
    derived_words=words.any_of(*_NOT_A_FILM),
    derived_types=words.DERIVED_TYPES,
    contrast_words=words.any_of(*words.CONTRAST, alone=words.CONTRAST_ALONE),
    with_contrast=False,
    spacing_mm_max=float("inf"),
    slices_min=1,
    extent_mm_min=0.0,
    age_years=(0.0, 120.0),
    planar=True,
)

PIPELINE = Pipeline(
    name="chest_pneumonia",
    title="Pneumonia score (chest radiograph)",
    bundle="chest_pneumonia",
    bundle_version="1.0.0",
    selector=_SELECTOR,
    outputs=(
        ScoreOutput(
            score="pneumonia",
            label="Pneumonia, probability",
            name=CERTAINTY,
            unit=PERCENT,
            finding=_PNEUMONIA,
            finding_site=_LUNG,
            positive_from=0.5,
        ),
        MapOutput(
            map="saliency",
            label="What the score rests on",
            quantity=Code("130404", "DCM", "Saliency"),
            unit=UNITY,
        ),
        PreviewOutput(title="Pneumonia score, preview"),
    ),
    data_class=DataClass.P3,
    urgency=Urgency.MEDIUM,
    timeout_s=120.0,
    validated_age_years=(1.0, 6.0),
    intended_use=(
        "Research use only, not for diagnosis. Scores the likelihood of pneumonia on a frontal chest radiograph of a child of "
        "one to five years, seen at 28 x 28 pixels. Of anybody else the score is written but marked as outside the intended "
        "population, and nothing is flagged. A low score excludes nothing."
    ),
)
