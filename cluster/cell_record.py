"""Cells and Nodes as the network side knows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from bithive.offer import DataClass


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
    """

    node: str
    cell: str
    node_key: str
    threads: int
    memory_bytes: int
    gpus: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    machine_memory_bytes: int = 0


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
