"""Receipt: the signed record of one finished Attempt, made where the work was done.

It carries only integers, random ids, a Bundle and keyed digests; its SHA-256 is the id of the ledger entry that it
causes, for ever.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple, Self

from bithive.canonical import canonical
from bithive.errors import BadInput
from bithive.keys import SigningKey, verify

_CONTEXT = b"bithive.receipt.v2\x00"
_CONTEXT_1 = b"bithive.receipt.v1\x00"
_SINCE_2 = frozenset({"tf32", "bf16"})


class BadReceipt(BadInput):
    code, title = "bad-receipt", "The Receipt is malformed"


class Method(NamedTuple):
    """How an Attempt was computed: what verification compares like with like."""

    engine: str
    engine_version: str
    precision: str
    device: str
    threads: int
    deterministic: bool
    tf32: bool
    bf16: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What ran, on what, where, and what it took.

    Attributes
    ----------
    attempt_id, offer_id, fencing_token
        Which try, under which Lease.
    cell, node, node_key
        The Cell and Node that did it, and the Node's Ed25519 public key (hexadecimal).
    bundle, bundle_version, bundle_sha256
        What ran, exactly.
    engine, engine_version, precision, device, threads, deterministic, tf32, bf16
        How: for example `openvino`, `2026.4.1`, `f32`, `cpu`, 2, True, False, False. `tf32` and `bf16` say whether
        products were computed with fewer bits than `precision` stores. See `method`.
    input_digest, output_digest
        HMAC-SHA256 under the Offer's digest key.
    input_size_bytes, output_size_bytes
        Sizes of the plain payload and plain findings.
    work_units
        Reference work units of this Bundle and input size; never seconds reported by the node.
    started_ms, wall_ms, cpu_ms, gpu_ms, peak_memory_bytes
        As measured in the replica.
    signature
        Ed25519 over the canonical bytes of all the above.
    """

    attempt_id: str
    offer_id: str
    fencing_token: int
    cell: str
    node: str
    node_key: str
    bundle: str
    bundle_version: str
    bundle_sha256: str
    engine: str
    engine_version: str
    precision: str
    device: str
    threads: int
    deterministic: bool
    tf32: bool
    bf16: bool
    input_digest: str
    output_digest: str
    input_size_bytes: int
    output_size_bytes: int
    work_units: int
    started_ms: int
    wall_ms: int
    cpu_ms: int
    gpu_ms: int
    peak_memory_bytes: int
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """The bytes that the signature covers."""
        members = asdict(self)
        del members["signature"]
        return _CONTEXT + canonical(members)

    @property
    def method(self) -> Method:
        """How it was computed."""
        return Method(*(getattr(self, name) for name in Method._fields))

    def sign(self, key: SigningKey) -> Self:
        """The same Receipt, signed. The key must be the one named in `node_key`."""
        assert key.public_hex == self.node_key, "a node signs with its own key"
        return replace(self, signature=key.sign(self.signed_bytes()))

    def check_signature(self) -> None:
        """Raise `BadSignature` unless `node_key` signed these very bytes."""
        verify(self.node_key, self.signed_bytes(), self.signature)

    @property
    def digest(self) -> str:
        """SHA-256 of the signed bytes, hexadecimal: the Receipt's permanent name."""
        return hashlib.sha256(self.signed_bytes()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        BadReceipt
            If a member is missing, unknown, of the wrong type or out of range.
        """
        kinds = {field.name: field.type for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != set(kinds):
            raise BadReceipt("members are missing or unknown")
        for name, kind in kinds.items():
            if type(value[name]).__name__ != kind:
                raise BadReceipt(f"member {name} has the wrong type")
            if kind == "str" and not (len(value[name]) <= 200 and value[name].isascii() and value[name].isprintable()):
                raise BadReceipt(f"member {name} is not a short line of ASCII")
            if kind == "int" and not 0 <= value[name] < 2**53:
                raise BadReceipt(f"member {name} is out of range")
        return cls(**value)

    @classmethod
    def from_stored(cls, value: Any) -> Receipt:
        """Read a row of any version of BitHive. Raises `BadReceipt`.

        One that was signed before `tf32` and `bf16` were members keeps the bytes that its node signed, and so its
        signature and its digest. Over the network only `from_json` is used: a node of today says them.
        """
        if isinstance(value, dict) and not _SINCE_2 & value.keys():
            return _Receipt1.from_json({**value, **dict.fromkeys(_SINCE_2, False)})
        return cls.from_json(value)


class _Receipt1(Receipt):
    """A Receipt of version 1."""

    __slots__ = ()

    def signed_bytes(self) -> bytes:
        members = {name: value for name, value in asdict(self).items() if name not in {"signature", *_SINCE_2}}
        return _CONTEXT_1 + canonical(members)

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in _SINCE_2}
