"""How findings came about, as shown: steps, Receipt, charge, objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.pages import words
from bithive.errors import BadInput, Forbidden
from bithive.receipt import Receipt
from clinic.elements import text
from clinic.instance import SeriesRow
from clinic.refusals import CORRECTIONS
from clinic.workitem import Review, Workitem
from clinic.workitem_store import Kind, StudyEvent

SERIES_DESCRIPTION, SERIES_NUMBER = "0008103E", "00200011"

LABELS: dict[Kind, str] = {
    Kind.RECEIVED: "Received",
    Kind.MATCHED: "Matched to a pipeline",
    Kind.UNMATCHED: "No pipeline takes it",
    Kind.OFFERED: "Offered to the network",
    Kind.WAITING: "Waiting",
    Kind.LEASED: "Leased by a cell",
    Kind.RUNNING: "Running on a node",
    Kind.CHECKED: "Receipt and findings checked",
    Kind.WRITTEN: "Written into the study",
    Kind.COMPLETED: "Finished",
    Kind.FAILED: "Failed",
    Kind.SUPERSEDED: "Superseded",
    Kind.ACCEPTED: "Accepted by a clinician",
    Kind.REJECTED: "Rejected by a clinician",
}

AHEAD = (Kind.MATCHED, Kind.OFFERED, Kind.LEASED, Kind.RUNNING, Kind.CHECKED, Kind.WRITTEN, Kind.COMPLETED)
"""The steps of a study that goes well, in order."""

OURS: dict[str, str] = {
    "seg": "Segmentation",
    "sr": "Structured report",
    "sc": "Preview, not for diagnosis",
    "map": "Parametric map",
    "kos": "Key images",
    "sr-verified": "Structured report, verified",
    "rejection": "Rejection note",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way; `tone` is `done`, `now`, `next` or `bad`."""

    label: str
    note: str
    at_ms: int | None
    took: str
    tone: str


@dataclass(frozen=True, slots=True)
class ReceiptLines:
    """A Receipt as shown."""

    node: str
    cell: str
    bundle: str
    engine: str
    wall: str
    memory: str
    sizes: str
    input_digest: str
    output_digest: str
    digest: str
    node_key: str
    signed: bool


@dataclass(frozen=True, slots=True)
class Made:
    """An object that was written here: its kind, its SOP Instance UID, and whether a clinician took it back."""

    kind: str
    sop_uid: str
    retracted: bool


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """A series of the study as shown; `links` are (address, label) of downloads."""

    modality: str
    label: str
    remark: str
    instances: int
    ours: bool
    retracted: bool
    links: tuple[tuple[str, str], ...]


def steps(item: Workitem, events: Sequence[StudyEvent]) -> tuple[Step, ...]:
    """The way of one analysis, from the log of its study.

    Parameters
    ----------
    item
        Which.
    events
        All of the study, in order.
    """
    mine = [event for event in events if _concerns(event, item)]
    found: list[Step] = []
    last_ms: int | None = None
    seen: set[tuple[str, str]] = set()
    node_said = False
    for event in mine:
        note = _note(event, node_said)
        node_said = node_said or bool(event.detail.get("node"))
        if (_label(event), note) in seen:
            continue
        seen.add((_label(event), note))
        took = f"+{words.seconds(event.at_ms - last_ms)}" if last_ms is not None and event.at_ms >= last_ms else ""
        bad = event.kind in {Kind.FAILED, Kind.REJECTED}
        found.append(Step(_label(event), note, event.at_ms, took, "bad" if bad else "done"))
        last_ms = event.at_ms
    if item.active and found:
        kinds = {event.kind for event in mine}
        furthest = max((AHEAD.index(kind) for kind in kinds if kind in AHEAD), default=-1)
        found[-1] = Step(found[-1].label, found[-1].note, found[-1].at_ms, found[-1].took, "now")
        found += [Step(LABELS[kind], "", None, "", "next") for kind in AHEAD[furthest + 1 :]]
    return tuple(found)


def lasted(item: Workitem, found: Sequence[Step]) -> str:
    """How long it took from the first step until the work ended; empty while it is under way."""
    judged = {LABELS[Kind.ACCEPTED], LABELS[Kind.REJECTED]}
    times = [step.at_ms for step in found if step.at_ms is not None and step.label not in judged]
    return "" if item.active or len(times) < 2 else words.seconds(times[-1] - times[0])


def _concerns(event: StudyEvent, item: Workitem) -> bool:
    workitem, series = event.detail.get("workitem"), event.detail.get("series_uid")
    if workitem is not None:
        return bool(workitem == item.workitem_id)
    return series in (None, item.series_uid) and event.at_ms <= item.created_ms + 1000


def _label(event: StudyEvent) -> str:
    stage = words.STAGES.get(str(event.detail.get("stage", "")))
    return stage if event.kind is Kind.RUNNING and stage else LABELS[event.kind]


def _note(event: StudyEvent, node_said: bool) -> str:
    detail = event.detail
    node = f"node {words.node(str(detail['node']))}" if detail.get("node") and not node_said else ""
    count = words.counted(int(detail["instances"]), "instance") if detail.get("instances") else ""
    by = str(detail.get("by") or "")
    codes = str(detail.get("corrected") or "").split(", ")
    corrected = [CORRECTIONS[code].rstrip(".") for code in codes if code in CORRECTIONS]
    return words.listed([count, node, by, str(detail.get("code") or ""), str(detail.get("reason") or ""), *corrected])


def receipt_lines(value: object) -> ReceiptLines | None:
    """A Receipt as shown, its signature checked here and now; None when there is none."""
    if not value:
        return None
    try:
        receipt = Receipt.from_stored(value)
    except BadInput:
        return None
    try:
        receipt.check_signature()
        signed = True
    except Forbidden:
        signed = False
    threads = words.counted(receipt.threads, "thread")
    return ReceiptLines(
        node=receipt.node,
        cell=receipt.cell,
        bundle=f"{receipt.bundle} {receipt.bundle_version}",
        engine=f"{receipt.engine} {receipt.engine_version}, {receipt.precision}, {receipt.device}, {threads}",
        wall=f"{words.seconds(receipt.wall_ms)} ({words.seconds(receipt.cpu_ms)} of processor time)",
        memory=words.size(receipt.peak_memory_bytes),
        sizes=f"{words.size(receipt.input_size_bytes)} in, {words.size(receipt.output_size_bytes)} out",
        input_digest=receipt.input_digest,
        output_digest=receipt.output_digest,
        digest=receipt.digest,
        node_key=receipt.node_key,
        signed=signed,
    )


def series_lines(study_uid: str, series: Sequence[SeriesRow], workitems: Sequence[Workitem]) -> list[SeriesLine]:
    """The series of a study: what came in first, then what was made here."""
    made: dict[str, list[Made]] = {}
    for item in workitems:
        for reference in item.references:
            retracted = item.review is Review.REJECTED and reference.kind != "rejection"
            made.setdefault(reference.series_uid, []).append(Made(reference.kind, reference.sop_uid, retracted))
    lines = [_series_line(study_uid, row, made.get(row.series_uid, [])) for row in series]
    return sorted(lines, key=lambda line: line.ours)


def series_label(row: SeriesRow) -> str:
    """What a series is called, with its number where it has one."""
    number, name = text(row.attributes, SERIES_NUMBER), text(row.attributes, SERIES_DESCRIPTION)
    return " · ".join(part for part in (number, name or "(no description)") if part)


def _series_line(study_uid: str, row: SeriesRow, made: Sequence[Made]) -> SeriesLine:
    label, modality = series_label(row), row.modality or "?"
    if not made:
        whole = (f"/studies/{study_uid}/series/{row.series_uid}/download", "DICOM")
        return SeriesLine(modality, label, "", row.instances, ours=False, retracted=False, links=(whole,))
    links = []
    for one in made:
        name = "Verified" if one.kind == "sr-verified" else "DICOM"
        links.append((f"/studies/{study_uid}/instances/{one.sop_uid}/download", name))
        if one.kind == "sc":
            picture = f"/studies/{study_uid}/series/{row.series_uid}/image/picture/{one.sop_uid}/1"
            links.append((picture, "Image"))
    remark = words.listed(list(dict.fromkeys(OURS.get(one.kind, "") for one in made)))
    retracted = all(one.retracted for one in made)
    return SeriesLine(modality, label, remark, row.instances, ours=True, retracted=retracted, links=tuple(links))
