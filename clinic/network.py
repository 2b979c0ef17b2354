"""The network side as the clinical side sees it: Offers go out, events and Findings come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from bithive.offer import Offer, OfferKeys


@dataclass(frozen=True, slots=True)
class NetworkEvent:
    """Something that happened to one of our Offers.

    Attributes
    ----------
    seq
        Its place in the stream.
    topic
        `offer.opened`, `attempt.leased`, `attempt.progressed`, `attempt.expired`, `attempt.failed`,
        `attempt.accepted`, `offer.exhausted` or `offer.withdrawn`.
    at_ms, offer_id
        When, and which Offer.
    attempt_id, node, cell, stage, fraction, code, receipt
        What the topic needs; None otherwise.
    """

    seq: int
    topic: str
    at_ms: int
    offer_id: str
    attempt_id: str | None = None
    node: str | None = None
    cell: str | None = None
    stage: str | None = None
    fraction: float | None = None
    code: str | None = None
    receipt: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """Encrypted Findings as they arrive, and how long they are when plain."""

    plain_size_bytes: int
    chunks: Iterator[bytes]


class Network(Protocol):
    """One institution's access to the network side. Every method may be repeated.

    All raise `NetworkUnreachable` or `NetworkForbids` when it is worth asking again later.
    """

    def offer(self, offer: Offer, keys: OfferKeys, sealed_size_bytes: int) -> None:
        """Announce an Offer. Raises `OfferRefused`, `MemoryTooSmall`."""

    def upload(self, offer_id: str, chunks: Iterable[bytes], sealed_size_bytes: int) -> None:
        """Send its sealed payload; it is open then. Raises `OfferRefused`."""

    def withdraw(self, offer_id: str) -> None:
        """Take it back; nothing happens when it has ended or is unknown."""

    def acknowledge(self, offer_id: str) -> None:
        """Have its payload, Findings and keys destroyed; nothing happens when it is unknown."""

    def events(self, after: int, wait_s: float) -> list[NetworkEvent]:
        """What happened after a place, waiting up to `wait_s` for the first event."""

    def findings(self, attempt_id: str) -> AbstractContextManager[Sealed]:
        """The Findings of an accepted Attempt. Raises `FindingsRefused` when they are gone."""
