"""The Offer as the network side keeps it: its state, its place in the queue, its keys until it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bithive.errors import IllegalTransition
from bithive.offer import Offer, OfferKeys, Urgency


class OfferState(StrEnum):
    """Where an Offer stands on the network side."""

    AWAITING_PAYLOAD = "AWAITING_PAYLOAD"
    OPEN = "OPEN"
    LEASED = "LEASED"
    ACCEPTED = "ACCEPTED"
    EXHAUSTED = "EXHAUSTED"
    WITHDRAWN = "WITHDRAWN"
    ACKNOWLEDGED = "ACKNOWLEDGED"


class OfferEvent(StrEnum):
    """What can happen to an Offer."""

    STORE_PAYLOAD = "STORE_PAYLOAD"
    LOSE_PAYLOAD = "LOSE_PAYLOAD"
    LEASE = "LEASE"
    REQUEUE = "REQUEUE"
    ACCEPT = "ACCEPT"
    EXHAUST = "EXHAUST"
    WITHDRAW = "WITHDRAW"
    ACKNOWLEDGE = "ACKNOWLEDGE"


UNFINISHED = (OfferState.AWAITING_PAYLOAD, OfferState.OPEN, OfferState.LEASED)
KEYED = (*UNFINISHED, OfferState.ACCEPTED)
"""States in which keys, payload or findings still exist."""

TRANSITIONS: dict[tuple[OfferState, OfferEvent], OfferState] = {
    (OfferState.AWAITING_PAYLOAD, OfferEvent.STORE_PAYLOAD): OfferState.OPEN,
    (OfferState.OPEN, OfferEvent.LOSE_PAYLOAD): OfferState.AWAITING_PAYLOAD,
    (OfferState.LEASED, OfferEvent.LOSE_PAYLOAD): OfferState.AWAITING_PAYLOAD,
    (OfferState.OPEN, OfferEvent.LEASE): OfferState.LEASED,
    (OfferState.LEASED, OfferEvent.REQUEUE): OfferState.OPEN,
    (OfferState.LEASED, OfferEvent.ACCEPT): OfferState.ACCEPTED,
    **{(state, OfferEvent.EXHAUST): OfferState.EXHAUSTED for state in UNFINISHED},
    **{(state, OfferEvent.WITHDRAW): OfferState.WITHDRAWN for state in UNFINISHED},
    # What was accepted is work done, and paid: taking it back now only means that nobody wants to read it.
    (OfferState.ACCEPTED, OfferEvent.WITHDRAW): OfferState.ACKNOWLEDGED,
    (OfferState.ACCEPTED, OfferEvent.ACKNOWLEDGE): OfferState.ACKNOWLEDGED,
    # Repeated requests of an institution that has not heard our answer.
    **{
        (state, event): state
        for state in (OfferState.EXHAUSTED, OfferState.WITHDRAWN, OfferState.ACKNOWLEDGED)
        for event in (OfferEvent.WITHDRAW, OfferEvent.ACKNOWLEDGE)
    },
}

_URGENCY_RANK = {Urgency.HIGH: 0, Urgency.MEDIUM: 1, Urgency.LOW: 2}


def after(state: OfferState, event: OfferEvent) -> OfferState:
    """The state that follows. Raises `IllegalTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"an Offer that is {state} cannot {event}") from None


@dataclass(frozen=True, slots=True)
class OfferRecord:
    """An Offer and all that the broker knows of it.

    Attributes
    ----------
    offer
        As the institution made it.
    keys
        Present until the Offer ends; destroyed with the change that ends it.
    terms_digest
        What a repeated `POST /offers` is compared by, keys included, once they are gone.
    sealed_bytes
        Size of the sealed payload.
    received_ms, ready_ms
        When it came, and before when it is not leased (a pause after a failed Attempt).
    state
        See `TRANSITIONS`.
    fencing_token
        Of the newest Attempt; 0 before the first.
    attempt_id
        The newest Attempt, or the accepted one.
    opened
        Whether its payload was ever here, so that the ledger has heard of it.
    revision
        Counts the changes, from 1.
    """

    offer: Offer
    keys: OfferKeys | None
    terms_digest: str
    sealed_bytes: int
    received_ms: int
    ready_ms: int
    state: OfferState = OfferState.AWAITING_PAYLOAD
    fencing_token: int = 0
    attempt_id: str = ""
    opened: bool = False
    revision: int = 1

    @property
    def rank(self) -> tuple[int, int, int, int, str]:
        """Its place in the queue: urgency, then those that lost an Attempt, then deadline, then age."""
        return (
            _URGENCY_RANK[self.offer.urgency],
            0 if self.fencing_token else 1,
            self.offer.deadline_ms,
            self.received_ms,
            self.offer.offer_id,
        )
