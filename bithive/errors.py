"""The one tree of errors.

Each leaf is one situation with a public `code` that is never renamed; `docs/errors/<code>.md` explains it. The branch
says what a caller can do about it, and the HTTP status that `api.problems` answers::

    BitHiveError
    ├── BadInput         400  what was sent cannot be understood
    ├── Unauthenticated  401  who are you?
    ├── Forbidden        403  not yours to do
    ├── NotFound         404  no such thing, or not yours to see
    ├── Conflict         409  it contradicts what is already there
    ├── LimitExceeded    413  larger than `bithive.limits` allows
    ├── Unsupported      415  a form that is not spoken here
    ├── Refused          422  understood, and declined for a coded reason (geometry, population, plausibility)
    ├── Unavailable      503  try again later
    └── Fault            500  a defect of ours

Packages add their leaves in an `errors.py` of their own. Assertions are for our own bugs; these classes are for
everything that the world can do.
"""

from __future__ import annotations

from typing import ClassVar


class BitHiveError(Exception):
    """Base of every error that BitHive raises on purpose.

    Parameters
    ----------
    detail
        One sentence for a person. Never a value taken from a patient's data set.
    context
        Machine-readable members added to the problem document: counts, tags, limits, ids of ours.
    """

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"
    status: ClassVar[int] = 500

    def __init__(self, detail: str = "", **context: str | float | bool | None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.context = context

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class BadInput(BitHiveError):
    code, title, status = "bad-input", "The input cannot be understood", 400


class Unauthenticated(BitHiveError):
    code, title, status = "unauthenticated", "A valid credential is required", 401


class Forbidden(BitHiveError):
    code, title, status = "forbidden", "This credential does not allow it", 403


class NotFound(BitHiveError):
    code, title, status = "not-found", "There is no such thing here", 404


class Conflict(BitHiveError):
    code, title, status = "conflict", "It contradicts what is already stored", 409


class LimitExceeded(BitHiveError):
    code, title, status = "limit-exceeded", "It is larger than the limit", 413


class Unsupported(BitHiveError):
    code, title, status = "unsupported", "This form is not supported", 415


class Refused(BitHiveError):
    code, title, status = "refused", "Declined for a stated reason", 422


class Unavailable(BitHiveError):
    code, title, status = "unavailable", "Not available right now; try again later", 503


class Fault(BitHiveError):
    code, title, status = "fault", "A defect in BitHive", 500


class IllegalTransition(Conflict):
    code, title = "illegal-transition", "The state machine has no such transition"


class BadSignature(Forbidden):
    code, title = "bad-signature", "The signature does not hold"


class BadSettings(Fault):
    code, title = "bad-settings", "The settings are not acceptable; the process refuses to start"


class SimulatedInProduction(BadSettings):
    code, title = "simulated-in-production", "Simulated attestation is for a demonstration only"


class TwoRuntimes(BadSettings):
    code, title = "two-runtimes", "onnxruntime and onnxruntime-gpu are both installed"


class DigestMismatch(Fault):
    code, title = "digest-mismatch", "Stored bytes are not the bytes that were written"


def leaves() -> list[type[BitHiveError]]:
    """Every error class known to the process, branches included, sorted by code."""

    def walk(cls: type[BitHiveError]) -> list[type[BitHiveError]]:
        return [cls, *(leaf for sub in cls.__subclasses__() for leaf in walk(sub))]

    return sorted(set(walk(BitHiveError)), key=lambda cls: cls.code)
