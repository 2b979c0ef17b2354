"""Where the clinical side's spans find their parents: in memory, by series and by Workitem, and in the Offer afterwards.

The keys are UIDs and stay in this process; what is kept under them is random. After a restart in between, a study's
trace begins anew with its Offer.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from bithive import tracing
from bithive.tracing import Span
from clinic.workitem import Workitem


def receiving(institution: str, series: Iterable[str], start_ms: int) -> AbstractContextManager[Span]:
    """The span of a request that brings instances of these series: the first of a series begins its trace."""
    known = (tracing.recall(_series(institution, uid)) for uid in sorted(series))
    return tracing.span("study.received", next(filter(None, known), ""), start_ms)


def received(institution: str, series: Iterable[str], span: Span) -> None:
    """What is done for these series follows from this request, unless it follows from an earlier one."""
    for uid in series:
        if not tracing.recall(_series(institution, uid)):
            tracing.remember(_series(institution, uid), span.traceparent)


def judged(items: Iterable[Workitem], start_ms: int, end_ms: int) -> None:
    """Workitems were made of a series that was whole after so long."""
    for item in items:
        parent = tracing.recall(_series(item.institution, item.series_uid))
        if parent:
            made = tracing.record("series.judged", parent, start_ms, end_ms, pipeline=item.pipeline)
            tracing.remember(_workitem(item), made)


def offering(item: Workitem) -> AbstractContextManager[Span]:
    """The span of making a Workitem's Offer."""
    parent = tracing.recall(_workitem(item)) or traceparent(item)
    return tracing.span("offer.made", parent, pipeline=item.pipeline, urgency=str(item.urgency), offer=item.offer_id)


def traceparent(item: Workitem) -> str:
    """What the Workitem's Offer carries; empty when it is not traced, or not made yet."""
    return str(item.offer.get("traceparent", "")) if item.offer else ""


def taking(item: Workitem) -> AbstractContextManager[Span]:
    """The span of taking and writing findings: part of a trace only if the Offer is."""
    attributes: dict[str, tracing.Attribute] = {"pipeline": item.pipeline, "offer": item.offer_id}
    parent = traceparent(item)
    return tracing.span("findings.taken", parent, None, **attributes) if parent else tracing.untraced()


def _series(institution: str, uid: str) -> tuple[str, ...]:
    return ("series", institution, uid)


def _workitem(item: Workitem) -> tuple[str, ...]:
    return ("workitem", item.workitem_id)
