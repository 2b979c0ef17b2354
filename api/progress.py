"""Live progress over server-sent events (WHATWG HTML, 9.2).

The clinical side keeps a log of every study; a subscriber reads that log from where it stands, and is woken when there
is more. So nothing is kept for a slow browser, and who comes back after a restart goes on with `Last-Event-ID`. Who has
missed more than is worth sending is told to `resync`: to ask for the present state instead.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.auth import Principal, require
from api.deps import ServicesDep
from clinic.workitem_store import EVENTS_READ_MAX, Kind, StudyEvent

KEEP_ALIVE_S = 15.0
SUBSCRIBERS_MAX = 500

TOPICS = {Kind.RECEIVED: "study.received", Kind.UNMATCHED: "study.changed", Kind.RUNNING: "workitem.progressed"}
"""Event names of the stream; every other kind is `workitem.changed`."""

Read = Callable[[str, int], Sequence[StudyEvent]]


class Progress:
    """Wakes subscribers when a study's log has grown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._waiting: dict[asyncio.Event, tuple[str, asyncio.AbstractEventLoop]] = {}
        self._closed = False

    def announce(self, events: Sequence[StudyEvent]) -> None:
        """Tell who listens that these are in the log. From any thread; never blocks."""
        with self._lock:
            for event in events:
                self._first.setdefault(event.institution, event.seq)
                self._last[event.institution] = max(event.seq, self._last.get(event.institution, 0))
            self._wake({event.institution for event in events})

    def close(self) -> None:
        """End every subscription, so that the server can stop."""
        with self._lock:
            self._closed = True
            self._wake({institution for institution, _ in self._waiting.values()})

    def _wake(self, institutions: set[str]) -> None:
        for woken, (institution, loop) in self._waiting.items():
            if institution in institutions and not loop.is_closed():
                loop.call_soon_threadsafe(woken.set)

    async def subscribe(
        self, institution: str, last_seq: int | None, read: Read, pause_s: float = KEEP_ALIVE_S
    ) -> AsyncIterator[str]:
        """The event stream of one institution, as text.

        Parameters
        ----------
        institution
            Whose events.
        last_seq
            The `Last-Event-ID` of a subscriber that comes back; None begins with what happens next.
        read
            The log after a place: `WorkitemStore.events_after`.
        pause_s
            Seconds of silence after which a comment is sent.
        """
        woken = asyncio.Event()
        with self._lock:
            crowded = len(self._waiting) >= SUBSCRIBERS_MAX
            cursor = self._last.get(institution) if last_seq is None else last_seq
            if not crowded:
                self._waiting[woken] = (institution, asyncio.get_running_loop())
        yield f"retry: {30_000 if crowded else 2_000}\n\n"
        try:
            while not (self._closed or crowded):
                woken.clear()
                if cursor is None:
                    cursor = self._first.get(institution, 0) - 1 if institution in self._first else None
                events = [] if cursor is None else await run_in_threadpool(read, institution, cursor)
                if len(events) >= EVENTS_READ_MAX or self._is_ahead(institution, cursor):
                    cursor = self._last.get(institution, events[-1].seq if events else 0)
                    yield f"id: {cursor}\nevent: resync\ndata: {{}}\n\n"
                    continue
                for event in events:
                    yield _text(event)
                    cursor = event.seq
                if not events and not await _set_within(woken, pause_s):
                    yield ": still here\n\n"
        finally:
            with self._lock:
                self._waiting.pop(woken, None)

    def _is_ahead(self, institution: str, cursor: int | None) -> bool:
        """Whether a subscriber claims to have seen what has not happened: it speaks of another log."""
        return cursor is not None and institution in self._last and cursor > self._last[institution]


async def _set_within(event: asyncio.Event, pause_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), pause_s)
    except TimeoutError:
        return False
    return True


def _text(event: StudyEvent) -> str:
    body = {"study_uid": event.study_uid, "kind": str(event.kind), "at_ms": event.at_ms, **event.detail}
    return f"id: {event.seq}\nevent: {TOPICS.get(event.kind, 'workitem.changed')}\ndata: {json.dumps(body)}\n\n"


router = APIRouter()


@router.get("/api/events")
async def events(
    services: ServicesDep,
    principal: Annotated[Principal, Depends(require("studies:read"))],
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> StreamingResponse:
    """Server-sent events of the studies of the caller's institution."""
    seq = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else None
    stream = services.progress.subscribe(principal.institution or "", seq, services.workitems.events_after)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
