"""Offer: what the clinical side asks of the network.

An Offer is all that the network side ever learns of a Workitem: random ids, a Bundle, sizes, a data class, a deadline.
No UID, no DICOM header, no free text. The payload (a Volume, encrypted under `OfferKeys.payload_key`) travels beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from bithive.errors import BadInput, Refused
from bithive.ids import is_id

_MEMORY_UNTOLD_BYTES = 1
_COUNTRIES_MAX = 32
_AUDIENCE_MAX = 8
_MAY_BE_EMPTY = frozenset({"audience", "residency", "traceparent"})
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


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


ANYBODY, VETTED, ATTESTED = "any", "vetted", "attested"
"""Whom an Offer may be addressed to beside an institution: any cell, those of vetted operators, attested ones."""


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
    residency
        Countries (ISO 3166-1 alpha-2) in which the payload may be; anywhere when empty.
    audience
        Whom its institution addresses it to: institutions (`ins_...`) whose own cells may have it, `any`, `vetted`,
        `attested`; in order. Only its class decides when empty.
    traceparent
        Under which random trace its institution follows it (W3C Trace Context, section 3.2), where it does. For the
        network side alone: no cell, event or Receipt is told.
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
    residency: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    traceparent: str = ""

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
        if not (isinstance(self.residency, tuple) and all(_is_country(code) for code in self.residency)):
            raise BadOffer("a country is malformed")
        if len(self.residency) > _COUNTRIES_MAX or list(self.residency) != sorted(set(self.residency)):
            raise BadOffer("the countries are too many, not in order or not different")
        if not (isinstance(self.audience, tuple) and all(_is_addressee(word) for word in self.audience)):
            raise BadOffer("an addressee is malformed")
        if len(self.audience) > _AUDIENCE_MAX or list(self.audience) != sorted(set(self.audience)):
            raise BadOffer("the addressees are too many, not in order or not different")
        if self.traceparent and not _TRACEPARENT.fullmatch(self.traceparent):
            raise BadOffer("the trace context is malformed")

    @property
    def untraced(self) -> Self:
        """The same Offer as a cell is told of it."""
        return replace(self, traceparent="") if self.traceparent else self

    def veiled(self, institution: str) -> Self:
        """The same Offer as a stranger is told of it: nothing in it says whose it is.

        Parameters
        ----------
        institution
            A random id in place of the real one.
        """
        return replace(self, institution=institution, audience=(), traceparent="")

    def to_json(self) -> dict[str, Any]:
        """A mapping of plain values; what is empty is left out, so that it reads as before there was such a member."""
        members = {key: _json(value) for key, value in asdict(self).items()}
        return {key: value for key, value in members.items() if key not in _MAY_BE_EMPTY or value}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        BadOffer
            If a member is missing, unknown, of the wrong type or out of range.
        """
        try:
            known = {field.name: field.default is MISSING for field in fields(cls)}
            if not set(value) <= set(known) or not all(name in value for name, needed in known.items() if needed):
                raise BadOffer("members are missing or unknown")
            return cls(**{key: _read(key, item) for key, item in value.items()})
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


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, StrEnum) else value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError
    return tuple(value)


def _plain(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return value


def _is_country(code: Any) -> bool:
    return isinstance(code, str) and len(code) == 2 and code.isascii() and code.isupper() and code.isalpha()


def _is_addressee(word: Any) -> bool:
    return isinstance(word, str) and (word in (ANYBODY, VETTED, ATTESTED) or is_id(word, "ins"))


def _is_hex64(text: str) -> bool:
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 64 and text.isascii() and text.replace("_", "").replace(".", "").replace("-", "").isalnum()


_READ: dict[str, Callable[[Any], Any]] = {
    "data_class": DataClass,
    "urgency": Urgency,
    "residency": _texts,
    "audience": _texts,
}


def _read(name: str, value: Any) -> Any:
    reader: Callable[[Any], Any] = _READ.get(name, _plain)
    return reader(value)
