"""From a series that changed to Workitems: is it whole, which pipelines take it, what does it supersede."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bithive.outbox import Event
from clinic import completeness, together, traced
from clinic.errors import SeriesAbsent
from clinic.headers import geometry_refusal, input_digest, series_header
from clinic.instance import InstanceRow
from clinic.means import Means
from clinic.refusals import StaleWorkitem, Superseded
from clinic.workitem import Duty, InputSeries, State, Workitem
from clinic.workitem_store import Change, Kind, SeriesWatch, StudyEvent, Which
from pipelines.match import match, why_not
from pipelines.series import SeriesHeader
from pipelines.spec import Pipeline

IsReceiving = Callable[[str, str], bool]
"""Whether a request that may bring more of a study (institution, study UID) is open."""


def receive(means: Means, event: Event, quiet_s: float) -> None:
    """Take `series.changed` out of the archive's outbox: watch the series. Taking it again changes nothing.

    Parameters
    ----------
    means
        The parts of the clinical side.
    event
        The event; its key is the batch and the series.
    quiet_s
        After how long without another instance the series counts as whole.
    """
    body, now_ms = event.body, means.clock.now_ms()
    watch = SeriesWatch(
        institution=body["institution"],
        study_uid=body["study_uid"],
        series_uid=body["series_uid"],
        changed_ms=now_ms,
        due_ms=now_ms + round(quiet_s * 1000),
        one_request=bool(body["one_request"]),
        instances=int(body["instances"]),
    )
    known = [
        item for item in means.store.watched(watch.institution, watch.study_uid) if item.series_uid == watch.series_uid
    ]
    if known:
        watch = replace(watch, input_digest=known[0].input_digest)
    detail = {"series_uid": watch.series_uid, "instances": watch.instances}
    received = StudyEvent(watch.institution, watch.study_uid, Kind.RECEIVED, now_ms, detail)
    means.store.commit(Change(series=(watch,), events=(received,), taken=f"{event.topic}/{event.key}"))


def judge(means: Means, watch: SeriesWatch, is_receiving: IsReceiving) -> float:
    """Ask the pipelines about a series that is whole, and make Workitems of those that take it.

    Returns
    -------
    float
        0 when it is done; else the seconds to wait before asking again.
    """
    now_ms = means.clock.now_ms()
    if not watch.one_request and watch.due_ms > now_ms:
        return (watch.due_ms - now_ms) / 1000
    rows = means.archive.series(watch.institution, watch.series_uid)
    header = series_header(rows) if rows else None
    receiving = is_receiving(watch.institution, watch.study_uid)
    left_s = completeness.wait_s(watch, header is not None and header.gap_free, receiving, now_ms)
    if left_s > 0:
        return left_s
    try:
        _settle(means, watch, rows, header)
    except StaleWorkitem:
        return completeness.RECEIVING_PAUSE_S
    return 0.0


def schedule(means: Means, pipeline: Pipeline, row: InstanceRow, digest: str) -> Workitem:
    """A new Workitem for a series; not stored yet."""
    now_ms = means.clock.now_ms()
    return Workitem(
        workitem_id=means.ids.new("wit"),
        institution=row.institution,
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        pipeline=pipeline.name,
        input_digest=digest,
        offer_id=means.ids.new("off"),
        key=means.ids.token(32),
        created_ms=now_ms,
        changed_ms=now_ms,
        urgency=pipeline.urgency,
    )


def schedule_together(means: Means, pipeline: Pipeline, row: InstanceRow, inputs: tuple[InputSeries, ...]) -> Workitem:
    """A new Workitem for several series, `row` being of the principal one; not stored yet."""
    return replace(schedule(means, pipeline, row, together.digest_of(inputs)), inputs=inputs)


def _settle(means: Means, watch: SeriesWatch, rows: Sequence[InstanceRow], header: SeriesHeader | None) -> None:
    """One transaction: the series is judged, its Workitems are there, older ones are superseded."""
    digest = input_digest(rows) if rows else ""
    offered = means.repertoire().pipelines
    if digest and digest == watch.input_digest:
        _settle_unchanged(means, watch, rows, header, offered)
        return
    matches = match([header], offered) if header else []
    made = {item.pipeline.name: schedule(means, item.pipeline, rows[0], digest) for item in matches}
    alone = bool(made)
    study = together.look(means, watch, rows, header, offered.values())
    made |= {name: schedule_together(means, offered[name], row, inputs) for name, (row, inputs) in study.wanted.items()}
    unmatched = {
        name: why_not(header, pipeline) or ""
        for name, pipeline in sorted(offered.items())
        if header and name not in made and not pipeline.further
    } | study.unmatched
    geometry = (geometry_refusal(rows) or "") if header and not header.gap_free else ""
    judged = replace(watch, pending=False, input_digest=digest, unmatched=unmatched, geometry=geometry)
    which = Which(watch.institution, watch.study_uid, watch.series_uid)
    known = [item for item in means.store.find(which) if not item.inputs] + study.touched
    older, events = _superseded(means, known, made, Superseded.code if rows else SeriesAbsent.code)
    if not made and header:
        events.append(_unmatched(means, judged, study.open))
    corrected = {"corrected": ", ".join(header.corrections)} if header and header.corrections else {}
    events += [means.event(item, Kind.MATCHED, **corrected) for item in made.values()]
    watches = (judged, *study.joined.values())
    traced.judged(made.values(), watch.changed_ms, means.clock.now_ms())
    means.store.commit(Change((*older, *made.values()), watches, tuple(events)))
    if alone:
        means.volumes.note(watch.institution, watch.series_uid, rows)


def _settle_unchanged(
    means: Means,
    watch: SeriesWatch,
    rows: Sequence[InstanceRow],
    header: SeriesHeader | None,
    offered: Mapping[str, Pipeline],
) -> None:
    """The same images came again: nothing is new but that another series may have waited for this one."""
    study = together.look(means, watch, rows, header, offered.values())
    made = {name: schedule_together(means, offered[name], row, inputs) for name, (row, inputs) in study.wanted.items()}
    known = [item for item in study.touched if item.pipeline in made]
    older, events = _superseded(means, known, made, Superseded.code)
    events += [means.event(item, Kind.MATCHED) for item in made.values()]
    left = {name: code for name, code in watch.unmatched.items() if name not in made}
    watches = (replace(watch, pending=False, unmatched=left), *study.joined.values())
    traced.judged(made.values(), watch.changed_ms, means.clock.now_ms())
    means.store.commit(Change((*older, *made.values()), watches, tuple(events)))


def _unmatched(means: Means, judged: SeriesWatch, missing: Mapping[str, Sequence[str]]) -> StudyEvent:
    detail: dict[str, Any] = {
        "series_uid": judged.series_uid,
        "reasons": judged.unmatched,
        "geometry": judged.geometry,
    }
    if missing:
        detail["missing"] = {name: ", ".join(roles) for name, roles in missing.items()}
    return StudyEvent(judged.institution, judged.study_uid, Kind.UNMATCHED, means.clock.now_ms(), detail)


def _superseded(
    means: Means, known: Sequence[Workitem], made: dict[str, Workitem], code: str
) -> tuple[list[Workitem], list[StudyEvent]]:
    """Older Workitems of the series, as they are after it: those under way end, finished ones name their successor."""
    after, events, now_ms = [], [], means.clock.now_ms()
    for item in known:
        successor = made[item.pipeline].workitem_id if item.pipeline in made else None
        if item.active:
            duty = Duty.WITHDRAW if item.offer else None
            after.append(item.canceled(code, now_ms, superseded_by=successor, duty=duty, due_ms=0))
        elif item.superseded_by is None and successor and (item.state is State.COMPLETED or item.reason == code):
            after.append(item.changed(now_ms, superseded_by=successor))
        else:
            continue
        events.append(means.event(after[-1], Kind.SUPERSEDED, by=successor))
    return after, events
