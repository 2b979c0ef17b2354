"""Which series of a study a pipeline takes together: a pure function over headers, with a coded reason for every no."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.match import BETTER_SERIES, OTHER_FRAME_OF_REFERENCE, SERIES_MISSING, SEVERAL_CANDIDATES, breaks
from pipelines.series import SeriesHeader
from pipelines.spec import Pipeline

_ALIKE = 1e-3
"""Relative difference of voxel sizes below which two series are equally fine."""


@dataclass(frozen=True, slots=True)
class Together:
    """What a study offers to a pipeline that needs several series.

    Attributes
    ----------
    series
        Series UID for each role, in the pipeline's order; empty when they are not all there.
    code, roles
        Why not, and the names of the roles that are open; empty when they are.
    """

    series: tuple[str, ...] = ()
    code: str = ""
    roles: tuple[str, ...] = ()


def together(headers: Sequence[SeriesHeader], pipeline: Pipeline) -> Together:
    """Give each role of a pipeline its one series.

    Of the series that fit a role the one with the smallest voxels is taken; of equally fine ones none, since nothing says
    which is meant. All must share the principal one's frame of reference: nothing is registered here.

    Parameters
    ----------
    headers
        The series of one study that are whole.
    pipeline
        One that needs several.
    """
    fitting = [[header for header in headers if breaks(header, role.selector) is None] for role in pipeline.roles]
    missing = tuple(role.name for role, found in zip(pipeline.roles, fitting, strict=True) if not found)
    if missing:
        return Together(code=SERIES_MISSING, roles=missing)
    first = _best(fitting[0])
    if first is None:
        return Together(code=SEVERAL_CANDIDATES, roles=(pipeline.role,))
    taken = [first.series_uid]
    for role, found in zip(pipeline.further, fitting[1:], strict=True):
        near = [item for item in found if item.series_uid not in taken and _one_space(item, first)]
        if not near:
            return Together(code=OTHER_FRAME_OF_REFERENCE, roles=(role.name,))
        chosen = _best(near)
        if chosen is None:
            return Together(code=SEVERAL_CANDIDATES, roles=(role.name,))
        taken.append(chosen.series_uid)
    return Together(tuple(taken))


def why_not_together(header: SeriesHeader, pipeline: Pipeline, found: Together) -> str | None:
    """The code of why a series takes no part in what `together` found, or None if it does."""
    reasons = [breaks(header, role.selector) for role in pipeline.roles]
    if None not in reasons:
        return reasons[0]
    if pipeline.withheld:
        return pipeline.withheld
    if not found.series:
        return found.code
    return None if header.series_uid in found.series else BETTER_SERIES


def _one_space(one: SeriesHeader, other: SeriesHeader) -> bool:
    return bool(one.frame_of_reference_uid) and one.frame_of_reference_uid == other.frame_of_reference_uid


def _best(found: Sequence[SeriesHeader]) -> SeriesHeader | None:
    """The one with the smallest voxels; None when two are equally fine."""
    ordered = sorted(found, key=_voxel_mm3)
    if len(ordered) > 1 and math.isclose(_voxel_mm3(ordered[0]), _voxel_mm3(ordered[1]), rel_tol=_ALIKE):
        return None
    return ordered[0]


def _voxel_mm3(header: SeriesHeader) -> float:
    return math.prod(header.spacing_mm) if header.spacing_mm else math.inf
