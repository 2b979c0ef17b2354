"""What each refusal of a Receipt says of the Node, in words: for its contributor, and for what follows from it.

A strike is a fact, not a sentence. Three things can follow from one: nothing but that it is shown (`Gravity.LATE`), nothing
but that it is shown and counts against the Node where work is given out (`Gravity.FAULT`), or, where it cannot have come
about by accident, that the Node is caught and what it has not been paid yet is forfeited (`Gravity.LIE`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from cluster.cell_record import NodeRecord, Strike
from cluster.checks import Claim
from cluster.duplicates import REPEATED
from cluster.errors import (
    BundleDiffers,
    DigestDiffers,
    FindingsUnreadable,
    ForeignSignature,
    GeometryDiffers,
    KeyRevoked,
    LeaseLost,
    MeasurementImplausible,
    MemoryImplausible,
    ReceiptReplayed,
    WallTimeImplausible,
    WorkUnitsDiffer,
)


class Gravity(StrEnum):
    """What a strike says of a Node's honesty."""

    LATE = "late"
    """Nothing: it was too slow, or cut off."""
    FAULT = "fault"
    """Something is wrong there; a defect does it as well as a lie."""
    LIE = "lie"
    """No accident does it."""


class StrikeWords(NamedTuple):
    """A strike for people.

    Attributes
    ----------
    gravity
        See `Gravity`.
    meaning, advice
        A sentence each: what was seen, and what its contributor can do.
    """

    gravity: Gravity
    meaning: str
    advice: str


_SOFTWARE = "Update the node; if it happens again, run its self-test and report it."

WORDS: dict[str, StrikeWords] = {
    LeaseLost.code: StrikeWords(
        Gravity.LATE,
        "The answer came after its Lease had run out; another node may have done the work, and nothing was booked.",
        "Look at the node's network and load: a Lease is renewed every few seconds while the work runs.",
    ),
    ReceiptReplayed.code: StrikeWords(
        Gravity.LIE,
        "The Receipt is of another Attempt: it was handed in before, or was made for other work.",
        "A node of ours never does this. If the machine was copied, give the copy keys of its own.",
    ),
    KeyRevoked.code: StrikeWords(
        Gravity.FAULT,
        "The Receipt is signed with a key that was revoked or replaced.",
        "Restart the node after a change of keys; if the key was stolen, this is somebody else.",
    ),
    ForeignSignature.code: StrikeWords(
        Gravity.LIE,
        "The Receipt is not signed by the node that it names.",
        "If the machine was copied, give the copy keys of its own; else the Receipt was changed after it was signed.",
    ),
    BundleDiffers.code: StrikeWords(Gravity.FAULT, "Another bundle ran than the one that was asked for.", _SOFTWARE),
    DigestDiffers.code: StrikeWords(
        Gravity.FAULT,
        "The Receipt does not fit the bytes: they were changed on the way in or out of the node.",
        "Test the machine's memory and disk; then update the node.",
    ),
    WorkUnitsDiffer.code: StrikeWords(
        Gravity.FAULT, "The Receipt claims other work units than the Offer fixed.", _SOFTWARE
    ),
    WallTimeImplausible.code: StrikeWords(
        Gravity.FAULT,
        "The measured time does not fit the network side's own: it is longer than the Lease lasted, or on another day.",
        "Set the machine's clock by NTP. Time earns nothing: work units do.",
    ),
    MemoryImplausible.code: StrikeWords(
        Gravity.FAULT, "The measured memory does not fit the payload or the machine.", _SOFTWARE
    ),
    MeasurementImplausible.code: StrikeWords(
        Gravity.FAULT, "The measured processor or accelerator time does not fit the machine.", _SOFTWARE
    ),
    FindingsUnreadable.code: StrikeWords(Gravity.FAULT, "The findings cannot be opened or read.", _SOFTWARE),
    GeometryDiffers.code: StrikeWords(
        Gravity.FAULT, "The findings do not have the shape of the Volume that was sent.", _SOFTWARE
    ),
    REPEATED: StrikeWords(
        Gravity.FAULT,
        "The same findings came before for another input. Both Attempts will be computed again elsewhere.",
        "Nothing, if the work was done: the second computation says so.",
    ),
}
"""By code, of every refusal and flag that a Node can have."""

_UNKNOWN = StrikeWords(Gravity.FAULT, "The Receipt did not hold.", _SOFTWARE)

CAUGHT_AFTER: dict[str, int] = {ForeignSignature.code: 1, ReceiptReplayed.code: 3}
"""After how many of a kind a Node counts as caught. A signature under another's key's name needs intent: what signs writes
its own key into what it signs. A replay may once be a mix-up between two Attempts that run at a time."""


def words(code: str) -> StrikeWords:
    """What a code means, for people."""
    return WORDS.get(code, _UNKNOWN)


def of_node(strikes: Iterable[Strike], node: str) -> list[Strike]:
    """Of a Cell's strikes those of one Node, and those that could not be put down to any."""
    return [strike for strike in strikes if strike.node in ("", node)]


def culprit(claim: Claim) -> NodeRecord | None:
    """Which Node did it, as far as its own signature proves it; never one in whose name somebody else signed."""
    return claim.node if claim.signed else claim.signer


def is_caught(claim: Claim, code: str, before: Iterable[Strike]) -> bool:
    """Whether this strike makes its culprit one that is caught.

    Parameters
    ----------
    before
        Earlier strikes of its cell, this Attempt's own left out.
    """
    needed, node = CAUGHT_AFTER.get(code), culprit(claim)
    if needed is None or node is None:
        return False
    if code == ForeignSignature.code and claim.receipt.node_key in (node.node_key, node.former_key):
        return False  # its own key beside another's id: an id that is out of date does that
    return 1 + sum((strike.node, strike.code) == (node.node, code) for strike in before) >= needed
