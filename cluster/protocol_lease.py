"""Version 2's requests of a running cell: asking for work for all of its Nodes at once, and one sign of life for all of its
Attempts. `docs/adr/0126-one-poll-for-a-cell.md` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from bithive.limits import ATTEMPTS_AT_ONCE_MAX
from cluster.errors import AttemptAbsent, BadMessage, LeaseLost
from cluster.protocol import Grant, Heartbeat
from cluster.protocol_node import NodeStanding, NodeState, standings
from cluster.protocol_words import members, sequence, text, whole

_LOST = (LeaseLost.code, AttemptAbsent.code)


@dataclass(frozen=True, slots=True)
class WorkRequest:
    """A cell asks for work.

    Attributes
    ----------
    cell
        Who asks.
    nodes
        What each of its Nodes would take. A Node that is not named gets nothing.
    wait_s
        How long the request may wait for the first Offer.
    serial
        The cell's own count of what it says of its Nodes, taken before it looks at them; 0 where it does not count. A
        request that is overtaken by a later pulse is over when it comes.
    """

    cell: str
    nodes: tuple[NodeStanding, ...]
    wait_s: float = 0.0
    serial: int = 0

    @property
    def free(self) -> int:
        """How many Attempts it would begin at once."""
        return sum(node.free for node in self.nodes if node.state is NodeState.UP)

    def to_json(self) -> dict[str, Any]:
        nodes = [node.to_json() for node in self.nodes]
        return {"cell": self.cell, "nodes": nodes, "wait_s": self.wait_s, "serial": self.serial}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote; `wait_s` is checked by who waits. Raises `BadMessage`."""
        message = members(value, {"cell", "nodes", "wait_s", "serial"})
        if type(message["wait_s"]) not in (int, float):
            raise BadMessage("wait_s is no number")
        nodes = standings(message["nodes"])
        return cls(text(message["cell"], 40), nodes, float(message["wait_s"]), whole(message["serial"]))


def grants_to_json(grants: tuple[Grant, ...]) -> dict[str, Any]:
    """The answer to a `WorkRequest`: at most as many as it has free slots, none when there is no work."""
    return {"grants": [grant.to_json("2") for grant in grants]}


def grants_from_json(value: Any) -> tuple[Grant, ...]:
    """Read what `grants_to_json` wrote. Raises `BadMessage`."""
    message = members(value, {"grants"})
    return tuple(Grant.from_json(item, "2") for item in sequence(message["grants"], ATTEMPTS_AT_ONCE_MAX))


@dataclass(frozen=True, slots=True)
class Pulse:
    """A cell's sign of life: how all of its Nodes stand, and how far each of its Attempts is.

    Attributes
    ----------
    nodes
        As in a `WorkRequest`. What changes here holds for a request for work that waits already.
    beats
        By Attempt.
    serial
        As in a `WorkRequest`.
    """

    nodes: tuple[NodeStanding, ...]
    beats: dict[str, Heartbeat]
    serial: int = 0

    def to_json(self) -> dict[str, Any]:
        beats = {attempt_id: beat.to_json() for attempt_id, beat in self.beats.items()}
        return {"nodes": [node.to_json() for node in self.nodes], "beats": beats, "serial": self.serial}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        message = members(value, {"nodes", "beats", "serial"})
        beats = message["beats"]
        if not isinstance(beats, dict) or len(beats) > ATTEMPTS_AT_ONCE_MAX:
            raise BadMessage("beats is no object, or too long", beats_max=ATTEMPTS_AT_ONCE_MAX)
        return cls(
            standings(message["nodes"]),
            {text(attempt_id, 40): Heartbeat.from_json(beat) for attempt_id, beat in beats.items()},
            whole(message["serial"]),
        )


@dataclass(frozen=True, slots=True)
class Renewed:
    """The answer to a `Pulse`.

    Attributes
    ----------
    expires_ms
        Until when the Lease of each Attempt now lasts.
    lost
        `lease-lost` or `attempt-absent` for each whose Lease is over.
    """

    expires_ms: dict[str, int]
    lost: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"expires_ms": self.expires_ms, "lost": self.lost}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        message = members(value, {"expires_ms", "lost"})
        if not all(isinstance(part, dict) for part in message.values()):
            raise BadMessage("a member is no object")
        if not all(code in _LOST for code in message["lost"].values()):
            raise BadMessage("a code is not one of the fixed words")
        return cls({key: whole(until_ms) for key, until_ms in message["expires_ms"].items()}, dict(message["lost"]))
