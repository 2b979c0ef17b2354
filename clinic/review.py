"""A clinician accepts findings, or rejects them; either may be asked for again and happens once.

Accepting makes a VERIFIED version of the report. Rejecting archives a rejection note that takes back everything that
was written, an accepted report included; what was rejected is not accepted again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from bithive.blobs import Blobs, read_verified
from bithive.clock import Clock
from bithive.settings import Settings
from clinic.archive import Archive
from clinic.errors import InstanceAbsent
from clinic.intake import Intake
from clinic.refusals import AlreadyReviewed, NotReviewable, ResultsNotStored, ReviewerUnnamed, StaleWorkitem
from clinic.uids import site_key, successor
from clinic.workitem import Reference, Review, State, Workitem
from clinic.workitem_store import Change, Kind, StudyEvent, WorkitemStore
from clinic.writers.context import Written

REASON_CHARACTERS_MAX = 500
_TRIES_MAX = 100
_SEPARATORS = str.maketrans(dict.fromkeys("\\=^\r\n\t", " "))


class Reviews:
    """What clinicians make of findings.

    Parameters
    ----------
    settings, clock
        Of this hub.
    archive, blobs, intake, store
        Of the clinical side.
    """

    def __init__(
        self, settings: Settings, clock: Clock, archive: Archive, blobs: Blobs, intake: Intake, store: WorkitemStore
    ) -> None:
        self._clock, self._archive, self._blobs = clock, archive, blobs
        self._intake, self._store = intake, store
        self._one_at_a_time = threading.Lock()
        self._organization = settings.clinic.institution_name
        self._key = site_key(settings.secret.get_secret_value() if settings.secret else "")

    def accept(self, institution: str, workitem_id: str, reviewer: str, reason: str = "") -> Workitem:
        """Archive a verified version of the report.

        Parameters
        ----------
        institution, workitem_id
            Which findings.
        reviewer
            Name of the clinician.
        reason
            A remark, for the log of the study.

        Raises
        ------
        WorkitemAbsent, NotReviewable
            If there are no such findings, or they were replaced.
        AlreadyReviewed
            If they were rejected.
        ReviewerUnnamed
            If the name is blank.
        """
        return self._judge(institution, workitem_id, reviewer, Review.ACCEPTED, self._verified, reason)

    def reject(self, institution: str, workitem_id: str, reviewer: str, reason: str = "") -> Workitem:
        """Archive a rejection note for everything that was written, whether or not it was accepted before.

        Raises
        ------
        WorkitemAbsent, NotReviewable, ReviewerUnnamed
            As `accept`.
        """
        return self._judge(institution, workitem_id, reviewer, Review.REJECTED, self._note, reason)

    def _judge(
        self,
        institution: str,
        workitem_id: str,
        reviewer: str,
        verdict: Review,
        write: Callable[[Workitem, str, int], list[Written]],
        reason: str,
    ) -> Workitem:
        name = " ".join(reviewer.translate(_SEPARATORS).split())[:64]
        if not name:
            raise ReviewerUnnamed
        with self._one_at_a_time:
            for _ in range(_TRIES_MAX):
                item = self._store.workitem(institution, workitem_id)
                if item.review is verdict and item.state is State.COMPLETED:
                    return item
                try:
                    return self._write(item, verdict, name, write, reason)
                except StaleWorkitem:
                    continue
        raise StaleWorkitem

    def _write(
        self,
        item: Workitem,
        verdict: Review,
        name: str,
        write: Callable[[Workitem, str, int], list[Written]],
        reason: str,
    ) -> Workitem:
        if item.state is not State.COMPLETED:
            raise NotReviewable
        if item.review is Review.REJECTED:
            raise AlreadyReviewed
        now_ms = self._clock.now_ms()
        written = write(item, name, now_ms)
        outcomes = self._intake.store_results(item.institution, [one.content for one in written])
        if not all(outcome.stored for outcome in outcomes):
            raise ResultsNotStored
        return self._record(item, verdict, name, now_ms, written, reason)

    def _record(
        self, item: Workitem, verdict: Review, name: str, now_ms: int, written: list[Written], reason: str
    ) -> Workitem:
        added = tuple(Reference(one.kind, one.sop_class, one.series_uid, one.sop_uid) for one in written)
        after = item.changed(
            now_ms, review=verdict, reviewed_by=name, reviewed_ms=now_ms, references=item.references + added
        )
        kind = Kind.ACCEPTED if verdict is Review.ACCEPTED else Kind.REJECTED
        detail = {"workitem": item.workitem_id, "series_uid": item.series_uid, "pipeline": item.pipeline, "by": name}
        if reason:
            detail["reason"] = reason[:REASON_CHARACTERS_MAX]
        event = StudyEvent(item.institution, item.study_uid, kind, now_ms, detail)
        self._store.commit(Change((after,), (), (event,)))
        return after

    def _verified(self, item: Workitem, name: str, now_ms: int) -> list[Written]:
        from clinic.writers import sr

        report = item.reference("sr")
        if report is None:
            return []
        sop_uid = successor(self._key, report.sop_uid, "verified")
        return [sr.verified(self._content(item, report), sop_uid, _person(name), self._organization, now_ms)]

    def _note(self, item: Workitem, name: str, now_ms: int) -> list[Written]:
        from clinic.writers import rejection

        contents = [self._content(item, reference) for reference in item.references]
        if not contents:
            return []
        uids = "+".join(reference.sop_uid for reference in item.references)
        series_uid, sop_uid = (successor(self._key, uids, kind) for kind in ("rejection.series", "rejection"))
        return [rejection.write(contents, series_uid, sop_uid, _person(name), self._organization, now_ms)]

    def _content(self, item: Workitem, reference: Reference) -> bytes:
        row = self._archive.instance(item.institution, reference.sop_uid)
        if row is None:
            raise InstanceAbsent
        return read_verified(self._blobs, row.blob)


def _person(name: str) -> str:
    """A name as PN (PS3.5 section 6.2.1): one component, since nobody said which word is the family's."""
    return f"{name[:63]}^"
