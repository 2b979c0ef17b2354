"""What a machine lends to its cell: told to the head, and read by the replicas that run on it.

Every machine of a cell has a store, keys and bounds of its own. So a replica is told nothing of them by whoever deploys
it: it reads the file that its own machine wrote, whose path stands in its environment.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from bithive.keys import SigningKey
from cluster.errors import BadMessage, RunnerDied
from cluster.plan import Plan
from cluster.private_files import write_private
from cluster.protocol_node import NodeGreeting
from cluster.register_proof import prove

VARIABLE = "BITHIVE_LENT_FILE"
"""Name of the variable of a Ray process's environment that says where the file is."""

WHOLE = 100
"""A whole graphics processor, in hundredths, as Ray shares them out."""

_PROTOCOL = "2"
_TUPLES = frozenset({"trusted_keys", "first", "later"})


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of a machine one slot is.

    Attributes
    ----------
    slots
        Attempts at once on the machine.
    gpu_hundredths
        Of one graphics processor for each slot; 0 where none is lent.
    gpus
        Graphics processors of the machine that are lent.
    gpu_memory_bytes
        Of the smallest of them.
    """

    slots: int
    gpu_hundredths: int = 0
    gpus: int = 0
    gpu_memory_bytes: int = 0

    @property
    def name(self) -> str:
        """Of the kind of slot, which is a custom resource of Ray: `cpu`, or `gpu50` for half a graphics processor."""
        return f"gpu{self.gpu_hundredths}" if self.gpu_hundredths else "cpu"


def shape_of(slots: int, gpus: int, gpu_memory_bytes: int, gpu_fraction_bp: int) -> Shape:
    """Share a machine's graphics processors out among its slots.

    A slot lies on one of them, so the fullest of them decides: three slots on two are a half each.

    Parameters
    ----------
    slots
        Attempts at once.
    gpus, gpu_memory_bytes
        How many there are, and the memory of the smallest.
    gpu_fraction_bp
        How much of each the contributor lends, in ten-thousandths.
    """
    on_fullest = -(-slots // gpus) if gpus else 0
    hundredths = min(WHOLE, gpu_fraction_bp // 100 // on_fullest) if on_fullest else 0
    return Shape(slots, hundredths, gpus, gpu_memory_bytes) if hundredths else Shape(slots)


@dataclass(frozen=True, slots=True)
class Lent:
    """What a machine lends.

    Attributes
    ----------
    greeting
        The machine as a Node; its `node_key` names it.
    shape
        Its slots.
    plan
        What its replicas load; None in what other machines are told, whom its folders do not concern.
    """

    greeting: NodeGreeting
    shape: Shape
    plan: Plan | None = None

    def told(self) -> bytes:
        """As the other machines of the cell may know it."""
        return json.dumps({"greeting": self.greeting.to_json(_PROTOCOL), "shape": asdict(self.shape)}).encode()

    def proven(self, cell_key: str) -> Self:
        """The same, with the proof that this machine holds its Node's key, for the cell of that key (hexadecimal)."""
        if self.plan is None or not cell_key:
            return self
        key = SigningKey.load_or_create(Path(self.plan.key_path))
        return replace(self, greeting=replace(self.greeting, proof=prove(key, cell_key)))

    def save(self, path: Path) -> None:
        """Write it for the replicas of this machine; readable by their user alone."""
        whole = json.loads(self.told()) | {"plan": asdict(self.plan) if self.plan is not None else None}
        write_private(path, json.dumps(whole).encode())

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read what `told` or `save` wrote. Raises `RunnerDied`."""
        try:
            value = json.loads(content)
            plan = value.get("plan")
            return cls(
                NodeGreeting.from_json(value["greeting"], _PROTOCOL),
                Shape(**value["shape"]),
                _plan(plan) if plan is not None else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError, BadMessage) as error:
            raise RunnerDied("what a machine lends cannot be read") from error

    @classmethod
    def here(cls) -> Self:
        """Of the machine that this replica runs on. Raises `RunnerDied`."""
        path = os.getenv(VARIABLE)
        try:
            content = Path(path or "").read_bytes()
        except OSError as error:
            raise RunnerDied(f"{VARIABLE} does not name a file") from error
        return cls.read(content)


def _plan(value: dict[str, Any]) -> Plan:
    members: dict[str, Any] = {name: tuple(member) if name in _TUPLES else member for name, member in value.items()}
    return Plan(**members)
