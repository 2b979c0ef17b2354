"""Which series suits which pipeline: a pure function over headers, with a coded reason for every no.

The codes are public: `docs/pipelines/` explains each. The first one in the order of the table is given; what keeps a
pipeline from every series (its licence was not accepted) is said last, of those series alone that would suit it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.series import SeriesHeader
from pipelines.spec import Pipeline, SeriesSelector, Timing


@dataclass(frozen=True, slots=True)
class Match:
    """A series that a pipeline takes."""

    pipeline: Pipeline
    series_uid: str


def match(headers: Sequence[SeriesHeader], pipelines: Mapping[str, Pipeline] | Iterable[Pipeline]) -> list[Match]:
    """Every pair of a pipeline and a series that suits it.

    Parameters
    ----------
    headers
        The series of one study.
    pipelines
        Those that are on: the catalogue's mapping or any of its values.

    Returns
    -------
    list
        Ordered as `headers`, then by the pipeline's name. Pipelines that need several series are left out:
        `pipelines.together`.
    """
    offered = pipelines.values() if isinstance(pipelines, Mapping) else pipelines
    ordered = sorted(offered, key=lambda pipeline: pipeline.name)
    return [
        Match(pipeline, header.series_uid)
        for header in headers
        for pipeline in ordered
        if not pipeline.further and why_not(header, pipeline) is None
    ]


def why_not(header: SeriesHeader, pipeline: Pipeline) -> str | None:
    """The code of the first rule that the series breaks, or None if it suits."""
    return breaks(header, pipeline.selector) or pipeline.withheld or None


def breaks(header: SeriesHeader, selector: SeriesSelector) -> str | None:
    """The code of the first rule of a selector that the series breaks, or None."""
    return next((code for code, holds in _RULES if not holds(header, selector)), None)


def reasons() -> dict[str, str]:
    """Every code that `why_not` can give, with a sentence for a person."""
    return dict(_REASONS)


def _words(header: SeriesHeader) -> str:
    return f"{header.series_description} {header.protocol_name}".lower().replace("_", " ")


def _fits(header: SeriesHeader, timing: Timing) -> bool:
    pairs = (
        (header.echo_time_ms, timing.echo_time_ms),
        (header.repetition_time_ms, timing.repetition_time_ms),
        (header.inversion_time_ms, timing.inversion_time_ms),
    )
    inside = all(span is None or (value is not None and span[0] <= value <= span[1]) for value, span in pairs)
    return inside and (not timing.scanning_sequence or timing.scanning_sequence in header.scanning_sequence)


def _modality(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return header.modality == selector.modality or header.modality in selector.further_modalities


def _for_viewing(header: SeriesHeader, _selector: SeriesSelector) -> bool:
    return not header.for_processing


def _planar(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return header.planar or not selector.planar


def _slices_needed(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return selector.planar or not header.planar


def _grey(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return selector.colour or not header.colour


def _view(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return any(selector.takes_view(view) for view in header.views or ("",))


def _object(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return bool(header.sop_classes) and header.sop_classes <= selector.sop_classes


def _original(header: SeriesHeader, selector: SeriesSelector) -> bool:
    types = {value.upper() for value in header.image_type}
    return not (types & selector.derived_types or selector.derived_words.search(_words(header)))


def _body_part(header: SeriesHeader, selector: SeriesSelector) -> bool:
    named = _NOT_LETTERS.sub("", header.body_part.upper())
    return (not named or named in selector.body_parts) and not selector.other_anatomy_words.search(_words(header))


def _body_part_said(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return bool(header.body_part.strip()) or not selector.body_part_required


def _plane(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return not selector.planes or header.plane in selector.planes


def _name(header: SeriesHeader, selector: SeriesSelector) -> bool:
    said = _words(header)
    return bool(selector.words_needed.search(said)) and not selector.words_refused.search(said)


def _weighting(header: SeriesHeader, selector: SeriesSelector) -> bool:
    if selector.contrary_words.search(_words(header)):
        return False
    return not any(_fits(header, timing) for timing in selector.contrary_timings)


def _shown(header: SeriesHeader, selector: SeriesSelector) -> bool:
    if selector.shown_by_words.search(_words(header)):
        return True
    return any(_fits(header, timing) for timing in selector.shown_by_timings)


def _enhanced(header: SeriesHeader, selector: SeriesSelector) -> bool:
    given = header.contrast or bool(selector.contrast_words.search(_words(header)))
    return given or not selector.contrast_required


def _contrast(header: SeriesHeader, selector: SeriesSelector) -> bool:
    given = header.contrast or bool(selector.contrast_words.search(_words(header)))
    return selector.with_contrast or not given


def _population(header: SeriesHeader, selector: SeriesSelector) -> bool:
    age = header.patient_age_years
    return age is None or selector.age_years[0] <= age <= selector.age_years[1]


def _spacing(header: SeriesHeader, _selector: SeriesSelector) -> bool:
    if header.planar and header.spacing_mm is None:
        return True
    return header.spacing_mm is not None and all(0 < step < float("inf") for step in header.spacing_mm)


def _fine(header: SeriesHeader, selector: SeriesSelector) -> bool:
    if header.planar:
        return header.spacing_mm is None or max(header.spacing_mm[:2]) <= selector.spacing_mm_max + 1e-6
    return header.spacing_mm is not None and max(header.spacing_mm) <= selector.spacing_mm_max + 1e-6


def _slices(header: SeriesHeader, selector: SeriesSelector) -> bool:
    return (header.frames if header.planar else header.instances) >= selector.slices_min


def _extent(header: SeriesHeader, selector: SeriesSelector) -> bool:
    if header.planar:
        return header.extent_mm is None or min(header.extent_mm[:2]) >= selector.extent_mm_min
    return header.extent_mm is not None and min(header.extent_mm) >= selector.extent_mm_min


def _readable(header: SeriesHeader, _selector: SeriesSelector) -> bool:
    return header.gap_free or not header.planar


def _gap_free(header: SeriesHeader, _selector: SeriesSelector) -> bool:
    return header.gap_free


_NOT_LETTERS = re.compile(r"[^A-Z]")
_Rule = Callable[[SeriesHeader, SeriesSelector], bool]
_TABLE: tuple[tuple[str, _Rule, str], ...] = (
    ("other-modality", _modality, "The modality is another one."),
    ("for-processing", _for_viewing, "It is raw detector output, which is not meant to be looked at."),
    ("not-planar", _planar, "It is not a radiograph, an ultrasound image or a screen capture."),
    ("planar-images", _slices_needed, "It is a radiograph, an ultrasound image or a screen capture, not slices."),
    ("other-object", _object, "The instances are of a kind that this pipeline cannot read."),
    ("colour-image", _grey, "It is a picture in colour."),
    ("derived-map", _original, "It is a survey, a mosaic, a reformat or a computed map, not the acquired image."),
    ("other-body-part", _body_part, "It shows another part of the body."),
    ("body-part-not-shown", _body_part_said, "It does not say which part of the body it shows."),
    ("other-view", _view, "It was taken from another side, or does not say from which."),
    ("other-name", _name, "Its name lacks a word that is needed, or has one that speaks against it."),
    ("other-plane", _plane, "Its slices lie another way."),
    ("other-weighting", _weighting, "Its name or timings show another weighting."),
    ("weighting-not-shown", _shown, "Neither its name nor its timings show the weighting that is needed."),
    ("post-contrast", _contrast, "A contrast agent was given."),
    ("contrast-not-shown", _enhanced, "Nothing shows that a contrast agent was given."),
    ("outside-population", _population, "The patient's age lies outside the population that was validated."),
    ("no-geometry", _spacing, "The position of its slices cannot be told."),
    ("too-coarse", _fine, "Its voxels are too large."),
    ("too-few-slices", _slices, "It has too few slices."),
    ("too-small", _extent, "It covers too little of the patient."),
    ("unreadable-image", _readable, "An image of it cannot be shown."),
    ("gaps", _gap_free, "Slices are missing, doubled, or unevenly spaced."),
)
_RULES = tuple((code, rule) for code, rule, _ in _TABLE)
LICENCE_NOT_ACCEPTED = "licence-not-accepted"
WEIGHTS_ABSENT = "weights-absent"
SWITCHED_OFF = "switched-off"
_WITHHELD = (
    (LICENCE_NOT_ACCEPTED, "The licence of the model was not accepted here: an administrator can do that."),
    (WEIGHTS_ABSENT, "The model's weights are not on this machine: an administrator can fetch them."),
    (SWITCHED_OFF, "This pipeline is not among those that this site has switched on."),
)
SERIES_MISSING = "series-missing"
SEVERAL_CANDIDATES = "several-candidates"
BETTER_SERIES = "better-series"
OTHER_FRAME_OF_REFERENCE = "other-frame-of-reference"
_TOGETHER = (
    (SERIES_MISSING, "Another series that is needed with it is missing, or not whole yet."),
    (OTHER_FRAME_OF_REFERENCE, "The series that is needed with it was acquired in another frame of reference."),
    (SEVERAL_CANDIDATES, "Several series of the study would do equally well, and nothing says which is meant."),
    (BETTER_SERIES, "Another series of the study does better."),
)
"""Of pipelines that need several series at once (`pipelines.together`)."""
_REASONS = (*((code, text) for code, _, text in _TABLE), *_TOGETHER, *_WITHHELD)
