"""What the pipelines of T1-weighted heads share: which series they take."""

from __future__ import annotations

from pipelines import words
from pipelines.series import MR_STORAGES
from pipelines.spec import SeriesSelector
from pipelines.weightings import T1

T1_HEAD = SeriesSelector(
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
"""Three-dimensional T1-weighted MR of an adult's head, without contrast agent."""
