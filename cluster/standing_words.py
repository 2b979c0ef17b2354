"""What a machine may receive and what it never will, in words: for whoever is asked to let it join."""

from __future__ import annotations

from dataclasses import dataclass

from bithive.offer import DataClass
from cluster.data_classes import (
    CLASS_REFUSED,
    FOREIGN,
    NOT_ATTESTED,
    NOT_VETTED,
    RESIDENCY_REFUSED,
    TIER_REFUSED,
    Terms,
    refusal,
)

CLASSES: dict[DataClass, str] = {
    DataClass.P0: "public or synthetic images, and the network's own tests",
    DataClass.P1: "de-identified images of patients, without head or face",
    DataClass.P2: "de-identified images of heads, and genomes",
    DataClass.P3: "images that identify a patient, or might",
}
"""What each class holds."""

REASONS: dict[str, str] = {
    CLASS_REFUSED: "more sensitive than this cell is registered for",
    FOREIGN: "only for the institution's own cells",
    NOT_VETTED: "only for operators that the network has vetted, and the institution's own cells",
    NOT_ATTESTED: "only for cells whose software is attested, and the institution's own cells",
    TIER_REFUSED: "not for a machine in such a place",
    RESIDENCY_REFUSED: "only for machines in certain countries",
}
"""Each reason of `cluster.data_classes.refusal`, in words."""

_STRANGER = "-"


@dataclass(frozen=True, slots=True)
class MayReceive:
    """What a machine may receive, and what it never will: one sentence each.

    Attributes
    ----------
    may, never
        Sentences, the least sensitive class first.
    """

    may: tuple[str, ...]
    never: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it as lines of text."""
        return (*(f"may receive: {text}" for text in self.may), *(f"never receives: {text}" for text in self.never))


def may_receive(terms: Terms, *, attested: bool = False) -> MayReceive:
    """What follows from a cell's standing (`cluster.data_classes.Terms`, narrowed by what its machine says)."""
    may, never = [], []
    for data_class, holds in CLASSES.items():
        of_own = terms.institution and refusal(data_class, terms.institution, terms, attested=attested) is None
        reason = refusal(data_class, _STRANGER, terms, attested=attested)
        if reason is None:
            may.append(f"{data_class}: {holds}")
        elif of_own:
            may.append(f"{data_class}: {holds}, of its own institution alone")
        else:
            own_reason = refusal(data_class, terms.institution or _STRANGER, terms, attested=attested)
            never.append(f"{data_class}: {holds} ({REASONS[own_reason or reason]})")
    return MayReceive(tuple(may), tuple(never))
