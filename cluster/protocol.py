"""The messages of the network protocol, versions 1 and 2, as both sides read and write them.

Everything is JSON but payloads, findings (raw sealed bytes, `bithive.envelope`) and the Receipt that travels with
findings as base64 in a header. `docs/protocol.md` describes both versions, `docs/adr/0040-network-protocol.md` and
`docs/adr/0126-one-poll-for-a-cell.md` say why they are so.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, replace
from typing import Any, Self

from bithive.limits import CELL_NODES_MAX, RECEIPT_BYTES_MAX
from bithive.offer import DataClass, Offer, OfferKeys
from bithive.receipt import BadReceipt, Receipt
from cluster.attempt import STAGES
from cluster.data_classes import Terms
from cluster.errors import BadMessage
from cluster.key_release import BadWrappedKeys, WrappedKeys
from cluster.protocol_node import Accelerator, NodeGreeting, NodeStanding, NodeState
from cluster.protocol_words import bundles, digits, members, sequence, text, whole

__all__ = [
    "PLAIN_SIZE_HEADER",
    "RECEIPT_HEADER",
    "ROOT",
    "ROOTS",
    "TOKEN_HEADER",
    "VERSION",
    "VERSIONS",
    "VERSIONS_PATH",
    "VERSION_HEADER",
    "Accelerator",
    "Grant",
    "Heartbeat",
    "Hello",
    "NodeGreeting",
    "NodeStanding",
    "NodeState",
    "Welcome",
    "bundles",
    "decode_receipt",
    "encode_receipt",
    "members",
    "whole",
]

VERSION = "1"
ROOT = "/network/v1"
"""What institutions speak, and cells without a key of their own."""

VERSIONS = ("1", "2")
"""Every version that this BitHive speaks, the oldest first."""
ROOTS = {version: f"/network/v{version}" for version in VERSIONS}
VERSIONS_PATH = "/network/versions"

VERSION_HEADER = "BitHive-Protocol"
TOKEN_HEADER = "BitHive-Fencing-Token"  # noqa: S105 - a header's name
RECEIPT_HEADER = "BitHive-Receipt"
PLAIN_SIZE_HEADER = "BitHive-Plain-Size"


@dataclass(frozen=True, slots=True)
class Hello:
    """What a cell says of itself: who is paid, what it has, what it can run (bundles by SHA-256)."""

    cell_key: str
    operator: str
    data_class_max: DataClass
    nodes: tuple[NodeGreeting, ...]
    bundles: tuple[str, ...]

    def to_json(self, version: str = VERSION) -> dict[str, Any]:
        return {
            "protocol": int(version),
            "cell_key": self.cell_key,
            "operator": self.operator,
            "data_class_max": str(self.data_class_max),
            "nodes": [node.to_json(version) for node in self.nodes],
            "bundles": list(self.bundles),
        }

    @classmethod
    def from_json(cls, value: Any, version: str = VERSION) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        message = members(value, {"protocol", "cell_key", "operator", "data_class_max", "nodes", "bundles"})
        if type(message["protocol"]) is not int or message["protocol"] != int(version):
            raise BadMessage("another protocol version", protocol=version)
        if message["data_class_max"] not in list(DataClass):
            raise BadMessage("data_class_max is no data class")
        nodes = message["nodes"]
        if not isinstance(nodes, list) or not 1 <= len(nodes) <= CELL_NODES_MAX:
            raise BadMessage("nodes is empty or too long", nodes_max=CELL_NODES_MAX)
        return cls(
            digits(message["cell_key"]),
            text(message["operator"], 64),
            DataClass(message["data_class_max"]),
            tuple(NodeGreeting.from_json(node, version) for node in nodes),
            bundles(message["bundles"]),
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the network side answers: the ids by which it knows the cell and its Nodes, and its durations.

    Attributes
    ----------
    cell, nodes
        Its id, and that of each Node by its key. A Node without an id was not taken: its key is unproven or revoked.
    heartbeat_s, lease_s
        How often it is to give a sign of life, and how long a Lease lasts without one.
    terms
        What its account says of it (`cluster.data_classes.Terms`); not told in version 1.
    network_key
        The network side's own Ed25519 public key, under which it countersigns; empty where it has none.
    """

    cell: str
    nodes: dict[str, str]
    heartbeat_s: float
    lease_s: float
    terms: Terms | None = None
    network_key: str = ""

    def to_json(self, version: str = VERSION) -> dict[str, Any]:
        first = {"cell": self.cell, "nodes": self.nodes, "heartbeat_s": self.heartbeat_s, "lease_s": self.lease_s}
        if version == "1":
            return first
        return {**first, "terms": self.terms and self.terms.to_json(), "network_key": self.network_key}

    @classmethod
    def from_json(cls, value: Any, version: str = VERSION) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`, `BadTerms`."""
        names = {"cell", "nodes", "heartbeat_s", "lease_s"}
        message = members(value, names if version == "1" else names | {"terms", "network_key"})
        try:
            first = cls(
                text(message["cell"], 64),
                {digits(key): text(node, 64) for key, node in message["nodes"].items()},
                float(message["heartbeat_s"]),
                float(message["lease_s"]),
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise BadMessage("a member has the wrong type") from error
        if version == "1":
            return first
        terms, key = message["terms"], message["network_key"]
        return replace(first, terms=terms and Terms.from_json(terms), network_key=digits(key) if key != "" else "")


@dataclass(frozen=True, slots=True)
class Grant:
    """A Lease: what to do, until when, and the Offer's keys.

    Attributes
    ----------
    attempt_id, fencing_token, expires_ms
        The Attempt, and until when it is this cell's unless it renews.
    offer
        What to do.
    released
        The Offer's keys; wrapped, where the cell alone is to open them (never in version 1).
    nodes
        Ids of the Nodes that may run it, the one it was meant for first; empty for any of the cell (version 1).
    """

    attempt_id: str
    fencing_token: int
    expires_ms: int
    offer: Offer
    released: OfferKeys | WrappedKeys
    nodes: tuple[str, ...] = ()

    @property
    def keys(self) -> OfferKeys:
        """The Offer's keys. Raises `BadWrappedKeys` while they are wrapped."""
        if isinstance(self.released, WrappedKeys):
            raise BadWrappedKeys("they have not been opened")
        return self.released

    @property
    def wrapped(self) -> WrappedKeys | None:
        """The keys as they came, if they came wrapped and have not been opened."""
        return self.released if isinstance(self.released, WrappedKeys) else None

    def to_json(self, version: str = VERSION) -> dict[str, Any]:
        """Its members; `wrapped` in the place of `keys`. Raises `BadWrappedKeys` for wrapped keys in version 1."""
        if self.wrapped is not None and version != "1":
            held = {"wrapped": self.wrapped.to_json()}
        else:
            held = {"keys": self.keys.to_json()}
        first = {
            "attempt_id": self.attempt_id,
            "fencing_token": self.fencing_token,
            "expires_ms": self.expires_ms,
            "offer": self.offer.to_json(),
            **held,
        }
        return first if version == "1" else {**first, "nodes": list(self.nodes)}

    @classmethod
    def from_json(cls, value: Any, version: str = VERSION) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`, `BadOffer`, `BadWrappedKeys`."""
        wrapped = version != "1" and isinstance(value, dict) and "wrapped" in value
        names = {"attempt_id", "fencing_token", "expires_ms", "offer", "wrapped" if wrapped else "keys"}
        message = members(value, names if version == "1" else names | {"nodes"})
        nodes = sequence(message.get("nodes", []), CELL_NODES_MAX)
        return cls(
            text(message["attempt_id"], 64),
            whole(message["fencing_token"]),
            whole(message["expires_ms"]),
            Offer.from_json(message["offer"]),
            WrappedKeys.from_json(message["wrapped"]) if wrapped else OfferKeys.from_json(message["keys"]),
            tuple(text(node, 40) for node in nodes),
        )


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life: the stage (a word of `STAGES`), the fraction of the whole, the Node that runs."""

    fencing_token: int
    stage: str
    fraction: float
    node: str

    def to_json(self) -> dict[str, Any]:
        return {
            "fencing_token": self.fencing_token,
            "stage": self.stage,
            "fraction": self.fraction,
            "node": self.node,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        message = members(value, {"fencing_token", "stage", "fraction", "node"})
        fraction = message["fraction"]
        if message["stage"] not in STAGES:
            raise BadMessage("stage is not one of the fixed words")
        if type(fraction) not in (int, float) or not 0 <= fraction <= 1:
            raise BadMessage("fraction is not between 0 and 1")
        return cls(whole(message["fencing_token"]), message["stage"], float(fraction), text(message["node"], 64))


def encode_receipt(receipt: Receipt) -> str:
    """The value of `BitHive-Receipt`."""
    return base64.b64encode(json.dumps(receipt.to_json(), separators=(",", ":")).encode()).decode()


def decode_receipt(header: str) -> Receipt:
    """Read what `encode_receipt` wrote. Raises `BadReceipt`."""
    if len(header) > RECEIPT_BYTES_MAX:
        raise BadReceipt("it is too long", size_bytes_max=RECEIPT_BYTES_MAX)
    try:
        value = json.loads(base64.b64decode(header, validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise BadReceipt("it is not base64 of JSON") from error
    return Receipt.from_wire(value)
