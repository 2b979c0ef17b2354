"""Counter-receipt: what the network side signs of every Receipt that it was handed, good or bad.

Each Node has a chain of its own: every counter-receipt names the digest of the one before it, so that none can be taken
out, changed or put in later without all that follow showing it. A node keeps its own and needs nobody to check them
(`cluster.chain`).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from bithive.canonical import canonical
from bithive.errors import BadInput, BadSignature
from bithive.keys import SigningKey, verify

GENESIS = "0" * 64
"""What the first of a chain names as the one before it."""

ACCEPTED = "accepted"
"""The verdict of a Receipt that held; any other is the code of why it did not."""

_CONTEXT = b"bithive.counter-receipt.v1\x00"


class BadCounterReceipt(BadInput):
    code, title = "bad-counter-receipt", "The counter-receipt is malformed"


@dataclass(frozen=True, slots=True)
class CounterReceipt:
    """What became of one Receipt, by the network side's own clock and count.

    Attributes
    ----------
    subject
        Whose chain it is in: the Node that provably signed the Receipt, or else the Cell that handed it in.
    sequence, previous
        Its place in that chain, from 1, and the digest of the one before (`GENESIS` for the first).
    receipt_digest
        Which Receipt: `bithive.receipt.Receipt.digest`.
    attempt_id, cell, node
        Under which Attempt it was handed in, by whom, and the subject if that is a Node (else empty).
    leased_ms, arrived_ms, interval_ms
        When the Lease began, when the last byte was here, and the time in between: what speed is reckoned from. All
        three are the network side's own.
    work_units
        What is booked for it: the Offer's reference work units if it was accepted, else 0.
    verdict
        `ACCEPTED`, or the code of the check that failed.
    network_key
        The network side's Ed25519 public key, hexadecimal.
    signature
        Ed25519 over the canonical bytes of all the above.
    """

    subject: str
    sequence: int
    previous: str
    receipt_digest: str
    attempt_id: str
    cell: str
    node: str
    leased_ms: int
    arrived_ms: int
    interval_ms: int
    work_units: int
    verdict: str
    network_key: str
    signature: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the Receipt held."""
        return self.verdict == ACCEPTED

    def signed_bytes(self) -> bytes:
        """The bytes that the signature covers."""
        members = asdict(self)
        del members["signature"]
        return _CONTEXT + canonical(members)

    @property
    def digest(self) -> str:
        """SHA-256 of the signed bytes, hexadecimal: what the next one names."""
        return hashlib.sha256(self.signed_bytes()).hexdigest()

    def sign(self, key: SigningKey) -> Self:
        """The same, signed. The key must be the one named in `network_key`."""
        assert key.public_hex == self.network_key, "the network side signs with its own key"
        return replace(self, signature=key.sign(self.signed_bytes()))

    def check_signature(self, network_key: str) -> None:
        """Raise `BadSignature` unless that very key is named and signed these very bytes."""
        if self.network_key != network_key:
            raise BadSignature("another network side signed it")
        verify(network_key, self.signed_bytes(), self.signature)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        BadCounterReceipt
            If a member is missing, unknown, of the wrong type or out of range.
        """
        kinds = {field.name: field.type for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != set(kinds):
            raise BadCounterReceipt("members are missing or unknown")
        for name, kind in kinds.items():
            item = value[name]
            if type(item).__name__ != kind:
                raise BadCounterReceipt(f"member {name} has the wrong type")
            if kind == "str" and not (len(item) <= 200 and item.isascii() and item.isprintable()):
                raise BadCounterReceipt(f"member {name} is not a short line of ASCII")
            if kind == "int" and not 0 <= item < 2**53:
                raise BadCounterReceipt(f"member {name} is out of range")
        return cls(**value)
