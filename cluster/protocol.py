"""The messages of the network protocol, version 1, as both sides read and write them.

Everything is JSON but payloads, findings (raw sealed bytes, `bithive.envelope`) and the Receipt that travels with
findings as base64 in a header. `docs/adr/0040-network-protocol.md` says why.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Self

from bithive.limits import CELL_BUNDLES_MAX, CELL_NODES_MAX, RECEIPT_BYTES_MAX
from bithive.offer import DataClass, Offer, OfferKeys
from bithive.receipt import BadReceipt, Receipt
from cluster.attempt import STAGES
from cluster.errors import BadMessage

VERSION = "1"
ROOT = "/network/v1"

VERSION_HEADER = "BitHive-Protocol"
TOKEN_HEADER = "BitHive-Fencing-Token"  # noqa: S105 - a header's name
RECEIPT_HEADER = "BitHive-Receipt"
PLAIN_SIZE_HEADER = "BitHive-Plain-Size"

_LABELS_MAX = 32


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
    """

    node_key: str
    threads: int
    memory_bytes: int
    gpus: int
    labels: dict[str, str]
    machine_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Hello:
    """What a cell says of itself: who is paid, what it has, what it can run (bundles by SHA-256)."""

    cell_key: str
    operator: str
    data_class_max: DataClass
    nodes: tuple[NodeGreeting, ...]
    bundles: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        nodes = [
            {
                "node_key": node.node_key,
                "threads": node.threads,
                "memory_bytes": node.memory_bytes,
                "gpus": node.gpus,
                "labels": node.labels,
                "machine_memory_bytes": node.machine_memory_bytes,
            }
            for node in self.nodes
        ]
        return {
            "protocol": int(VERSION),
            "cell_key": self.cell_key,
            "operator": self.operator,
            "data_class_max": str(self.data_class_max),
            "nodes": nodes,
            "bundles": list(self.bundles),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        message = members(value, {"protocol", "cell_key", "operator", "data_class_max", "nodes", "bundles"})
        if message["protocol"] != int(VERSION):
            raise BadMessage("another protocol version", protocol=VERSION)
        if message["data_class_max"] not in list(DataClass):
            raise BadMessage("data_class_max is no data class")
        nodes = message["nodes"]
        if not isinstance(nodes, list) or not 1 <= len(nodes) <= CELL_NODES_MAX:
            raise BadMessage("nodes is empty or too long", nodes_max=CELL_NODES_MAX)
        return cls(
            _hex(message["cell_key"], 64),
            _text(message["operator"], 64),
            DataClass(message["data_class_max"]),
            tuple(_node(node) for node in nodes),
            bundles(message["bundles"]),
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the network side answers: the ids by which it knows the cell and its Nodes, and its durations."""

    cell: str
    nodes: dict[str, str]
    heartbeat_s: float
    lease_s: float

    def to_json(self) -> dict[str, Any]:
        return {"cell": self.cell, "nodes": self.nodes, "heartbeat_s": self.heartbeat_s, "lease_s": self.lease_s}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        message = members(value, {"cell", "nodes", "heartbeat_s", "lease_s"})
        return cls(message["cell"], dict(message["nodes"]), float(message["heartbeat_s"]), float(message["lease_s"]))


@dataclass(frozen=True, slots=True)
class Grant:
    """A Lease: what to do, until when, and the Offer's keys."""

    attempt_id: str
    fencing_token: int
    expires_ms: int
    offer: Offer
    keys: OfferKeys

    def to_json(self) -> dict[str, Any]:
        return {
            "attempt_id": self.attempt_id,
            "fencing_token": self.fencing_token,
            "expires_ms": self.expires_ms,
            "offer": self.offer.to_json(),
            "keys": self.keys.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        message = members(value, {"attempt_id", "fencing_token", "expires_ms", "offer", "keys"})
        return cls(
            _text(message["attempt_id"], 64),
            whole(message["fencing_token"]),
            whole(message["expires_ms"]),
            Offer.from_json(message["offer"]),
            OfferKeys.from_json(message["keys"]),
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
        return cls(whole(message["fencing_token"]), message["stage"], float(fraction), _text(message["node"], 64))


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
    return Receipt.from_json(value)


def members(value: Any, names: set[str]) -> dict[str, Any]:
    """`value` if it is an object of exactly these members. Raises `BadMessage`."""
    if not isinstance(value, dict) or set(value) != names:
        raise BadMessage(f"the members are exactly {', '.join(sorted(names))}")
    return value


def whole(value: Any) -> int:
    """`value` if it is an integer from 0 to 2^53. Raises `BadMessage`."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise BadMessage("a number is no integer or out of range")
    return value


def bundles(value: Any) -> tuple[str, ...]:
    """`value` if it is a list of bundles by SHA-256, at most `CELL_BUNDLES_MAX`. Raises `BadMessage`."""
    if not isinstance(value, list) or len(value) > CELL_BUNDLES_MAX:
        raise BadMessage("a list of bundles is none, or too long", bundles_max=CELL_BUNDLES_MAX)
    return tuple(_hex(bundle, 64) for bundle in value)


def _text(value: Any, length_max: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= length_max or not value.isprintable():
        raise BadMessage("a text is empty, too long or not printable")
    return value


def _hex(value: Any, length: int) -> str:
    if not isinstance(value, str) or len(value) != length or not set(value) <= set("0123456789abcdef"):
        raise BadMessage(f"a key or digest is not {length} hexadecimal digits")
    return value


def _node(value: Any) -> NodeGreeting:
    node = members(value, {"node_key", "threads", "memory_bytes", "gpus", "labels", "machine_memory_bytes"})
    labels = node["labels"]
    if not isinstance(labels, dict) or len(labels) > _LABELS_MAX:
        raise BadMessage("labels is no object, or too long", labels_max=_LABELS_MAX)
    return NodeGreeting(
        _hex(node["node_key"], 64),
        whole(node["threads"]),
        whole(node["memory_bytes"]),
        whole(node["gpus"]),
        {_text(key, 63): _text(word, 63) for key, word in labels.items()},
        whole(node["machine_memory_bytes"]),
    )
