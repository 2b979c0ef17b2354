"""Cells and Nodes as the network side knows them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bithive.offer import DataClass
from cluster.labels import Tier
from cluster.protocol_node import Accelerator


@dataclass(frozen=True, slots=True)
class CellRecord:
    """One Ray cluster of one operator.

    Attributes
    ----------
    cell
        Random id (`cel_...`), of the account that it signs in with.
    institution
        Whose own cell it is (`ins_...`), or None: set by its account, never by what the cell says.
    operator
        Who is paid for its work.
    cell_key
        Its Ed25519 public key, hexadecimal.
    data_class_max
        The most sensitive class it wants.
    vetted
        Whether the network has vetted its operator for P1.
    bundles
        SHA-256 of each bundle it can run.
    seen_ms
        When it last said hello.
    memory_bytes
        The most that one Attempt may take on any of its Nodes.
    tier, residency
        What kind of place it stands in and in which country, by its account. None is judged by the rest
        (`cluster.filters.terms_of`). An empty country is an untold one.
    attested_ms
        Until when its verified evidence of attestation counts; 0 without any.
    box_key
        The X25519 public key that this evidence names, hexadecimal; empty without any.
    revoked_ms
        When its key was revoked; 0 while it holds.
    """

    cell: str
    institution: str | None
    operator: str
    cell_key: str
    data_class_max: DataClass
    bundles: frozenset[str]
    seen_ms: int
    vetted: bool = False
    memory_bytes: int = 0
    tier: Tier | None = None
    residency: str = ""
    attested_ms: int = 0
    revoked_ms: int = 0
    box_key: str = ""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A machine with an Ed25519 key of its own.

    Attributes
    ----------
    node, cell
        Random id (`nod_...`), and the Cell it belongs to. The pair (cell, node_key) is unique.
    node_key
        Its Ed25519 public key, hexadecimal.
    threads, gpus
        What it has.
    memory_bytes
        Main memory that one Attempt may take on it.
    labels
        Free words of its operator, at most 32.
    machine_memory_bytes
        Main memory that it has in all; 0 when it never said so.
    tier, residency
        What it says of itself; it can only take something away (`cluster.data_classes.Terms.narrowed`).
    accelerator
        The first of its accelerators, where it has one.
    timetable, caps
        What its contributor set, as its cell said it.
    slots
        Attempts that it takes at once.
    former_key, former_until_ms
        The key that it had before its last rotation, and until when a Receipt under that key still holds.
    revoked_ms
        When its key was revoked; 0 while it holds.
    """

    node: str
    cell: str
    node_key: str
    threads: int
    memory_bytes: int
    gpus: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    machine_memory_bytes: int = 0
    tier: str = ""
    residency: str = ""
    accelerator: Accelerator | None = None
    timetable: dict[str, Any] = field(default_factory=dict)
    caps: dict[str, Any] = field(default_factory=dict)
    slots: int = 1
    former_key: str = ""
    former_until_ms: int = 0
    revoked_ms: int = 0

    def kept(self, before: NodeRecord) -> NodeRecord:
        """The same for a Node that is known already: its id and the history of its key stay."""
        return replace(
            self,
            node=before.node,
            former_key=before.former_key,
            former_until_ms=before.former_until_ms,
            revoked_ms=before.revoked_ms,
        )


@dataclass(frozen=True, slots=True)
class Strike:
    """A Receipt of a Node that did not hold.

    Attributes
    ----------
    attempt_id, cell, node
        Whose; the node is as the Receipt named it if it is registered, else empty.
    code
        Which check failed.
    at_ms
        When.
    """

    attempt_id: str
    cell: str
    node: str
    code: str
    at_ms: int
