"""Workitems of several series: made when the last of them is whole, superseded when one changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from clinic.errors import SeriesAbsent
from clinic.headers import input_digest, series_header
from clinic.instance import InstanceRow
from clinic.means import Means
from clinic.refusals import Superseded
from clinic.workitem import InputSeries, State, Workitem
from clinic.workitem_store import SeriesWatch, Which
from pipelines.match import breaks
from pipelines.series import SeriesHeader
from pipelines.spec import Pipeline
from pipelines.together import together, why_not_together

_Whole = Mapping[str, tuple[SeriesHeader, Sequence[InstanceRow]]]
_ENDED_FOR_ANOTHER = frozenset({Superseded.code, SeriesAbsent.code})


@dataclass(frozen=True, slots=True)
class Study:
    """What becomes of a study's pipelines of several series when one series was judged.

    Attributes
    ----------
    wanted
        For each pipeline that has all its series now: the principal one's first instance, and the series.
    touched
        Known Workitems that what is wanted replaces, or whose series changed.
    unmatched
        Code of each pipeline that does not take the judged series.
    open
        Names of the roles that are open, by pipeline.
    joined
        Watches of the other series that are taken now: nothing keeps them out any more.
    """

    wanted: dict[str, tuple[InstanceRow, tuple[InputSeries, ...]]] = field(default_factory=dict)
    touched: list[Workitem] = field(default_factory=list)
    unmatched: dict[str, str] = field(default_factory=dict)
    open: dict[str, tuple[str, ...]] = field(default_factory=dict)
    joined: dict[str, SeriesWatch] = field(default_factory=dict)


def digest_of(inputs: Iterable[InputSeries]) -> str:
    """SHA-256 over several series and their digests, in order."""
    return hashlib.sha256("\n".join(f"{one.series_uid} {one.digest}" for one in inputs).encode()).hexdigest()


def look(
    means: Means,
    watch: SeriesWatch,
    rows: Sequence[InstanceRow],
    header: SeriesHeader | None,
    pipelines: Iterable[Pipeline],
) -> Study:
    """Ask the pipelines of several series about a study, one of whose series is whole now, or gone.

    Parameters
    ----------
    means
        The parts of the clinical side.
    watch, rows, header
        The series that is judged, its instances and its header; none when it is gone.
    pipelines
        Those that are on; those of a single series are passed over.
    """
    study = Study()
    several = sorted((item for item in pipelines if item.further), key=lambda item: item.name)
    if not several:
        return study
    known = [item for item in means.store.find(Which(watch.institution, watch.study_uid)) if item.inputs]
    watches = {item.series_uid: item for item in means.store.watched(watch.institution, watch.study_uid)}
    whole: _Whole | None = None
    for pipeline in several:
        mine = [item for item in known if item.pipeline == pipeline.name]
        own = [item for item in mine if any(one.series_uid == watch.series_uid for one in item.inputs)]
        fits = header is not None and any(breaks(header, role.selector) is None for role in pipeline.roles)
        if not fits and not own:
            if header is not None:
                study.unmatched[pipeline.name] = breaks(header, pipeline.selector) or ""
            continue
        whole = _whole(means, watch, rows, header, watches) if whole is None else whole
        _ask(study, pipeline, header, whole, mine, own)
    for _, inputs in study.wanted.values():
        study.joined.update({one.series_uid: watches[one.series_uid] for one in inputs if one.series_uid in watches})
    study.joined.pop(watch.series_uid, None)
    for uid, item in study.joined.items():
        left = {name: code for name, code in item.unmatched.items() if name not in study.wanted}
        study.joined[uid] = replace(item, unmatched=left)
    return study


def again(means: Means, item: Workitem) -> tuple[InputSeries, ...]:
    """The series of a Workitem as they are now. Raises `SeriesAbsent` when one is gone."""
    found = []
    for one in item.inputs:
        rows = means.archive.series(item.institution, one.series_uid)
        if not rows:
            raise SeriesAbsent
        found.append(replace(one, digest=input_digest(rows)))
    return tuple(found)


def _ask(
    study: Study,
    pipeline: Pipeline,
    header: SeriesHeader | None,
    whole: _Whole,
    mine: Sequence[Workitem],
    own: Sequence[Workitem],
) -> None:
    found = together([item for item, _ in whole.values()], pipeline)
    if header is not None and (code := why_not_together(header, pipeline, found)):
        study.unmatched[pipeline.name] = code
    if not found.series or pipeline.withheld:
        study.open[pipeline.name] = found.roles
        study.touched.extend(own)
        return
    inputs = tuple(
        InputSeries(role.name, uid, input_digest(whole[uid][1]))
        for role, uid in zip(pipeline.roles, found.series, strict=True)
    )
    if any(item.inputs == inputs and not _ended_for_another(item) for item in mine):
        return
    study.wanted[pipeline.name] = whole[found.series[0]][1][0], inputs
    study.touched.extend(mine)


def _ended_for_another(item: Workitem) -> bool:
    return item.state is State.CANCELED and item.reason in _ENDED_FOR_ANOTHER


def _whole(
    means: Means,
    watch: SeriesWatch,
    rows: Sequence[InstanceRow],
    header: SeriesHeader | None,
    watches: Mapping[str, SeriesWatch],
) -> _Whole:
    """The series of the study that are whole: those that were judged as they are now, and the one that is judged."""
    found: dict[str, tuple[SeriesHeader, Sequence[InstanceRow]]] = {}
    if header is not None:
        found[watch.series_uid] = header, rows
    for uid, other in watches.items():
        if uid == watch.series_uid or other.pending or not other.input_digest:
            continue
        theirs = means.archive.series(watch.institution, uid)
        if theirs and input_digest(theirs) == other.input_digest:
            found[uid] = series_header(theirs), theirs
    return found
