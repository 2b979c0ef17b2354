"""Whether a row of counter-receipts is a chain: pure, offline, with nothing but the network side's public key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bithive.errors import BadSignature
from cluster.counter import GENESIS, CounterReceipt


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends.

    Attributes
    ----------
    sequence, digest
        Of its last counter-receipt; 0 and `GENESIS` before there is any.
    """

    sequence: int = 0
    digest: str = GENESIS


@dataclass(frozen=True, slots=True)
class Break:
    """Where a row of counter-receipts is no chain.

    Attributes
    ----------
    sequence
        Of the first that does not hold, as it says itself.
    reason
        `signature`, `subject`, `gap` (some before it are missing), `order` (it is there twice, or goes back) or `link`
        (it names another one before it).
    """

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a row of counter-receipts proves.

    Attributes
    ----------
    subject
        Whose it is; empty for none at all.
    head
        Where it ends, as far as it holds.
    accepted, refused, work_units
        How many Receipts held and did not, and the work units booked for the former, as far as it holds.
    broken
        Where it stops to hold; None if all of it does.
    """

    subject: str
    head: Head
    accepted: int
    refused: int
    work_units: int
    broken: Break | None

    @property
    def holds(self) -> bool:
        """Whether every one of them is signed, in order and linked."""
        return self.broken is None


def verify_chain(counters: Iterable[CounterReceipt], network_key: str, after: Head | None = None) -> Verified:
    """Check signatures, order and links of one subject's counter-receipts.

    Parameters
    ----------
    counters
        In the order of their sequence.
    network_key
        The network side's Ed25519 public key, hexadecimal, as it was told when the node joined.
    after
        What the first of them follows; the chain's beginning when absent.
    """
    head, subject, accepted, refused, units = after or Head(), "", 0, 0, 0
    for counter in counters:
        reason = _broken(counter, head, subject, network_key)
        if reason is not None:
            return Verified(subject, head, accepted, refused, units, Break(counter.sequence, reason))
        subject, head = counter.subject, Head(counter.sequence, counter.digest)
        accepted, refused = accepted + counter.accepted, refused + (not counter.accepted)
        units += counter.work_units
    return Verified(subject, head, accepted, refused, units, None)


def fork(one: Sequence[CounterReceipt], other: Sequence[CounterReceipt]) -> int | None:
    """The first place at which two copies of a chain differ: the network side told two stories. None if they agree."""
    known = {counter.sequence: counter.digest for counter in one}
    differing = [item.sequence for item in other if known.get(item.sequence, item.digest) != item.digest]
    return min(differing, default=None)


def _broken(counter: CounterReceipt, head: Head, subject: str, network_key: str) -> str | None:
    try:
        counter.check_signature(network_key)
    except BadSignature:
        return "signature"
    if subject and counter.subject != subject:
        return "subject"
    if counter.sequence <= head.sequence:
        return "order"
    if counter.sequence > head.sequence + 1:
        return "gap"
    return None if counter.previous == head.digest else "link"
