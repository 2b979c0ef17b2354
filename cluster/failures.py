"""Why an Attempt can end without findings, and what that means for its Offer: one fixed table."""

from __future__ import annotations

from enum import StrEnum


class Fate(StrEnum):
    """What becomes of the Offer."""

    FINAL = "final"
    """Any cell would say the same: the Offer is exhausted with this code."""
    RETRY = "retry"
    """Another try may succeed."""
    PAYLOAD = "payload"
    """The stored payload is no good: the institution is asked for it again."""


EXPIRED = "lease-expired"
OVERDUE = "deadline-passed"
WITHDRAWN = "offer-withdrawn"
UNKNOWN_REFUSAL = "refused"

FAILURES: dict[str, Fate] = {
    "bad-volume": Fate.FINAL,
    "unsupported-volume": Fate.FINAL,
    "anatomy-absent": Fate.FINAL,
    "anatomy-truncated": Fate.FINAL,
    "no-lung": Fate.FINAL,
    "not-a-chest-radiograph": Fate.FINAL,
    "implausible-findings": Fate.FINAL,
    "not-skull-stripped": Fate.FINAL,
    "bundle-refused": Fate.FINAL,
    "transform-unsupported": Fate.FINAL,
    "expression-refused": Fate.FINAL,
    "target-refused": Fate.FINAL,
    "directive-refused": Fate.FINAL,
    "torchscript-refused": Fate.FINAL,
    "onnx-refused": Fate.FINAL,
    "offer-inconsistent": Fate.FINAL,
    UNKNOWN_REFUSAL: Fate.FINAL,
    "bundle-unknown": Fate.RETRY,
    "bundle-unsigned": Fate.RETRY,
    "bundle-changed": Fate.RETRY,
    "weights-absent": Fate.RETRY,
    "weights-differ": Fate.RETRY,
    "engine-absent": Fate.RETRY,
    "engine-unfit": Fate.RETRY,
    "engine-fault": Fate.RETRY,
    "out-of-memory": Fate.RETRY,
    "memory-too-small": Fate.RETRY,
    "runner-died": Fate.RETRY,
    "runner-fault": Fate.RETRY,
    "data-class-refused": Fate.RETRY,
    "bad-wrapped-keys": Fate.RETRY,
    "payload-unreadable": Fate.PAYLOAD,
}
"""What a cell may report, by code."""


def known(code: str, otherwise: str) -> str:
    """The code itself if a cell may report it, else `otherwise`."""
    return code if code in FAILURES else otherwise
