"""Reads what a page shows from the clinical side's stores. Runs in a thread: every call may touch a disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.auth import Principal
from api.pages.evidence import (
    ReceiptLines,
    SeriesLine,
    Step,
    lasted,
    receipt_lines,
    series_label,
    series_lines,
    steps,
)
from api.pages.findings import Found, found_of
from api.pages.money import ChargeLines, charge_lines
from api.pages.present import Analysis, Kept, StudyLine, analysis, current, kept_reason, study_line
from api.services import Services
from clinic.attributes import BY_TAG, Level
from clinic.errors import StudyAbsent
from clinic.instance import SeriesRow, StudyRow
from clinic.query import Kind, Match, Query, by_uid
from clinic.workitem import Workitem
from clinic.workitem_store import EVENTS_READ_MAX, SeriesWatch, StudyEvent, Which
from clinic.workitem_store import Kind as EventKind

ROWS_A_PAGE = 60
SEARCH_ROWS_MAX = 200
_JUDGED = frozenset({EventKind.ACCEPTED, EventKind.REJECTED})
_SEARCHED = ("00100010", "00100020", "00081030")


@dataclass(frozen=True, slots=True)
class StudiesPage:
    """The study list.

    Attributes
    ----------
    rows
        The studies of this page.
    query
        What was searched for.
    skip, older
        How many newer ones there are; the same for the next page, or 0.
    stow_url
        Where a PACS sends to.
    """

    rows: tuple[StudyLine, ...]
    query: str
    skip: int
    older: int
    stow_url: str

    @property
    def chips(self) -> tuple[tuple[str, str], ...]:
        """The filters by state."""
        return (("all", "All"), ("run", "In progress"), ("review", "To review"), ("bad", "Failed"), ("quiet", "Kept"))

    @property
    def count_text(self) -> str:
        """How many are shown."""
        return f"{len(self.rows)} {'study' if len(self.rows) == 1 else 'studies'}" if self.rows else "None yet"


@dataclass(frozen=True, slots=True)
class FullAnalysis:
    """An analysis with its evidence: what `present.Analysis` says, and how it came about."""

    shown: Analysis
    found: Found
    workitem: Workitem
    steps: tuple[Step, ...]
    receipt: ReceiptLines | None
    charge: ChargeLines | None

    @property
    def begun_ms(self) -> int | None:
        """When its first step was."""
        return self.steps[0].at_ms if self.steps else None

    @property
    def lasted(self) -> str:
        """From the first step to the end of the work; empty while it is under way."""
        return lasted(self.workitem, self.steps)


@dataclass(frozen=True, slots=True)
class StudyPage:
    """All that a study's page says beside the image."""

    study: StudyLine
    analyses: tuple[FullAnalysis, ...]
    unmatched: tuple[Kept, ...]
    series_list: tuple[SeriesLine, ...]
    series_rows: tuple[SeriesRow, ...]
    watched: tuple[SeriesWatch, ...]


def institution_of(principal: Principal) -> str:
    """Whose studies the reader may see; an id that is nobody's when there are none."""
    return principal.institution or ""


def studies(services: Services, principal: Principal, skip: int, query: str, base_url: str) -> StudiesPage:
    """The study list, newest first.

    Parameters
    ----------
    skip
        How many newer ones to leave out.
    query
        Words that the name, id or description has to hold; empty for all.
    base_url
        By which others reach this hub.
    """
    institution = institution_of(principal)
    rows = _search(services, institution, query) if query else _newest(services, institution, skip)
    older = skip + ROWS_A_PAGE if not query and len(rows) > ROWS_A_PAGE else 0
    shown = rows if query else rows[:ROWS_A_PAGE]
    lines = tuple(_line(services, institution, row) for row in shown)
    words = query.lower().split()
    if words:
        lines = tuple(line for line in lines if all(word in line.haystack for word in words))
    return StudiesPage(lines, query, skip, older, f"{base_url.rstrip('/')}/dicomweb/studies")


def study_row(services: Services, principal: Principal, study_uid: str) -> StudyLine:
    """One line of the list. Raises `StudyAbsent`."""
    institution = institution_of(principal)
    return _line(services, institution, _study(services, institution, study_uid))


def study_page(services: Services, principal: Principal, study_uid: str) -> StudyPage:
    """A study with everything that is known of it. Raises `StudyAbsent`."""
    institution = institution_of(principal)
    row = _study(services, institution, study_uid)
    workitems = services.workitems.find(Which(institution=institution, study_uid=study_uid))
    watched = services.workitems.watched(institution, study_uid)
    events = _events(services, institution, study_uid)
    series = [
        found.series
        for found in services.archive.search(institution, Level.SERIES, by_uid(study_uid))
        if found.series is not None
    ]
    return StudyPage(
        study=study_line(row, workitems, watched, services.repertoire().pipelines),
        analyses=tuple(_full(services, principal, row, item, events) for item in current(workitems)),
        unmatched=_unmatched(series, workitems, watched),
        series_list=tuple(series_lines(study_uid, series, workitems)),
        series_rows=tuple(series),
        watched=tuple(watched),
    )


def bundles_of(services: Services, found: StudyPage) -> list[str]:
    """The bundles that its analyses run."""
    known = services.repertoire().pipelines
    names = [item.workitem.pipeline for item in found.analyses]
    return list(dict.fromkeys(known[name].bundle for name in names if name in known))


def _newest(services: Services, institution: str, skip: int) -> list[StudyRow]:
    query = Query(limit=ROWS_A_PAGE + 1, offset=skip)
    return [found.study for found in services.archive.search(institution, Level.STUDY, query)]


def _search(services: Services, institution: str, query: str) -> list[StudyRow]:
    word = max(query.replace("*", " ").replace("?", " ").split(), key=len, default="")
    if not word:
        return _newest(services, institution, 0)[:ROWS_A_PAGE]
    patterns = [Match(BY_TAG[tag], Kind.PATTERN, (f"*{word}*",)) for tag in _SEARCHED]
    asked = [Query((match,), limit=SEARCH_ROWS_MAX) for match in patterns]
    found = {
        item.study.study_uid: item.study
        for one in asked
        for item in services.archive.search(institution, Level.STUDY, one)
    }
    return sorted(found.values(), key=lambda row: (-row.created_ms, row.study_uid))[:SEARCH_ROWS_MAX]


def _study(services: Services, institution: str, study_uid: str) -> StudyRow:
    row = services.archive.study(institution, study_uid)
    if row is None:
        raise StudyAbsent
    return row


def _line(services: Services, institution: str, row: StudyRow) -> StudyLine:
    workitems = services.workitems.find(Which(institution=institution, study_uid=row.study_uid))
    watched = services.workitems.watched(institution, row.study_uid)
    return study_line(row, workitems, watched, services.repertoire().pipelines)


def _events(services: Services, institution: str, study_uid: str) -> list[StudyEvent]:
    found: list[StudyEvent] = []
    while True:
        more = services.workitems.events_after(institution, found[-1].seq if found else 0, study_uid)
        found += more
        if len(more) < EVENTS_READ_MAX:
            return found


def _full(
    services: Services, principal: Principal, row: StudyRow, item: Workitem, events: Sequence[StudyEvent]
) -> FullAnalysis:
    judged = [event for event in events if event.detail.get("workitem") == item.workitem_id and event.kind in _JUDGED]
    reason = str(judged[-1].detail.get("reason") or "") if judged else ""
    may_review = "studies:review" in principal.scopes
    may_rerun = "studies:write" in principal.scopes
    known = services.repertoire().pipelines
    return FullAnalysis(
        shown=analysis(item, reason, known=known, may_review=may_review, may_rerun=may_rerun),
        found=found_of(item, known.get(item.pipeline), row),
        workitem=item,
        steps=steps(item, events),
        receipt=receipt_lines(item.receipt),
        charge=charge_lines(services, item),
    )


def _unmatched(
    series: Sequence[SeriesRow], workitems: Sequence[Workitem], watched: Sequence[SeriesWatch]
) -> tuple[Kept, ...]:
    taken = {item.series_uid for item in workitems}
    labels = {row.series_uid: series_label(row) for row in series}
    waiting = [watch for watch in watched if not watch.pending and watch.series_uid not in taken]
    kept = []
    for watch in waiting:
        code, reason = kept_reason(watch)
        kept.append(Kept(labels.get(watch.series_uid, "(series)"), reason, code))
    return tuple(kept)
