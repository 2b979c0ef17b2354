"""MR weightings: what shows each, and what speaks against it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipelines import words
from pipelines.spec import Timing


@dataclass(frozen=True, slots=True)
class Weighting:
    """One weighting.

    Attributes
    ----------
    shown_by_words, shown_by_timings
        Evidence for it, as in a `SeriesSelector`.
    contrary_words, contrary_timings
        Evidence against it.
    """

    shown_by_words: re.Pattern[str]
    shown_by_timings: tuple[Timing, ...]
    contrary_words: re.Pattern[str]
    contrary_timings: tuple[Timing, ...]


def _others(*own: str) -> re.Pattern[str]:
    return words.any_of(*words.joined(words.CONTRARY, without=own))


T1 = Weighting(
    shown_by_words=words.any_of(*words.T1_WEIGHTED),
    shown_by_timings=(
        Timing(echo_time_ms=(0.5, 8.0), repetition_time_ms=(4.0, 3_200.0), inversion_time_ms=(350.0, 1_400.0)),
        Timing(echo_time_ms=(5.0, 25.0), repetition_time_ms=(200.0, 900.0), scanning_sequence="SE"),
    ),
    contrary_words=_others("t1"),
    contrary_timings=(
        Timing(echo_time_ms=(30.0, 10_000.0)),
        Timing(inversion_time_ms=(1_600.0, 10_000.0)),
    ),
)

T2 = Weighting(
    shown_by_words=words.any_of(*words.T2_WEIGHTED),
    shown_by_timings=(
        Timing(echo_time_ms=(60.0, 300.0), repetition_time_ms=(2_000.0, 20_000.0), scanning_sequence="SE"),
    ),
    contrary_words=_others("t2"),
    contrary_timings=(
        Timing(echo_time_ms=(0.0, 40.0)),
        Timing(inversion_time_ms=(100.0, 10_000.0)),
    ),
)

FLAIR = Weighting(
    shown_by_words=words.any_of(*words.FLAIR),
    shown_by_timings=(
        Timing(
            echo_time_ms=(60.0, 700.0), repetition_time_ms=(4_000.0, 20_000.0), inversion_time_ms=(1_500.0, 3_200.0)
        ),
    ),
    contrary_words=_others("t2", "flair"),
    contrary_timings=(Timing(echo_time_ms=(0.0, 40.0)),),
)

ANY = Weighting(
    shown_by_words=words.EVERYTHING,
    shown_by_timings=(),
    contrary_words=_others("t1", "t2", "flair", "proton density", "nulled", "steady state"),
    contrary_timings=(),
)
"""Any image of the anatomy: for a bundle that does not say which weighting it was made for."""

ANATOMICAL = Weighting(
    shown_by_words=words.any_of(*words.T1_WEIGHTED, *words.T2_WEIGHTED, *words.FLAIR),
    shown_by_timings=(*T1.shown_by_timings, *T2.shown_by_timings, *FLAIR.shown_by_timings),
    contrary_words=_others("t1", "t2", "flair"),
    contrary_timings=(),
)
"""T1, T2 or FLAIR: one of them must be shown, and nothing else."""

WEIGHTINGS: Mapping[str, tuple[re.Pattern[str], Weighting]] = MappingProxyType(
    {
        "FLAIR": (re.compile(r"(?<![a-z0-9])flair(?![a-z0-9])"), FLAIR),
        "T2": (re.compile(r"(?<![a-z0-9])t2(?:-?w(?:eighted|i)?)?(?![a-z0-9])"), T2),
        "T1": (re.compile(r"(?<![a-z0-9])t1(?:-?w(?:eighted|i)?)?(?![a-z0-9])"), T1),
    }
)
"""Each weighting, and how a bundle's metadata names it (in lower case)."""
