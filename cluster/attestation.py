"""Attestation: a cell shows which software it runs, and a key that only that software holds.

The network side asks with a nonce; whoever can vouch for the cell's software (its *attester*) signs evidence that names
nonce, cell, measurement and an X25519 key; the network side checks it against a policy. What is verified may receive
P2 of other institutions (`cluster.data_classes.MATRIX`), its payload key wrapped to that key (`cluster.key_release`).
The roles are those of RFC 9334 (attester, evidence, verifier, appraisal policy); the freshness is by nonce (section 10).

A *simulated* attester is software that vouches for itself. It shows that the protocol works and nothing else: where
patients are treated, its evidence is refused whatever it says.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from bithive.canonical import canonical
from bithive.clock import Clock
from bithive.errors import BadInput, BadSignature, Refused
from bithive.ids import Ids
from bithive.keys import SigningKey, verify
from bithive.limits import CHALLENGES_MAX, EVIDENCE_AGE_S, EVIDENCE_LIFETIME_S

SIMULATED = "simulated"
"""The attester that vouches for itself."""

_CONTEXT = b"bithive.evidence.v1\x00"
_HEX = {"nonce": 64, "cell_key": 64, "measurement": 64, "box_key": 64, "attester_key": 64, "signature": 128}


class BadEvidence(BadInput):
    code, title = "bad-evidence", "The evidence of attestation is malformed"


class EvidenceRefused(Refused):
    """`reason` is one of `REASONS`."""

    code, title = "evidence-refused", "The evidence of attestation does not hold"

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason], reason=reason)
        self.reason = reason


REASONS = {
    "nonce-unknown": "it answers no question that was asked lately, or one that was answered before",
    "other-cell": "it is of another cell or another cell's key",
    "not-fresh": "it was made too long before it came, or after",
    "attester-unknown": "nobody trusts who signed it",
    "signature": "its signature does not hold",
    "measurement-unknown": "it names software that is not on the list",
    "simulated": "simulated evidence counts in a demonstration only",
}
"""Why evidence is refused."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an attester signs.

    Attributes
    ----------
    attester
        What kind it is: `simulated`, or the name of a kind of hardware.
    nonce
        What was asked with, 32 bytes, hexadecimal.
    cell, cell_key
        Whom it is about.
    measurement
        SHA-256 of the software, as this kind of attester takes it.
    box_key
        The X25519 public key that only this software holds, hexadecimal.
    at_ms
        When, milliseconds since the epoch.
    attester_key, signature
        Who signed, and the Ed25519 signature over the canonical bytes of all the above.
    """

    attester: str
    nonce: str
    cell: str
    cell_key: str
    measurement: str
    box_key: str
    at_ms: int
    attester_key: str
    signature: str = ""

    @property
    def simulated(self) -> bool:
        """Whether nothing but software vouches for it."""
        return self.attester == SIMULATED

    def signed_bytes(self) -> bytes:
        """What is signed."""
        members = {key: value for key, value in asdict(self).items() if key != "signature"}
        return _CONTEXT + canonical(members)

    def signed(self, key: SigningKey) -> Self:
        """The same, signed."""
        named = replace(self, attester_key=key.public_hex)
        return replace(named, signature=key.sign(named.signed_bytes()))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadEvidence`."""
        if not isinstance(value, dict) or set(value) != {field.name for field in fields(cls)}:
            raise BadEvidence("members are missing or unknown")
        if type(value["at_ms"]) is not int or not 0 <= value["at_ms"] < 2**53:
            raise BadEvidence("a time is out of range")
        for name in ("attester", "cell"):
            if not isinstance(value[name], str) or not 0 < len(value[name]) <= 40 or not value[name].isprintable():
                raise BadEvidence(f"{name} is malformed")
        if not all(_is_hex(value[name], length) for name, length in _HEX.items()):
            raise BadEvidence("a key, nonce or digest is malformed")
        return cls(**value)


@dataclass(frozen=True, slots=True)
class AppraisalPolicy:
    """What evidence counts.

    Attributes
    ----------
    attesters
        Ed25519 public keys that are trusted, by the kind of attester.
    measurements
        Software that is trusted; none when empty.
    simulated
        Whether simulated evidence counts: in a demonstration only.
    """

    attesters: dict[str, frozenset[str]]
    measurements: frozenset[str]
    simulated: bool = False


NOBODY = AppraisalPolicy({}, frozenset())
"""Trusts no attester: what holds where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Attested:
    """What evidence was verified, and until when it counts."""

    evidence: Evidence
    verified_ms: int
    until_ms: int


class Verifier:
    """Asks with nonces and judges what comes. For any thread.

    Parameters
    ----------
    policy
        What counts.
    clock, ids
        Time, and where nonces come from.
    """

    def __init__(self, policy: AppraisalPolicy, clock: Clock, ids: Ids) -> None:
        self._policy, self._clock, self._ids = policy, clock, ids
        self._asked: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()

    def challenge(self, cell: str) -> str:
        """A nonce for one cell, good once and for a minute; an earlier one of the cell is void."""
        nonce, now_ms = self._ids.token(32).hex(), self._clock.now_ms()
        with self._lock:
            kept = {
                known: (whose, at_ms)
                for known, (whose, at_ms) in self._asked.items()
                if whose != cell and now_ms - at_ms <= EVIDENCE_AGE_S * 1000
            }
            while len(kept) >= CHALLENGES_MAX:
                del kept[next(iter(kept))]
            self._asked = kept | {nonce: (cell, now_ms)}
        return nonce

    def judge(self, evidence: Evidence, cell: str, cell_key: str) -> Attested:
        """Judge what a cell sent; its nonce is spent whatever comes of it.

        Parameters
        ----------
        evidence
            What it sent.
        cell, cell_key
            Who sent it, by its credential and its registered key.

        Raises
        ------
        EvidenceRefused
            With the first reason against it.
        """
        now_ms = self._clock.now_ms()
        with self._lock:
            asked = self._asked.pop(evidence.nonce, None)
        if asked is None or now_ms - asked[1] > EVIDENCE_AGE_S * 1000:
            raise EvidenceRefused("nonce-unknown")
        if not asked[0] == evidence.cell == cell or evidence.cell_key != cell_key:
            raise EvidenceRefused("other-cell")
        if abs(now_ms - evidence.at_ms) > EVIDENCE_AGE_S * 1000:
            raise EvidenceRefused("not-fresh")
        if evidence.simulated and not self._policy.simulated:
            raise EvidenceRefused("simulated")
        if evidence.attester_key not in self._policy.attesters.get(evidence.attester, ()):
            raise EvidenceRefused("attester-unknown")
        try:
            verify(evidence.attester_key, evidence.signed_bytes(), evidence.signature)
        except BadSignature:
            raise EvidenceRefused("signature") from None
        if evidence.measurement not in self._policy.measurements:
            raise EvidenceRefused("measurement-unknown")
        return Attested(evidence, now_ms, now_ms + round(EVIDENCE_LIFETIME_S * 1000))


def _is_hex(text: Any, length: int) -> bool:
    return isinstance(text, str) and len(text) == length and not set(text) - set("0123456789abcdef")
