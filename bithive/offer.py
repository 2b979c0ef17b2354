"""Offer: what the clinical side asks of the network.

An Offer is all that the network side ever learns of a Workitem: random ids, a Bundle, sizes, a data class, a deadline.
No UID, no DICOM header, no free text. The payload (a Volume, encrypted under `OfferKeys.payload_key`) travels beside it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from bithive.errors import BadInput, Refused
from bithive.ids import is_id

_MEMORY_UNTOLD_BYTES = 1


class DataClass(StrEnum):
    """Who may receive a payload (DESIGN: Trust)."""

    P0 = "P0"
    """Public or synthetic: any cell."""
    P1 = "P1"
    """De-identified, not head or face: vetted operators, data centres, hospitals."""
    P2 = "P2"
    """De-identified head, or genome: same legal entity or attested cell."""
    P3 = "P3"
    """Identified or possibly so: never leaves the institution's own cell."""


class Urgency(StrEnum):
    """Scheduled Procedure Step Priority (0074,1200), PS3.3 C.30.2: HIGH is used for STAT."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class BadOffer(BadInput):
    code, title = "bad-offer", "The Offer is malformed"


class MemoryTooSmall(Refused):
    """The network side answers with it, and the clinical side ends the Workitem with it."""

    code, title = "memory-too-small", "No cell that could take it has the memory that it needs"


@dataclass(frozen=True, slots=True)
class Offer:
    """One request for work.

    Attributes
    ----------
    offer_id, institution
        Random ids (`off_...`, `ins_...`).
    bundle, bundle_version, bundle_sha256
        What is to run, exactly.
    data_class, urgency
        Who may receive it; how soon.
    payload_size_bytes
        Size of the plain payload.
    payload_digest
        HMAC-SHA256 of the plain payload under `OfferKeys.digest_key`, hexadecimal.
    voxels
        Number of array elements; with the Bundle it fixes the reference work units.
    work_units
        Reference work units for this Bundle and input size: what is held, and the most that is paid.
    memory_bytes
        Resident memory that a node will need at most, as predicted from Bundle and shape.
    created_ms, deadline_ms
        Milliseconds since the epoch.
    """

    offer_id: str
    institution: str
    bundle: str
    bundle_version: str
    bundle_sha256: str
    data_class: DataClass
    urgency: Urgency
    payload_size_bytes: int
    payload_digest: str
    voxels: int
    work_units: int
    memory_bytes: int
    created_ms: int
    deadline_ms: int

    def __post_init__(self) -> None:
        sizes = (
            self.payload_size_bytes,
            self.voxels,
            self.work_units,
            self.memory_bytes,
            self.created_ms,
            self.deadline_ms,
        )
        if not (is_id(self.offer_id, "off") and is_id(self.institution, "ins")):
            raise BadOffer("an id is malformed")
        if not all(_is_hex64(text) for text in (self.bundle_sha256, self.payload_digest)):
            raise BadOffer("a digest is not 64 hexadecimal digits")
        if not all(_is_name(text) for text in (self.bundle, self.bundle_version)):
            raise BadOffer("a bundle name or version is malformed")
        if not all(isinstance(size, int) and 0 < size < 2**53 for size in sizes):
            raise BadOffer("a size or time is out of range")
        if self.deadline_ms <= self.created_ms:
            raise BadOffer("the deadline lies before the Offer")

    def to_json(self) -> dict[str, Any]:
        """A mapping of plain values."""
        return {key: str(value) if isinstance(value, StrEnum) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        BadOffer
            If a member is missing, unknown, of the wrong type or out of range.
        """
        try:
            if set(value) != {field.name for field in fields(cls)}:
                raise BadOffer("members are missing or unknown")
            kinds: dict[str, type[StrEnum]] = {"data_class": DataClass, "urgency": Urgency}
            members: dict[str, Any] = {
                key: kinds[key](item) if key in kinds else _plain(item) for key, item in value.items()
            }
            return cls(**members)
        except (TypeError, ValueError, AttributeError) as error:
            raise BadOffer("a member has the wrong type") from error

    @classmethod
    def from_stored(cls, value: Any) -> Self:
        """Read a row of any version of BitHive: one from before `memory_bytes` is taken to need none. As `from_json`."""
        if isinstance(value, dict) and "memory_bytes" not in value:
            value = {**value, "memory_bytes": _MEMORY_UNTOLD_BYTES}
        return cls.from_json(value)


@dataclass(frozen=True, slots=True)
class OfferKeys:
    """The two keys of an Offer, 32 bytes each, destroyed on both sides when it ends.

    `payload_key` encrypts payload and findings (AES-256-GCM); `digest_key` is derived from the Workitem's key, which
    never leaves the clinical side, and names input and output by HMAC.
    """

    payload_key: bytes
    digest_key: bytes

    def __post_init__(self) -> None:
        if len(self.payload_key) != 32 or len(self.digest_key) != 32:
            raise BadOffer("a key is not 32 bytes")

    def __repr__(self) -> str:
        return "OfferKeys(...)"

    def to_json(self) -> dict[str, str]:
        return {"payload_key": self.payload_key.hex(), "digest_key": self.digest_key.hex()}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        try:
            return cls(bytes.fromhex(value["payload_key"]), bytes.fromhex(value["digest_key"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadOffer("a key is malformed") from error


def _plain(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return value


def _is_hex64(text: str) -> bool:
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 64 and text.isascii() and text.replace("_", "").replace(".", "").replace("-", "").isalnum()
