"""Nodes as their cell tells of them: what they are, and whether they take work now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from bithive.limits import CELL_NODES_MAX, CELL_SLOTS_MAX
from cluster.errors import BadMessage
from cluster.protocol_words import bundles, digits, members, sequence, text, told, whole

_LABELS_MAX = 32
_MEMBERS_1 = frozenset({"node_key", "threads", "memory_bytes", "gpus", "labels", "machine_memory_bytes"})
_MEMBERS_2 = _MEMBERS_1 | {"tier", "residency", "accelerator", "timetable", "caps", "slots", "proof"}


class NodeState(StrEnum):
    """Whether a Node takes work."""

    UP = "up"
    """It takes work."""
    PAUSED = "paused"
    """Nothing new for a while; what runs goes on."""
    DRAINING = "draining"
    """Nothing new; it ends when what runs has ended."""
    AWAY = "away"
    """It is not there: outside its timetable, or left."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What computes beside the processor.

    Attributes
    ----------
    name
        As its driver names it.
    memory_bytes
        Of one of them.
    """

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class NodeGreeting:
    """A Node as its cell describes it.

    Attributes
    ----------
    node_key
        Its Ed25519 public key, hexadecimal.
    threads, gpus
        What it has.
    memory_bytes
        Main memory that one Attempt may take on it.
    labels
        Free words of its operator.
    machine_memory_bytes
        Main memory that it has, for all Attempts and everything else; what no measurement can exceed.
    tier, residency
        What kind of machine (`cluster.labels.Tier`) and in which country (ISO 3166-1 alpha-2) its cell says it is;
        empty when it does not say. Whether that is believed, the cell's account decides.
    accelerator
        The first of its accelerators; None without any.
    timetable, caps
        What its contributor set (`cluster.timetable`, `cluster.caps`), as JSON; kept as it was said.
    slots
        Attempts that it takes at once.
    proof
        That its machine holds the key (`cluster.register_proof.prove`); needed the first time the cell names it.
    """

    node_key: str
    threads: int
    memory_bytes: int
    gpus: int
    labels: dict[str, str]
    machine_memory_bytes: int = 0
    tier: str = ""
    residency: str = ""
    accelerator: Accelerator | None = None
    timetable: dict[str, Any] = field(default_factory=dict)
    caps: dict[str, Any] = field(default_factory=dict)
    slots: int = 1
    proof: str = ""

    def to_json(self, version: str) -> dict[str, Any]:
        """As a hello of that version of the protocol says it."""
        first = {
            "node_key": self.node_key,
            "threads": self.threads,
            "memory_bytes": self.memory_bytes,
            "gpus": self.gpus,
            "labels": self.labels,
            "machine_memory_bytes": self.machine_memory_bytes,
        }
        if version == "1":
            return first
        accelerator = self.accelerator
        return first | {
            "tier": self.tier,
            "residency": self.residency,
            "accelerator": accelerator and {"name": accelerator.name, "memory_bytes": accelerator.memory_bytes},
            "timetable": self.timetable,
            "caps": self.caps,
            "slots": self.slots,
            "proof": self.proof,
        }

    @classmethod
    def from_json(cls, value: Any, version: str) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        node = members(value, set(_MEMBERS_1 if version == "1" else _MEMBERS_2))
        labels = node["labels"]
        if not isinstance(labels, dict) or len(labels) > _LABELS_MAX:
            raise BadMessage("labels is no object, or too long", labels_max=_LABELS_MAX)
        first = cls(
            digits(node["node_key"]),
            whole(node["threads"]),
            whole(node["memory_bytes"]),
            whole(node["gpus"]),
            {text(key, 63): text(word, 63) for key, word in labels.items()},
            whole(node["machine_memory_bytes"]),
        )
        if version == "1":
            return first
        return replace(
            first,
            tier=text(node["tier"], 16, empty=True),
            residency=text(node["residency"], 2, empty=True),
            accelerator=_accelerator(node["accelerator"]),
            timetable=told(node["timetable"]),
            caps=told(node["caps"]),
            slots=_slots(node["slots"]),
            proof=digits(node["proof"], 128) if node["proof"] != "" else "",
        )


@dataclass(frozen=True, slots=True)
class NodeStanding:
    """What a Node would take now: said with every request for work, and whenever it changes.

    Attributes
    ----------
    node
        Its id, as the network side knows it.
    state
        Only a Node that is up is given anything.
    free
        Attempts that it would begin at once.
    warm
        SHA-256 of each bundle that it has loaded.
    """

    node: str
    state: NodeState
    free: int = 0
    warm: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"node": self.node, "state": str(self.state), "free": self.free, "warm": list(self.warm)}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        message = members(value, {"node", "state", "free", "warm"})
        if message["state"] not in list(NodeState):
            raise BadMessage("state is not one of the fixed words")
        return cls(
            text(message["node"], 40), NodeState(message["state"]), _slots(message["free"]), bundles(message["warm"])
        )


def standings(value: Any) -> tuple[NodeStanding, ...]:
    """A list of `NodeStanding`, each Node once. Raises `BadMessage`."""
    found = tuple(NodeStanding.from_json(item) for item in sequence(value, CELL_NODES_MAX))
    return once(found)


def once(found: Sequence[NodeStanding]) -> tuple[NodeStanding, ...]:
    """The same, if no Node is named twice. Raises `BadMessage`."""
    if len({standing.node for standing in found}) != len(found):
        raise BadMessage("a node is named twice")
    return tuple(found)


def _accelerator(value: Any) -> Accelerator | None:
    if value is None:
        return None
    message = members(value, {"name", "memory_bytes"})
    return Accelerator(text(message["name"], 64), whole(message["memory_bytes"]))


def _slots(value: Any) -> int:
    count = whole(value)
    if count > CELL_SLOTS_MAX:
        raise BadMessage("more slots than a node can have", slots_max=CELL_SLOTS_MAX)
    return count
