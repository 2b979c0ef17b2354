"""Receipt: the signed record of one finished Attempt, made where the work was done.

It carries only integers, random ids, a Bundle and keyed digests; its SHA-256 is the id of the ledger entry that it
causes, for ever.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

from bithive.canonical import canonical
from bithive.errors import BadInput
from bithive.keys import SigningKey, verify

_SINCE_2 = frozenset({"tf32", "bf16"})
_SINCE_3 = frozenset({"gpu", "gpu_memory_bytes", "sealed_input_bytes", "sealed_output_bytes", "meter"})

INSIDE, OUTSIDE = "inside", "outside"
"""Where a Receipt was measured: by the process that ran the bundle, or by another that watched it."""


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
        As measured; see `meter`. `gpu_ms` is the time in which the bundle's own processes kept an accelerator busy.
    gpu, gpu_memory_bytes
        The accelerator as its driver names it, and the most of its memory that was taken; empty and 0 without one.
    sealed_input_bytes, sealed_output_bytes
        What crossed the network for it: payload and findings as they are sealed (`bithive.envelope`).
    meter
        `OUTSIDE` when another process than the bundle's measured it, else `INSIDE`.
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
    gpu: str = ""
    gpu_memory_bytes: int = 0
    sealed_input_bytes: int = 0
    sealed_output_bytes: int = 0
    meter: str = INSIDE
    signature: str = ""

    version: ClassVar[int] = 3
    _absent: ClassVar[frozenset[str]] = frozenset()

    def signed_bytes(self) -> bytes:
        """The bytes that the signature covers."""
        members = self.to_json()
        del members["signature"]
        return b"bithive.receipt.v%d\x00" % self.version + canonical(members)

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
        return {name: value for name, value in asdict(self).items() if name not in self._absent}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote, of this very version.

        Raises
        ------
        BadReceipt
            If a member is missing, unknown, of the wrong type or out of range.
        """
        kinds = {field.name: field.type for field in fields(cls) if field.name not in cls._absent}
        if not isinstance(value, dict) or set(value) != set(kinds):
            raise BadReceipt("members are missing or unknown")
        for name, kind in kinds.items():
            if type(value[name]).__name__ != kind:
                raise BadReceipt(f"member {name} has the wrong type")
            if kind == "str" and not (len(value[name]) <= 200 and value[name].isascii() and value[name].isprintable()):
                raise BadReceipt(f"member {name} is not a short line of ASCII")
            if kind == "int" and not 0 <= value[name] < 2**53:
                raise BadReceipt(f"member {name} is out of range")
        return cls(**value, **{name: _UNTOLD[name] for name in cls._absent})

    @classmethod
    def from_wire(cls, value: Any) -> Receipt:
        """Read what a cell sent: this version, or the one before from a cell of the last release. Raises `BadReceipt`."""
        if isinstance(value, dict) and not _SINCE_3 & value.keys():
            return Receipt2.from_json(value)
        return cls.from_json(value)

    @classmethod
    def from_stored(cls, value: Any) -> Receipt:
        """Read a row of any version of BitHive. Raises `BadReceipt`.

        One that was signed before a member existed keeps the bytes that its node signed, and so its signature and its
        digest. Which version it is follows from its members, and the signature covers the version: none passes for
        another.
        """
        if isinstance(value, dict) and not (_SINCE_2 | _SINCE_3) & value.keys():
            return Receipt1.from_json(value)
        return cls.from_wire(value)


class Receipt2(Receipt):
    """A Receipt of version 2: nothing of accelerators by name, of sealed sizes, or of who measured."""

    __slots__ = ()
    version = 2
    _absent = _SINCE_3


class Receipt1(Receipt):
    """A Receipt of version 1: nothing of TF32 and bf16 either."""

    __slots__ = ()
    version = 1
    _absent = _SINCE_2 | _SINCE_3


_UNTOLD: dict[str, Any] = {
    "tf32": False,
    "bf16": False,
    "gpu": "",
    "gpu_memory_bytes": 0,
    "sealed_input_bytes": 0,
    "sealed_output_bytes": 0,
    "meter": INSIDE,
}
