"""The one source of identifiers.

Ours are a three-letter prefix and a ULID (48 bits of time, 80 bits of chance, Crockford base 32): they sort by age and
name their kind. DICOM UIDs are made in `clinic.uids`, since they say who the patient is.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Protocol

from bithive.clock import Clock

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

PREFIXES = {
    "wit": "Workitem",
    "off": "Offer",
    "att": "Attempt",
    "cel": "Cell",
    "nod": "Node",
    "ins": "Institution",
    "acc": "account that signs in",
    "ses": "browser session",
    "lnk": "one-time link",
    "pty": "party of the ledger",
    "ent": "ledger entry",
    "epo": "Epoch",
    "bat": "intake batch",
    "cut": "cut of a backup",
}


class Ids(Protocol):
    """Where random identifiers and secrets come from."""

    def new(self, prefix: str) -> str:
        """A fresh identifier such as `wit_01J9Z...`."""

    def token(self, size_bytes: int = 32) -> bytes:
        """Random bytes fit for a key or a credential."""


class RandomIds:
    """Identifiers from the operating system's entropy."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self, prefix: str) -> str:
        return _ulid(prefix, self._clock.now_ms(), secrets.token_bytes(10))

    def token(self, size_bytes: int = 32) -> bytes:
        return secrets.token_bytes(size_bytes)


class SeededIds:
    """Reproducible identifiers for tests and simulations. Never for keys in service."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self._seed, self._count, self._clock = seed, 0, clock

    def new(self, prefix: str) -> str:
        return _ulid(prefix, self._clock.now_ms(), self.token(10))

    def token(self, size_bytes: int = 32) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._seed}/{self._count}".encode()).digest(size_bytes)


def _ulid(prefix: str, now_ms: int, chance: bytes) -> str:
    assert prefix in PREFIXES, f"unknown prefix {prefix!r}"
    number = (now_ms << 80) | int.from_bytes(chance, "big")
    text = "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
    return f"{prefix}_{text}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` is an identifier of that kind (its form only)."""
    head, _, tail = text.partition("_")
    return head == prefix and len(tail) == 26 and all(char in _ALPHABET for char in tail)


def decode_ms(identifier: str) -> int:
    """When an identifier was made, in milliseconds since the epoch: the first ten characters after its prefix."""
    number = 0
    for char in identifier.partition("_")[2][:10]:
        number = number * 32 + _ALPHABET.index(char)
    return number
