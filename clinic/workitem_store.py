"""What the clinical flow remembers: Workitems, series that wait to be judged, the log of every study, what was taken.

One `Change` is one durable transaction. The in-memory store is for tests and demonstrations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from clinic.refusals import StaleWorkitem, WorkitemAbsent
from clinic.workitem import Workitem

EVENTS_READ_MAX = 500


class Kind(StrEnum):
    """What can happen to a study."""

    RECEIVED = "received"
    MATCHED = "matched"
    UNMATCHED = "unmatched"
    OFFERED = "offered"
    WAITING = "waiting"
    LEASED = "leased"
    RUNNING = "running"
    CHECKED = "checked"
    WRITTEN = "written"
    COMPLETED = "completed"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """Something that happened to a study.

    Attributes
    ----------
    institution, study_uid, kind, at_ms
        Whose study, which, what, when.
    detail
        Small and plain: ids, codes, counts. `series_uid` and `workitem` say what it is about.
    seq
        Its place in the log; 0 before it is stored.
    """

    institution: str
    study_uid: str
    kind: Kind
    at_ms: int
    detail: dict[str, Any]
    seq: int = 0


@dataclass(frozen=True, slots=True)
class SeriesWatch:
    """A series that was received, and whether pipelines were asked about it.

    Attributes
    ----------
    institution, study_uid, series_uid
        Which.
    changed_ms, due_ms
        When its newest instance came; when it counts as whole at the latest.
    one_request
        Whether every instance came in one request.
    instances
        How many there were then.
    pending
        Whether it has changed since pipelines were last asked.
    input_digest
        What they were last asked about; empty before.
    unmatched
        Code of each pipeline's no: `{pipeline: code}`.
    geometry
        Code of why its instances form no block; empty when they do.
    """

    institution: str
    study_uid: str
    series_uid: str
    changed_ms: int
    due_ms: int
    one_request: bool
    instances: int
    pending: bool = True
    input_digest: str = ""
    unmatched: dict[str, str] = field(default_factory=dict)
    geometry: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What one transaction writes.

    Attributes
    ----------
    workitems
        New ones (version 1) and next versions of known ones.
    series
        Replaced as a whole.
    events
        Appended to the log.
    taken
        Key of an incoming event; when it was taken before, nothing at all is written.
    cursor
        (institution, place in the network's event stream) up to which events were taken.
    """

    workitems: tuple[Workitem, ...] = ()
    series: tuple[SeriesWatch, ...] = ()
    events: tuple[StudyEvent, ...] = ()
    taken: str | None = None
    cursor: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Which:
    """Which Workitems are meant; None means any.

    Attributes
    ----------
    institution, study_uid, series_uid, offer_id
        Equal to.
    owed
        True: only those with a duty.
    active
        True: only those that have not ended.
    """

    institution: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    offer_id: str | None = None
    owed: bool = False
    active: bool = False

    def holds(self, item: Workitem) -> bool:
        """Whether it is one of them."""
        pairs = (
            (self.institution, item.institution),
            (self.study_uid, item.study_uid),
            (self.series_uid, item.series_uid),
            (self.offer_id, item.offer_id),
        )
        same = all(wanted is None or wanted == found for wanted, found in pairs)
        return same and (not self.owed or item.duty is not None) and (not self.active or item.active)


Announce = Callable[[Sequence[StudyEvent]], None]
"""Told of every event once it is durable; must return quickly."""


class WorkitemStore(Protocol):
    """What the clinical flow remembers."""

    def commit(self, change: Change) -> bool:
        """Write everything in one durable transaction, or nothing.

        Returns
        -------
        bool
            False if `change.taken` was taken before; nothing is written then.

        Raises
        ------
        StaleWorkitem
            If a Workitem is not the version after the stored one, or a new one exists; nothing is written then.
        """

    def workitem(self, institution: str, workitem_id: str) -> Workitem:
        """One Workitem. Raises `WorkitemAbsent`, also for another institution's."""

    def find(self, which: Which) -> list[Workitem]:
        """Workitems, oldest first."""

    def watched(self, institution: str | None = None, study_uid: str | None = None) -> list[SeriesWatch]:
        """Series of a study; without a study, all that are pending."""

    def events_after(self, institution: str, seq: int, study_uid: str | None = None) -> list[StudyEvent]:
        """The log after a place, at most `EVENTS_READ_MAX` events, in order."""

    def cursor(self, institution: str) -> int:
        """How far the network's event stream was taken; 0 at first."""


class MemoryWorkitemStore:
    """The store in dictionaries; gone with the process."""

    def __init__(self, announce: Announce | None = None) -> None:
        self._announce = announce
        self._lock = threading.Lock()
        self._workitems: dict[str, Workitem] = {}
        self._series: dict[tuple[str, str], SeriesWatch] = {}
        self._events: list[StudyEvent] = []
        self._taken: set[str] = set()
        self._cursors: dict[str, int] = {}

    def commit(self, change: Change) -> bool:
        with self._lock:
            if change.taken is not None and change.taken in self._taken:
                return False
            for item in change.workitems:
                known = self._workitems.get(item.workitem_id)
                if (known.version if known else 0) != item.version - 1:
                    raise StaleWorkitem
            if change.taken is not None:
                self._taken.add(change.taken)
            self._workitems |= {item.workitem_id: item for item in change.workitems}
            self._series |= {(item.institution, item.series_uid): item for item in change.series}
            start = len(self._events) + 1
            stored = [replace(event, seq=start + place) for place, event in enumerate(change.events)]
            self._events += stored
            if change.cursor is not None:
                self._cursors[change.cursor[0]] = change.cursor[1]
        if self._announce and stored:
            self._announce(stored)
        return True

    def workitem(self, institution: str, workitem_id: str) -> Workitem:
        item = self._workitems.get(workitem_id)
        if item is None or item.institution != institution:
            raise WorkitemAbsent
        return item

    def find(self, which: Which) -> list[Workitem]:
        with self._lock:
            found = [item for item in self._workitems.values() if which.holds(item)]
        return sorted(found, key=lambda item: (item.created_ms, item.workitem_id))

    def watched(self, institution: str | None = None, study_uid: str | None = None) -> list[SeriesWatch]:
        with self._lock:
            found = [
                item
                for item in self._series.values()
                if (institution is None or item.institution == institution)
                and (item.pending if study_uid is None else item.study_uid == study_uid)
            ]
        return sorted(found, key=lambda item: (item.due_ms, item.series_uid))

    def events_after(self, institution: str, seq: int, study_uid: str | None = None) -> list[StudyEvent]:
        with self._lock:
            found = [
                event
                for event in self._events[max(seq, 0) :]
                if event.institution == institution and study_uid in (None, event.study_uid)
            ]
        return found[:EVENTS_READ_MAX]

    def cursor(self, institution: str) -> int:
        return self._cursors.get(institution, 0)
