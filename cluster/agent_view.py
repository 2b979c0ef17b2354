"""What an agent tells of itself, and who its cell says it is."""

from __future__ import annotations

from dataclasses import dataclass

from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster.data_classes import Terms
from cluster.protocol_node import NodeState


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the cell says it is.

    Attributes
    ----------
    cell_key
        Its Ed25519 public key, hexadecimal.
    operator
        Who is paid.
    data_class_max
        The most sensitive class it takes.
    terms
        What it was admitted for when it joined: what the agent's own gate stands on. Where it is None, what the first
        answer of the network side said counts for the life of the process.
    tier, residency
        What this machine says of itself; it can only take something away.
    node_keys
        Keys of the Nodes on this very machine, which prove themselves here.
    """

    cell_key: str
    operator: str
    data_class_max: DataClass
    terms: Terms | None = None
    tier: str = ""
    residency: str = ""
    node_keys: tuple[SigningKey, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeView:
    """One Node now.

    Attributes
    ----------
    node, node_key
        Its id, and its public key.
    state
        Whether it takes work.
    slots, busy
        Attempts that it takes at once, and that it runs.
    """

    node: str
    node_key: str
    state: NodeState
    slots: int
    busy: int


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One Attempt now.

    Attributes
    ----------
    attempt_id, bundle, node
        Which, of what, where.
    stage, fraction
        How far it is.
    begun_ms
        When it came (milliseconds since the epoch).
    """

    attempt_id: str
    bundle: str
    node: str
    stage: str
    fraction: float
    begun_ms: int


@dataclass(frozen=True, slots=True)
class AgentView:
    """A cell now.

    Attributes
    ----------
    cell
        Its id; empty before the network side has said so.
    connected
        Whether the network side answered the last request.
    nodes, attempts
        Its Nodes, and what runs.
    """

    cell: str
    connected: bool
    nodes: tuple[NodeView, ...]
    attempts: tuple[AttemptView, ...]
