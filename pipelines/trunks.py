"""What the pipelines by rule on CT of the trunk share: which series they take."""

from __future__ import annotations

from pipelines import regions, words
from pipelines.series import CT_STORAGES
from pipelines.spec import SeriesSelector


def trunk_ct(shown: frozenset[str], spacing_mm_max: float, slices_min: int, extent_mm_min: float) -> SeriesSelector:
    """CT of an adult's trunk whose header says so, with or without contrast agent.

    Parameters
    ----------
    shown
        Keys of `regions.REGIONS`, of which at least one is named.
    spacing_mm_max, slices_min, extent_mm_min
        As in a `SeriesSelector`.
    """
    return SeriesSelector(
        modality="CT",
        sop_classes=CT_STORAGES,
        body_parts=regions.body_parts(shown) | {"PARTIALBODY", "BODY"},
        shown_by_words=words.EVERYTHING,
        shown_by_timings=(),
        contrary_words=words.NOTHING,
        contrary_timings=(),
        other_anatomy_words=regions.other_anatomy(shown),
        derived_words=words.any_of(*words.SURVEYS, *words.CT_SURVEYS, *words.COMPUTED, *words.CT_COMPUTED),
        derived_types=words.DERIVED_TYPES,
        contrast_words=words.NOTHING,
        with_contrast=True,
        spacing_mm_max=spacing_mm_max,
        slices_min=slices_min,
        extent_mm_min=extent_mm_min,
        age_years=(18.0, 120.0),
        body_part_required=True,
    )
