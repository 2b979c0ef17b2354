"""Workitem: one requested analysis, a DICOM Unified Procedure Step, and its state machine (PS3.4 CC.1.1).

A step that was canceled is never scheduled again: a repetition is a new Workitem, and what is tried several times is
the Attempt on the network side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bithive.errors import IllegalTransition
from bithive.offer import Urgency


class State(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class Event(StrEnum):
    """What can be asked of a Workitem."""

    CLAIM = "claim"
    REPORT = "report"
    COMPLETE = "complete"
    CANCEL = "cancel"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.SCHEDULED, Event.CLAIM): State.IN_PROGRESS,
    (State.IN_PROGRESS, Event.REPORT): State.IN_PROGRESS,
    (State.IN_PROGRESS, Event.COMPLETE): State.COMPLETED,
    (State.IN_PROGRESS, Event.CANCEL): State.CANCELED,
}
"""Every legal pair; a SCHEDULED step is canceled by way of IN PROGRESS."""

DIMSE_STATUS: dict[tuple[State, Event], int] = {
    (State.SCHEDULED, Event.REPORT): 0xC310,
    (State.SCHEDULED, Event.COMPLETE): 0xC310,
    (State.SCHEDULED, Event.CANCEL): 0xC310,
    (State.IN_PROGRESS, Event.CLAIM): 0xC302,
    (State.COMPLETED, Event.CLAIM): 0xC300,
    (State.COMPLETED, Event.REPORT): 0xC300,
    (State.COMPLETED, Event.COMPLETE): 0xB306,
    (State.COMPLETED, Event.CANCEL): 0xC300,
    (State.CANCELED, Event.CLAIM): 0xC300,
    (State.CANCELED, Event.REPORT): 0xC300,
    (State.CANCELED, Event.COMPLETE): 0xC300,
    (State.CANCELED, Event.CANCEL): 0xB304,
}
"""What PS3.4 Table CC.1.1-2 answers to every illegal pair."""

FINAL = frozenset({State.COMPLETED, State.CANCELED})


class Duty(StrEnum):
    """What the clinical side still owes for a Workitem; it is stored, so that a restart resumes it."""

    OFFER = "offer"
    TAKE = "take"
    ACKNOWLEDGE = "acknowledge"
    WITHDRAW = "withdraw"


class Review(StrEnum):
    """What a clinician made of the findings."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured output: its key in the Findings, what it is called, value and UCUM unit."""

    key: str
    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What was found, in words: a score, or the class of one frame.

    Attributes
    ----------
    key
        Of the score or the classification in the Findings.
    label
        What it is about: `Pneumonia`, `Standard plane`.
    text
        What is said of it.
    certainty
        0 to 1, or None.
    frame
        Plane of the Volume, from 0; None when it is about all of them.
    positive
        Whether the finding is there; None when nothing says so: no threshold is declared, or the patient is outside the
        validated population.
    """

    key: str
    label: str
    text: str
    certainty: float | None = None
    frame: int | None = None
    positive: bool | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """One object that was written into the study, and its UIDs; `kind` is one of `clinic.writers.context.Written`."""

    kind: str
    sop_class: str
    series_uid: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class InputSeries:
    """One of several series that are analysed together: its role, and SHA-256 over its instances."""

    role: str
    series_uid: str
    digest: str


@dataclass(frozen=True, slots=True)
class Workitem:
    """One requested analysis of one series, or of several together, by one pipeline.

    Attributes
    ----------
    workitem_id, institution, study_uid, series_uid, pipeline
        Which analysis, of what.
    input_digest
        SHA-256 over the instances it was made for; over the digests of `inputs` where there are several series.
    inputs
        The series that are analysed together, in the order of the network's channels, the principal one (`series_uid`)
        first; empty when that is the only one.
    offer_id
        Under which id the network knows it.
    key
        32 bytes from which the Offer's keys are derived; None once the Workitem has ended.
    created_ms, changed_ms
        Milliseconds since the epoch.
    state, urgency
        Procedure Step State and Priority.
    version
        Counts changes; a store refuses a change of anything but the newest.
    offer
        The Offer as it was sent, or None before.
    duty, due_ms, tries, waiting
        What is owed next, not before when, how often it failed, and the code of why.
    reason
        Code of why it was canceled.
    stage, fraction, node, cell, attempt_id
        Where the newest Attempt stands.
    accepted_ms, receipt
        When the network accepted which Receipt.
    measured, statements, references
        What came of it.
    remarks
        Codes of what has to be said with it, each with a sentence in `clinic.refusals.REMARKS`.
    superseded_by
        The Workitem that replaced it.
    review, reviewed_by, reviewed_ms
        Who judged the findings, and how.
    """

    workitem_id: str
    institution: str
    study_uid: str
    series_uid: str
    pipeline: str
    input_digest: str
    offer_id: str
    key: bytes | None
    created_ms: int
    changed_ms: int
    state: State = State.SCHEDULED
    urgency: Urgency = Urgency.MEDIUM
    version: int = 1
    offer: dict[str, Any] | None = None
    duty: Duty | None = Duty.OFFER
    due_ms: int = 0
    tries: int = 0
    waiting: str | None = None
    reason: str | None = None
    stage: str | None = None
    fraction: float = 0.0
    node: str | None = None
    cell: str | None = None
    attempt_id: str | None = None
    accepted_ms: int | None = None
    receipt: dict[str, Any] | None = None
    measured: tuple[Measured, ...] = ()
    references: tuple[Reference, ...] = ()
    superseded_by: str | None = None
    review: Review | None = None
    reviewed_by: str | None = None
    reviewed_ms: int | None = None
    statements: tuple[Statement, ...] = ()
    remarks: tuple[str, ...] = ()
    inputs: tuple[InputSeries, ...] = ()

    def __repr__(self) -> str:
        return f"Workitem({self.workitem_id}, {self.state}, version {self.version})"

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state not in FINAL

    def reference(self, kind: str) -> Reference | None:
        """The written object of that kind, or None."""
        return next((item for item in self.references if item.kind == kind), None)

    def changed(self, now_ms: int, **members: Any) -> Workitem:
        """The next version of it, in the same state."""
        assert "state" not in members, "a state changes by an Event"
        return replace(self, changed_ms=now_ms, version=self.version + 1, **members)

    def after(self, event: Event, now_ms: int, **members: Any) -> Workitem:
        """The next version of it, after an Event.

        Raises
        ------
        IllegalTransition
            If the table has no such pair.
        """
        state = transition(self.state, event)
        if state in FINAL:
            members |= {"key": None, "tries": 0, "waiting": None}
        return replace(self, state=state, changed_ms=now_ms, version=self.version + 1, **members)

    def canceled(self, reason: str, now_ms: int, **members: Any) -> Workitem:
        """The next version of it, canceled for a coded reason; by way of IN PROGRESS where it had not begun."""
        begun = replace(self, state=transition(self.state, Event.CLAIM)) if self.state is State.SCHEDULED else self
        return begun.after(Event.CANCEL, now_ms, reason=reason, **members)

    def postponed(self, code: str, now_ms: int, delay_s: float) -> Workitem:
        """The next version of it, its duty put off because of `code`."""
        return self.changed(now_ms, tries=self.tries + 1, waiting=code, due_ms=now_ms + round(delay_s * 1000))


def transition(state: State, event: Event) -> State:
    """Where an Event leads.

    Raises
    ------
    IllegalTransition
        If PS3.4 Table CC.1.1-2 has no such transition; `dimse_status` in its context is the table's answer.
    """
    if (state, event) not in TRANSITIONS:
        raise IllegalTransition(f"{event} is not possible in {state}", dimse_status=DIMSE_STATUS[state, event])
    return TRANSITIONS[state, event]
