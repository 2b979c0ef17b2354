"""What the pages say of a study and its analyses: plain values for the templates, made from the domain's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.pages import words
from api.pages.explain import title as explained_title
from api.pages.findings import headline as said
from api.pages.measures import unit_of
from api.pages.model_card import card as model_card
from bithive.errors import leaves
from clinic.elements import text
from clinic.instance import StudyRow
from clinic.workitem import Measured, Review, State, Workitem
from clinic.workitem_store import SeriesWatch
from pipelines.catalog import pipelines
from pipelines.match import reasons
from pipelines.outputs import MeasurementOutput, SegmentOutput
from pipelines.spec import Pipeline

PATIENT_NAME, PATIENT_ID, BIRTH, SEX = "00100010", "00100020", "00100030", "00100040"
STUDY_DATE, STUDY_TIME, DESCRIPTION, AGE = "00080020", "00080030", "00081030", "00101010"

INTRACRANIAL_NOTE = (
    "All that lies inside the skull: brain, fluid, vessels and membranes together. It is never the volume of the brain."
)
NOTES: dict[str, str] = {"intracranial_volume": INTRACRANIAL_NOTE}
"""What a measurement is and is not, by its key."""

NAMES: dict[str, str] = {"intracranial_volume": "Intracranial volume (TIV)"}

WAITING = {
    "attempt-expired": "The computer that had it went silent; another one gets it",
    "attempt-failed": "A computer could not do it; another one gets it",
}
"""Codes of the network that a study waits with, and that nobody has to look up."""

MADE_MODALITIES = {
    "seg": "SEG",
    "sr": "SR",
    "sr-verified": "SR",
    "sc": "OT",
    "map": "OT",
    "kos": "KO",
    "rejection": "KO",
}
"""Modality of what we write, by the kind of its reference: a study is shown by what was acquired."""

NONE_FOUND = "None found"
OUTSIDE = "Outside the intended population; not yet reviewed"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured value as shown."""

    key: str
    name: str
    value: str
    unit: str
    explained: str
    plausible: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a clinician made of the findings, or that none has yet."""

    tone: str
    symbol: str
    label: str
    by: str
    at_ms: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """One Workitem as shown.

    Attributes
    ----------
    workitem_id, title
        Which.
    tone, label
        Colour and word of its state: `run`, `good`, `warn`, `bad`, `quiet`.
    stage, percent
        Where it stands while it runs.
    headline, note
        The value for the list; a few words beside the state.
    code, reason
        Why it failed, in plain words.
    measurements, review
        What came of it, and what a clinician made of it.
    counted
        How many structures were measured, in words.
    none_found
        Whether nothing of what was looked for is there.
    void
        Whether the findings were taken back.
    group
        What the list's filter calls it: `run`, `review`, `done`, `bad` or `quiet`.
    """

    workitem_id: str
    title: str
    tone: str
    label: str
    group: str
    stage: str = ""
    percent: int = 0
    headline: str = ""
    note: str = ""
    code: str = ""
    reason: str = ""
    measurements: tuple[Measure, ...] = ()
    review: Verdict | None = None
    counted: str = ""
    none_found: bool = False
    void: bool = False
    may_accept: bool = False
    may_reject: bool = False
    may_rerun: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A series that no pipeline takes, and why."""

    label: str
    reason: str
    code: str


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One study as shown in the list and at the head of its page."""

    study_uid: str
    patient_name: str
    patient_line: str
    description: str
    date: str
    modalities: str
    counts: str
    received_ms: int
    analyses: tuple[Analysis, ...]
    idle_tone: str
    idle_label: str
    idle_note: str

    @property
    def tones(self) -> str:
        """The filter's words for it."""
        return " ".join(dict.fromkeys(item.group for item in self.analyses)) or (
            "run" if self.idle_tone == "run" else "quiet"
        )

    @property
    def haystack(self) -> str:
        """What the filter looks into."""
        parts = (self.patient_name, self.patient_line, self.description, self.date, self.modalities)
        return " ".join(parts).lower()


def study_line(
    row: StudyRow,
    workitems: Sequence[Workitem],
    watched: Sequence[SeriesWatch],
    known: Mapping[str, Pipeline] | None = None,
) -> StudyLine:
    """A study with its analyses.

    Parameters
    ----------
    row
        From the archive.
    workitems
        All of the study.
    watched
        What pipelines said of its series.
    known
        The pipelines that are there; the declared ones when absent.
    """
    references = [reference for item in workitems for reference in item.references]
    made = {reference.series_uid for reference in references}
    kinds = {MADE_MODALITIES.get(reference.kind, "") for reference in references}
    own = len({reference.sop_uid for reference in references})
    born, sex = words.date(text(row.attributes, BIRTH)), words.SEXES.get(text(row.attributes, SEX), "")
    years = words.age(text(row.attributes, AGE))
    tone, label, note = idle(watched)
    when = words.listed([words.date(text(row.attributes, STUDY_DATE))])
    at = words.time_of_day(text(row.attributes, STUDY_TIME))
    return StudyLine(
        study_uid=row.study_uid,
        patient_name=words.person(text(row.attributes, PATIENT_NAME)),
        patient_line=" · ".join(part for part in (row.patient_id, sex, born and f"born {born}", years) if part)
        or "no patient id",
        description=text(row.attributes, DESCRIPTION) or "(no description)",
        date=f"{when} {at}".strip() or "no date",
        modalities=" ".join(modality for modality in row.modalities if modality not in kinds) or "?",
        counts=f"{words.counted(max(row.series - len(made), 0), 'series', 'series')}, "
        f"{words.counted(max(row.instances - own, 0), 'instance')}",
        received_ms=row.created_ms,
        analyses=tuple(analysis(item, known=known) for item in current(workitems)),
        idle_tone=tone,
        idle_label=label,
        idle_note=note,
    )


def current(workitems: Sequence[Workitem]) -> list[Workitem]:
    """Those that count: without the ones that others replaced, the newest first."""
    alive = [item for item in workitems if item.superseded_by is None and item.reason != "superseded"]
    return sorted(alive or workitems[-1:], key=lambda item: item.created_ms, reverse=True)


def idle(watched: Sequence[SeriesWatch]) -> tuple[str, str, str]:
    """Tone, label and note of a study without an analysis."""
    if not watched or any(item.pending for item in watched):
        return "run", "Received", "Waiting for the rest of the series"
    told = list(dict.fromkeys(kept_reason(item)[1] for item in watched))
    if len(told) > 1:
        return "quiet", "Kept", f"No pipeline takes any of its {len(watched)} series"
    return "quiet", "Kept", f"No pipeline takes it: {told[0][:1].lower()}{told[0][1:]}"


def kept_reason(watch: SeriesWatch) -> tuple[str, str]:
    """Code and sentence of why no pipeline takes a series: of the pipeline that came nearest, or its geometry."""
    order = list(reasons())
    found = [code for code in watch.unmatched.values() if code in order]
    code = max(found, key=order.index) if found else watch.geometry
    if code == "gaps" and watch.geometry:
        code = watch.geometry
    return code, plain_reason(code) if code else "none is made for such images."


def plain_reason(code: str) -> str:
    """What a code means, in a sentence for a clinician."""
    known = WAITING.get(code) or reasons().get(code) or explained_title(code) or _titles().get(code) or "It failed."
    return known if known.endswith((".", "!", "?")) else f"{known}."


def _titles() -> dict[str, str]:
    return {leaf.code: leaf.title for leaf in leaves()}


def analysis(
    item: Workitem,
    reason: str = "",
    *,
    known: Mapping[str, Pipeline] | None = None,
    may_review: bool = False,
    may_rerun: bool = False,
) -> Analysis:
    """A Workitem as shown.

    Parameters
    ----------
    item
        Which.
    reason
        What the clinician who judged it said.
    known
        The pipelines that are there; the declared ones when absent.
    may_review, may_rerun
        Whether the reader's role allows these at all.
    """
    pipeline = (pipelines() if known is None else known).get(item.pipeline)
    title = pipeline.title if pipeline else item.pipeline
    if item.state is State.CANCELED:
        return _ended_without(item, title, may_rerun)
    if item.state is State.COMPLETED:
        return _finished(item, title, pipeline, reason, may_review)
    return _under_way(item, title)


def _ended_without(item: Workitem, title: str, may_rerun: bool) -> Analysis:
    code = item.reason or "fault"
    if code == "superseded":
        note = "Later images of the series replaced it"
        return Analysis(item.workitem_id, title, "quiet", "Superseded", "quiet", note=note)
    why = plain_reason(code)
    return Analysis(
        item.workitem_id, title, "bad", "Failed", "bad", note=why, code=code, reason=why, may_rerun=may_rerun
    )


def _finished(item: Workitem, title: str, pipeline: Pipeline | None, reason: str, may_review: bool) -> Analysis:
    measures = tuple(_measure(pipeline, found) for found in item.measured)
    none_found = item.reference("sr") is not None and item.reference("seg") is None and _segments(pipeline)
    headline = NONE_FOUND if none_found else said(item, pipeline)
    if measures and not item.statements:
        headline = f"{measures[0].value} {measures[0].unit}" if len(measures) == 1 else _counted(measures, pipeline)
    tone, label, group, note = {
        None: ("good", "Finished", "review", "Not yet reviewed"),
        Review.ACCEPTED: ("good", "Accepted", "done", "Verified by a clinician"),
        Review.REJECTED: ("warn", "Rejected", "done", "Retracted by a clinician"),
    }[item.review]
    return Analysis(
        item.workitem_id,
        title,
        tone,
        label,
        group,
        headline=headline,
        note=OUTSIDE if item.remarks and item.review is None else note,
        measurements=measures,
        counted=_counted(measures, pipeline),
        none_found=none_found,
        review=verdict(item, reason),
        void=item.review is Review.REJECTED,
        may_accept=may_review and item.review is None,
        may_reject=may_review and item.review is not Review.REJECTED,
    )


def _segments(pipeline: Pipeline | None) -> bool:
    """Whether a pipeline writes segments at all; of one that is not here any more nobody knows better."""
    return pipeline is None or any(isinstance(output, SegmentOutput) for output in pipeline.outputs)


def _under_way(item: Workitem, title: str) -> Analysis:
    place = f" on node {words.node(item.node)}" if item.node else ""
    if item.accepted_ms is not None:
        stage, percent, label = "Writing the findings into the study", 99, "Running"
    elif item.attempt_id is not None and item.waiting is None:
        said = words.STAGES.get(item.stage or "", "Starting")
        stage, percent, label = f"{said}{place}", round(item.fraction * 100), "Running"
    else:
        note = plain_reason(item.waiting) if item.waiting else "For a free computer" if item.offer else "Being prepared"
        return Analysis(item.workitem_id, title, "warn" if item.waiting else "quiet", "Waiting", "run", note=note)
    return Analysis(item.workitem_id, title, "run", label, "run", stage=stage, percent=percent)


def verdict(item: Workitem, reason: str = "") -> Verdict:
    """What a clinician made of the findings."""
    by, at_ms = item.reviewed_by or "", item.reviewed_ms
    if item.review is Review.ACCEPTED:
        return Verdict("good", "check", "Accepted: the report is VERIFIED", by, at_ms, reason)
    if item.review is Review.REJECTED:
        return Verdict("bad", "cross", "Rejected: the findings are retracted", by, at_ms, reason)
    return Verdict("warn", "note", "UNVERIFIED: no clinician has accepted this yet", "", None, "")


def _counted(measures: Sequence[Measure], pipeline: Pipeline | None) -> str:
    """How many structures were measured; of a pipeline that is not here any more, how many names there are."""
    outputs = [one for one in pipeline.outputs if isinstance(one, MeasurementOutput)] if pipeline else []
    structures = {one.mask for one in outputs if one.mask and one.measurement in {item.key for item in measures}}
    return words.counted(len(structures) or len({measure.name for measure in measures}), "structure")


def _measure(found: Pipeline | None, measured: Measured) -> Measure:
    key, value, unit = measured.key, measured.value, measured.unit
    name = NAMES.get(key) or measured.name or key.replace("_", " ").capitalize()
    known = model_card(found.bundle) if found else None
    span = known.plausible.get(key) if known else None
    plausible = f"Passed the plausibility check ({_span(span)} {unit_of(unit)})" if span else ""
    return Measure(key, name, words.figure(value, unit), unit_of(unit), NOTES.get(key, ""), plausible)


def _span(span: tuple[float, float]) -> str:
    return f"{words.grouped(round(span[0]))} to {words.grouped(round(span[1]))}"
