"""Counts and lists of what is on the network now: for pages and metrics, which change nothing by reading.

Everything here is plain values of the network side. Whose an Offer is stays out of the lines but where the reader is the
institution itself or sees everything anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Whose:
    """What a reader may see.

    Attributes
    ----------
    everything
        Every Cell and Lease.
    institution
        Else its own Cells, and Leases of its own Offers wherever they run.
    cell
        Else this Cell alone.
    """

    everything: bool = False
    institution: str | None = None
    cell: str | None = None


@dataclass(frozen=True, slots=True)
class CellLine:
    """A Cell: who it is, where it stands, when it was last greeted."""

    cell: str
    institution: str | None
    operator: str
    tier: str
    residency: str
    data_class_max: str
    vetted: bool
    seen_ms: int
    revoked_ms: int


@dataclass(frozen=True, slots=True)
class NodeLine:
    """A Node of a Cell, and what it has. `accelerator` is the name of its GPUs; empty without any."""

    node: str
    cell: str
    tier: str
    residency: str
    threads: int
    memory_bytes: int
    gpus: int
    accelerator: str
    slots: int
    revoked_ms: int


@dataclass(frozen=True, slots=True)
class LeaseLine:
    """An Attempt under way: `fraction` is 0 to 1, `stage` empty before the first heartbeat."""

    attempt_id: str
    cell: str
    node: str
    bundle: str
    urgency: str
    data_class: str
    stage: str
    fraction: float
    tries: int
    leased_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class EndLine:
    """How many Attempts of a Node ended so; `code` is empty for those that were accepted."""

    cell: str
    node: str
    state: str
    code: str
    count: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class StrikeLine:
    """How many strikes with a code a Node has. `node` is empty where the Receipt named none of the Cell's."""

    cell: str
    node: str
    code: str
    count: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Quality:
    """What became of the work of some Cells."""

    ends: tuple[EndLine, ...]
    strikes: tuple[StrikeLine, ...]


@dataclass(frozen=True, slots=True)
class OfferLine:
    """Offers that are not over: how many, how many sealed bytes are kept for them, and since when the oldest waits."""

    state: str
    urgency: str
    data_class: str
    count: int
    sealed_bytes: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits: Offers by state, urgency and class; events for the ledger."""

    offers: tuple[OfferLine, ...]
    events: int


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """An Attempt of a Node, under way or over. `work_units` is what its Offer is worth, `wall_ms` what the Receipt says."""

    attempt_id: str
    bundle: str
    data_class: str
    state: str
    code: str
    work_units: int
    leased_ms: int
    ended_ms: int
    wall_ms: int
    receipt_digest: str


class Census(Protocol):
    """What a reader may ask of the network side."""

    def cells(self, whose: Whose, limit: int = 100) -> tuple[Sequence[CellLine], int]:
        """Cells, those that were greeted last first, and how many there are in all."""

    def node(self, whose: Whose, node: str) -> tuple[CellLine, NodeLine] | None:
        """One Node with its Cell, if the reader may see it."""

    def nodes(self, cells: Collection[str] | None) -> Sequence[NodeLine]:
        """The Nodes of these Cells or of all, oldest first."""

    def leases(self, whose: Whose, limit: int = 100) -> Sequence[LeaseLine]:
        """Attempts under way, the oldest first."""

    def attempts(self, node: NodeLine, limit: int = 25) -> Sequence[AttemptLine]:
        """The last Attempts of a Node, the newest first."""

    def quality(self, cells: Collection[str] | None, since_ms: int) -> Quality:
        """How Attempts ended since then, and every strike there ever was, of these Cells or of all."""

    def queue(self) -> Queue:
        """Offers that are not over, and events that the ledger has not taken."""
