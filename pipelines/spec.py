"""What a clinical task is: one frozen `Pipeline`, declared in one file of `pipelines/tasks/` or made from a bundle."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bithive.offer import DataClass, Urgency
from pipelines.outputs import (
    ARTIFICIAL_INTELLIGENCE,
    ClassOutput,
    Code,
    KeyImageOutput,
    MeasurementOutput,
    Output,
    ScoreOutput,
    SegmentOutput,
)

_ANYTHING, _NOTHING = re.compile(""), re.compile("(?!)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,63}")


@dataclass(frozen=True, slots=True)
class Timing:
    """MR timings that by themselves show a weighting: closed ranges, and all of them must be known.

    Attributes
    ----------
    echo_time_ms, repetition_time_ms, inversion_time_ms
        (lowest, highest), or None when it does not matter.
    scanning_sequence
        A value that Scanning Sequence (0018,0020) must hold, or empty.
    """

    echo_time_ms: tuple[float, float] | None = None
    repetition_time_ms: tuple[float, float] | None = None
    inversion_time_ms: tuple[float, float] | None = None
    scanning_sequence: str = ""


@dataclass(frozen=True, slots=True)
class SeriesSelector:
    """Which series a pipeline takes. `pipelines.match` reads it; every refusal has a code.

    Attributes
    ----------
    modality
        Modality (0008,0060).
    further_modalities
        Others that are the same thing to this pipeline (DX beside CR).
    sop_classes
        SOP Class UIDs that the reader and the bundle can do; a series that mixes in another is not taken.
    body_parts
        Values of Body Part Examined that fit; an absent one does too unless `body_part_required`.
    shown_by_words, shown_by_timings
        Positive evidence: a regular expression over the lower-case description and protocol name, or one of the
        timings. Without any the series is not taken.
    contrary_words, contrary_timings
        Evidence against: it outweighs any for.
    other_anatomy_words
        Words that name another part of the body.
    derived_words, derived_types
        Words, and values of Image Type, that show a derived map, a survey or a reformat.
    contrast_required
        Whether a series is taken only when its header or name says that a contrast agent was given.
    with_contrast
        Whether a series with a contrast agent is taken; `contrast_words` tell it when the header does not.
    spacing_mm_max
        Largest distance of voxel centres along any axis.
    slices_min
        Fewest slices.
    extent_mm_min
        Least coverage along any axis.
    age_years
        (youngest, oldest) that the bundle was validated on; an unknown age is let through.
    planar
        Whether it takes planar images (`SeriesHeader.planar`) instead of slices. Spacing and extent, where they are
        known, are then those of the pixels; `slices_min` counts frames.
    views
        Views (`SeriesHeader.views`) that it takes; of a series with several, those images alone. Empty: any.
    view_may_be_absent
        Whether an image that does not say its view is taken where `views` are named.
    colour
        Whether colour images are taken, as their brightness.
    body_part_required
        Whether a series that does not say its body part is refused.
    planes
        How slices may lie (`SeriesHeader.plane`). Empty: any way.
    words_needed, words_refused
        What the description or protocol name must say, and must not, whatever else shows what the series is.
    """

    modality: str
    sop_classes: frozenset[str]
    body_parts: frozenset[str]
    shown_by_words: re.Pattern[str]
    shown_by_timings: tuple[Timing, ...]
    contrary_words: re.Pattern[str]
    contrary_timings: tuple[Timing, ...]
    other_anatomy_words: re.Pattern[str]
    derived_words: re.Pattern[str]
    derived_types: frozenset[str]
    contrast_words: re.Pattern[str]
    with_contrast: bool
    spacing_mm_max: float
    slices_min: int
    extent_mm_min: float
    age_years: tuple[float, float]
    further_modalities: frozenset[str] = frozenset()
    planar: bool = False
    views: frozenset[str] = frozenset()
    view_may_be_absent: bool = False
    colour: bool = False
    body_part_required: bool = False
    planes: frozenset[str] = frozenset()
    words_needed: re.Pattern[str] = _ANYTHING
    words_refused: re.Pattern[str] = _NOTHING
    contrast_required: bool = False

    def takes_view(self, view: str) -> bool:
        """Whether an image of this view is taken; `view` is empty when the image does not say."""
        return not self.views or view in self.image_views

    @property
    def image_views(self) -> frozenset[str]:
        """The views of single images that are taken, "" for one that does not say; empty: all."""
        return self.views | {""} if self.views and self.view_may_be_absent else self.views


@dataclass(frozen=True, slots=True)
class SeriesRole:
    """One of several series that a pipeline needs at once.

    Attributes
    ----------
    name
        For people: `FLAIR`.
    selector
        Which series it takes.
    """

    name: str
    selector: SeriesSelector


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A clinical task.

    Attributes
    ----------
    name
        Its file's name, or the bundle's that it was made from.
    title
        For people.
    bundle, bundle_version
        What runs, at exactly that version.
    selector
        Which series it takes.
    outputs
        What is written into the study.
    data_class
        Of the payload (DESIGN, Trust).
    urgency
        When the request says nothing.
    timeout_s
        After which an Attempt counts as failed.
    intended_use
        What it is for, whom it was validated on, and what it is not.
    withheld
        Code of why no series is given to it for now (`pipelines.match`), empty when it is on.
    validated_age_years
        (youngest, oldest) of the patients on whom it was validated, or None when it flags nothing. Outside it, or when
        the age is unknown, findings are written with the remark `outside-population` and nothing is flagged positive.
    role
        Of the series that `selector` takes, where there are further ones: it is the first channel, and findings belong
        to it.
    further
        The other series of the same study that it needs at once, in the order of the network's channels.
    algorithm_family
        What kind of algorithm the objects say it was (CID 7162): not a network's where a rule measures.
    """

    name: str
    title: str
    bundle: str
    bundle_version: str
    selector: SeriesSelector
    outputs: tuple[Output, ...]
    data_class: DataClass
    urgency: Urgency
    timeout_s: float
    intended_use: str
    withheld: str = ""
    validated_age_years: tuple[float, float] | None = None
    algorithm_family: Code = ARTIFICIAL_INTELLIGENCE
    role: str = ""
    further: tuple[SeriesRole, ...] = ()

    def __post_init__(self) -> None:
        assert _NAME.fullmatch(self.name), "a pipeline's name is its file's or its bundle's"
        assert self.timeout_s > 0, "a timeout is positive"
        assert len(self.title) <= 64, "a title is an LO"
        segments = {output.mask for output in self.outputs if isinstance(output, SegmentOutput)}
        measured = {output.mask for output in self.outputs if isinstance(output, MeasurementOutput)} - {""}
        assert measured <= segments, "a measurement refers to a segment that is written"
        asked = {output.classification: output for output in self.outputs if isinstance(output, ClassOutput)}
        for output in self.outputs:
            if isinstance(output, KeyImageOutput):
                assert output.classification in asked, "key images are of frames that are classified"
                known = {option.key for option in asked[output.classification].options}
                assert output.without <= known, "classes of which none is chosen are classes"
        flagged = any(isinstance(item, ScoreOutput) and item.positive_from is not None for item in self.outputs)
        assert not flagged or self.validated_age_years, "what is flagged positive was validated on somebody"
        ages = self.validated_age_years
        assert ages is None or 0 <= ages[0] <= ages[1], "the younger end comes first"

    @property
    def roles(self) -> tuple[SeriesRole, ...]:
        """Every series that it needs, the principal one first."""
        return (SeriesRole(self.role, self.selector), *self.further)

    def validated_on(self, age_years: float | None) -> bool:
        """Whether a patient of that age is of the population that it was validated on; an unknown age is not."""
        if self.validated_age_years is None:
            return True
        youngest, oldest = self.validated_age_years
        return age_years is not None and youngest <= age_years <= oldest
