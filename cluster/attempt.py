"""Attempt: one try at an Offer by one cell, under one Lease."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bithive.errors import IllegalTransition
from bithive.receipt import Receipt

STAGES = ("downloading", "loading", "preparing", "locating", "segmenting", "measuring", "sealing")
"""The words in which a cell tells how far it is, in order."""


class AttemptState(StrEnum):
    """Where an Attempt stands."""

    LEASED = "LEASED"
    """A cell has taken it and has not been heard of since."""
    RUNNING = "RUNNING"
    """The cell sends heartbeats."""
    ACCEPTED = "ACCEPTED"
    """Findings and Receipt are here and checked."""
    EXPIRED = "EXPIRED"
    """The Lease ran out."""
    FAILED = "FAILED"
    """The cell said that it cannot."""
    REFUSED = "REFUSED"
    """The Receipt or the findings did not hold."""
    WITHDRAWN = "WITHDRAWN"
    """The institution took the Offer back."""


class AttemptEvent(StrEnum):
    """What can happen to an Attempt."""

    HEARTBEAT = "HEARTBEAT"
    ACCEPT = "ACCEPT"
    EXPIRE = "EXPIRE"
    FAIL = "FAIL"
    REFUSE = "REFUSE"
    WITHDRAW = "WITHDRAW"


LIVE = frozenset({AttemptState.LEASED, AttemptState.RUNNING})

TRANSITIONS: dict[tuple[AttemptState, AttemptEvent], AttemptState] = {
    (AttemptState.LEASED, AttemptEvent.HEARTBEAT): AttemptState.RUNNING,
    (AttemptState.RUNNING, AttemptEvent.HEARTBEAT): AttemptState.RUNNING,
    **{(state, AttemptEvent.ACCEPT): AttemptState.ACCEPTED for state in LIVE},
    **{(state, AttemptEvent.EXPIRE): AttemptState.EXPIRED for state in LIVE},
    **{(state, AttemptEvent.FAIL): AttemptState.FAILED for state in LIVE},
    **{(state, AttemptEvent.REFUSE): AttemptState.REFUSED for state in LIVE},
    **{(state, AttemptEvent.WITHDRAW): AttemptState.WITHDRAWN for state in LIVE},
}


def after(state: AttemptState, event: AttemptEvent) -> AttemptState:
    """The state that follows. Raises `IllegalTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"an Attempt that is {state} cannot {event}") from None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try.

    Attributes
    ----------
    attempt_id, offer_id, institution
        Which try at what, and whose the Offer is.
    cell, node
        Who has the Lease, and which of its Nodes runs (once it has said so).
    fencing_token
        Strictly increasing with each Attempt at the Offer, from 1. Also the purpose under which its findings are sealed.
    state
        See `TRANSITIONS`.
    leased_ms, expires_ms, ended_ms
        When the Lease began, when it runs out unless renewed, when the Attempt ended (0 before).
    stage, fraction
        How far the cell says it is: a word of `STAGES` or empty, and 0 to 1 within the whole.
    code
        Why it ended without findings; empty otherwise.
    receipt
        The Receipt that was accepted.
    flag
        Why it is to be recomputed for certain (`cluster.duplicates.REPEATED`); empty otherwise.
    revision
        Counts the changes, from 1; a change names the one it was made from.
    """

    attempt_id: str
    offer_id: str
    institution: str
    cell: str
    fencing_token: int
    leased_ms: int
    expires_ms: int
    state: AttemptState = AttemptState.LEASED
    node: str = ""
    ended_ms: int = 0
    stage: str = ""
    fraction: float = 0.0
    code: str = ""
    receipt: Receipt | None = None
    revision: int = 1
    flag: str = ""

    @property
    def live(self) -> bool:
        """Whether the Lease has not ended by an event. Whether its time is over is for the clock to say."""
        return self.state in LIVE
