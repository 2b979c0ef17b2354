"""What `bithive demo` watches: the steps of one study, from the first byte sent to the charge booked."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx2

from api.errors import StepFailed
from api.sender import Answer
from bithive.clock import Clock
from bithive.errors import Unavailable

MULTIPART = 'multipart/related; type="application/dicom"'
READ_S = 30.0


class Step(StrEnum):
    """What happens to a study, in order."""

    RECEIVED = "received"
    MATCHED = "matched"
    LEASED = "leased"
    RUNNING = "running"
    CHECKED = "checked"
    WRITTEN = "written"
    CHARGED = "charged"


STEP_OF_KIND = {
    "received": Step.RECEIVED,
    "matched": Step.MATCHED,
    "leased": Step.LEASED,
    "running": Step.RUNNING,
    "checked": Step.CHECKED,
    "written": Step.WRITTEN,
    "completed": Step.WRITTEN,
}
ENDED = frozenset({"COMPLETED", "CANCELED"})
LOOK_AGAIN = frozenset({"completed", "failed", "unmatched", "superseded"})
CHARGE_S = 30.0
POLL_S = 0.2


@dataclass(slots=True)
class Seen:
    """What was seen so far.

    Attributes
    ----------
    at_s
        Seconds after the first byte at which a step was first seen.
    said
        A few words beside a step.
    """

    at_s: dict[Step, float] = field(default_factory=dict)
    said: dict[Step, str] = field(default_factory=dict)

    def take(self, body: dict[str, Any], after_s: float) -> None:
        """Take one event of the study log."""
        step = STEP_OF_KIND.get(body["kind"])
        if step is None:
            return
        self.at_s.setdefault(step, after_s)
        words = _words(step, body)
        if words:
            self.said[step] = words


def _words(step: Step, body: dict[str, Any]) -> str:
    if step is Step.RECEIVED and "instances" in body:
        return f"{body['instances']} instances"
    if step is Step.MATCHED and "pipeline" in body:
        return str(body["pipeline"])
    if step is Step.LEASED and body.get("cell"):
        return f"by cell {body['cell']}"
    if step is Step.RUNNING:
        node = f"on node {body['node']}" if body.get("node") else ""
        return " ".join(part for part in (node, f"({body['stage']})" if body.get("stage") else "") if part)
    return ""


class Feed:
    """Reads the hub's live events in a thread of its own.

    Parameters
    ----------
    url, token
        The hub, and a token that holds `studies:read`.
    clock
        Stamps events as they come.
    """

    def __init__(self, url: str, token: str, clock: Clock) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=httpx2.Timeout(READ_S))
        self._clock = clock
        self._events: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
        self._connected = threading.Event()
        self._stopping = threading.Event()
        threading.Thread(target=self._run, name="feed", daemon=True).start()

    def wait_connected(self, timeout_s: float = 10.0) -> None:
        """Wait until nothing that happens can be missed. Raises `Unavailable`."""
        if not self._connected.wait(timeout_s):
            raise Unavailable("the hub's live events do not come")

    def next(self, timeout_s: float) -> tuple[float, dict[str, Any]] | None:
        """The next event of any study, with the clock's seconds when it came; None when there is none in time."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """End it, soon."""
        self._stopping.set()

    def _run(self) -> None:
        last_id = ""
        while not self._stopping.is_set():
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                with self._client.stream("GET", "/api/events", headers=headers) as answer:
                    for fields in _messages(answer.iter_lines()):
                        self._connected.set()
                        last_id = fields.get("id", last_id)
                        if "data" in fields:
                            self._events.put((self._clock.monotonic_s(), json.loads(fields["data"])))
                        if self._stopping.is_set():
                            return
            except httpx2.HTTPError:
                self._stopping.wait(0.2)


def _messages(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The messages of an event stream, each as its fields; comments are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            yield fields
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


class Reader:
    """Reads from the hub over HTTP, as a clinician's program would.

    Parameters
    ----------
    url, token
        The hub, and a token that holds `studies:read` and `dicom:read`.
    """

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=READ_S)

    def study(self, study_uid: str) -> dict[str, Any]:
        """`GET /api/studies/{uid}`."""
        return self._json(f"/api/studies/{study_uid}")

    def statement(self, workitem_id: str) -> dict[str, Any] | None:
        """The statement of a Workitem's Offer, or None while nothing is booked."""
        answer = self._client.get(f"/api/workitems/{workitem_id}/statement")
        if answer.status_code == 404:
            return None
        return dict(self._checked(answer).json())

    def instance(self, study_uid: str, reference: dict[str, Any]) -> bytes:
        """One object by WADO-RS (PS3.18 10.4): the Part 10 file. Raises `StepFailed`."""
        path = f"/dicomweb/studies/{study_uid}/series/{reference['series_uid']}/instances/{reference['sop_uid']}"
        answer = self._checked(self._client.get(path, headers={"Accept": MULTIPART}))
        boundary = answer.headers["content-type"].partition("boundary=")[2].partition(";")[0].strip('"')
        _, _, rest = answer.content.partition(b"\r\n\r\n")
        part, found, _ = rest.rpartition(b"\r\n--" + boundary.encode() + b"--")
        if not boundary or not found:
            raise StepFailed("WADO-RS answered without the object")
        return part

    def _json(self, path: str) -> dict[str, Any]:
        return dict(self._checked(self._client.get(path)).json())

    def _checked(self, answer: httpx2.Response) -> httpx2.Response:
        if not answer.is_success:
            raise StepFailed(f"the hub answered {answer.status_code} where an answer was expected")
        return answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """One study at its end.

    Attributes
    ----------
    study_uid, instances
        Which, and how many instances were sent.
    seconds
        From the first byte of STOW until WADO had returned the whole SEG.
    workitem
        The first completed Workitem, as `/api/studies/{uid}` tells it.
    objects
        Part 10 files by kind (`seg`, `sr`, `sc`), as WADO returned them.
    statement
        The ledger's, once the charge is booked.
    """

    study_uid: str
    instances: int
    seconds: float
    workitem: dict[str, Any]
    objects: dict[str, bytes]
    statement: dict[str, Any]


class Watch:
    """Follows one study.

    Parameters
    ----------
    reader
        Reads its state and objects.
    url, token
        For the live events.
    clock
        Measures.
    """

    def __init__(self, reader: Reader, url: str, token: str, clock: Clock) -> None:
        self.seen = Seen()
        self._reader, self._clock, self._feed = reader, clock, Feed(url, token, clock)
        self._feed.wait_connected()
        self._began_s = clock.monotonic_s()
        self._sent_bytes = 0

    def begin(self) -> None:
        """The first byte is about to leave."""
        self._began_s = self._clock.monotonic_s()

    def sent(self, size_bytes: int) -> None:
        """So many more bytes have left."""
        self._sent_bytes += size_bytes

    def said(self, step: Step) -> str:
        """A few words beside a step."""
        if step is Step.RECEIVED and step not in self.seen.at_s:
            return f"{self._sent_bytes / 1e6:.0f} MB sent" if self._sent_bytes else ""
        words = self.seen.said.get(step, "")
        return words.partition(" (")[0] if self.is_over(step) else words

    def is_over(self, step: Step) -> bool:
        """Whether a step is done: a later one was seen, or it is the last and was."""
        later = list(Step)[list(Step).index(step) + 1 :]
        return any(other in self.seen.at_s for other in later) or (not later and step in self.seen.at_s)

    def follow(self, answer: Answer, timeout_s: float) -> Outcome:
        """Follow what was sent to its end.

        Raises
        ------
        StepFailed
            If an instance was refused, nothing matched, an analysis was canceled, or the time is over.
        """
        if answer.refused or len(answer.study_uids) != 1:
            raise StepFailed(f"received: {answer.refused} instances refused, {len(answer.study_uids)} studies")
        study_uid, end_s = answer.study_uids[0], self._began_s + timeout_s
        try:
            workitem = self._until_ended(study_uid, end_s)
            objects = {"seg": self._object(study_uid, workitem, "seg")}
            seconds = self._clock.monotonic_s() - self._began_s
            objects |= {kind: self._object(study_uid, workitem, kind) for kind in ("sr", "sc")}
            statement = self._until_charged(workitem)
        finally:
            self._feed.stop()
        return Outcome(study_uid, answer.stored, seconds, workitem, objects, statement)

    def _until_ended(self, study_uid: str, end_s: float) -> dict[str, Any]:
        look = True
        while self._clock.monotonic_s() < end_s:
            if look:
                ended = _ended(self._reader.study(study_uid))
                if ended is not None:
                    self._catch_up(study_uid)
                    return ended
            look = self._take(study_uid, POLL_S)
        raise StepFailed(f"{self._last()}: nothing more happened in time")

    def _catch_up(self, study_uid: str) -> None:
        while self._take(study_uid, 0.01):
            pass

    def _take(self, study_uid: str, timeout_s: float) -> bool:
        """Take one event; whether the study is worth looking at."""
        found = self._feed.next(timeout_s)
        if found is None:
            return False
        at_s, body = found
        if body.get("study_uid") == study_uid:
            self.seen.take(body, at_s - self._began_s)
        return body.get("kind") in LOOK_AGAIN

    def _object(self, study_uid: str, workitem: dict[str, Any], kind: str) -> bytes:
        for reference in workitem["references"]:
            if reference["kind"] == kind:
                return self._reader.instance(study_uid, reference)
        raise StepFailed(f"written: there is no {kind.upper()}")

    def _until_charged(self, workitem: dict[str, Any]) -> dict[str, Any]:
        end_s = self._clock.monotonic_s() + CHARGE_S
        while self._clock.monotonic_s() < end_s:
            statement = self._reader.statement(workitem["workitem_id"])
            if statement is not None and statement["charge"] is not None:
                self.seen.at_s[Step.CHARGED] = self._clock.monotonic_s() - self._began_s
                self.seen.said[Step.CHARGED] = statement["text"]["charge"]
                return dict(statement)
            self._take(workitem["study_uid"], POLL_S)
        raise StepFailed("charged: the ledger has no charge")

    def _last(self) -> str:
        return max(self.seen.at_s, key=lambda step: list(Step).index(step), default=Step.RECEIVED)


def _ended(study: dict[str, Any]) -> dict[str, Any] | None:
    """The completed Workitem of a study whose analyses have all ended, or None while one has not."""
    items = [item for item in study["workitems"] if item["superseded_by"] is None]
    if any(series["pending"] for series in study["series_list"]) or any(item["state"] not in ENDED for item in items):
        return None
    completed: list[dict[str, Any]] = [item for item in items if item["state"] == "COMPLETED"]
    if completed:
        return completed[0]
    if items:
        raise StepFailed(f"{items[0]['title']} was canceled: {items[0]['reason']}")
    codes = {code for series in study["series_list"] for code in series["unmatched"].values()}
    codes |= {series["geometry"] for series in study["series_list"] if series["geometry"]}
    if not codes:
        return None
    raise StepFailed(f"matched: no pipeline takes a series of this study ({', '.join(sorted(codes))})")
