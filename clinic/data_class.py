"""Which data class a payload has: decided here, by our own code on our own data, before anything leaves.

A pipeline declares the class of what it sends, the most sensitive one unless it says why not. The headers of the very
images that are sent can only raise it, but for one way down: a study that somebody declared public when it was
submitted, and whose images say nothing against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bithive.log import get
from bithive.offer import ANYBODY, ATTESTED, VETTED, DataClass
from bithive.settings import Settings
from clinic.instance import InstanceRow, first
from clinic.public_sets import Basis, PublicStudy
from clinic.refusals import ClassWithheld
from pipelines.spec import Pipeline

IDENTITY_REMOVED, BURNED_IN, BODY_PART = "00120062", "00280301", "00180015"
"""Patient Identity Removed, Burned In Annotation, Body Part Examined (PS3.3 C.7.1.1, C.7.6.1, C.7.3.1)."""

_RANK = {DataClass.P0: 0, DataClass.P1: 1, DataClass.P2: 2, DataClass.P3: 3}
_BESIDE: dict[DataClass, frozenset[str]] = {
    DataClass.P1: frozenset({VETTED}),
    DataClass.P2: frozenset({ATTESTED}),
    DataClass.P3: frozenset(),
}
"""Who may have it beside the institution's own cells."""
_HEADS = (
    "HEAD",
    "BRAIN",
    "SKULL",
    "FACE",
    "ORBIT",
    "NECK",
    "SINUS",
    "JAW",
    "MANDIBLE",
    "MAXILLA",
    "CRANI",
    "EAR",
    "EYE",
)


def payload_class(pipeline: Pipeline, rows: Iterable[InstanceRow], public: PublicStudy | None) -> DataClass:
    """The class of what a pipeline sends of these images.

    Parameters
    ----------
    pipeline
        Declares the class of its payload.
    rows
        Every instance that it is made from.
    public
        What was declared of their study, if anything.
    """
    kept = list(rows)
    if any(_says(row, BURNED_IN) == "YES" for row in kept):
        return DataClass.P3
    if public is not None:
        against = why_not_public(kept, public.basis)
        if against is None:
            return DataClass.P0
        get().warning("public.withheld", code=against)
    if pipeline.data_class in (DataClass.P0, DataClass.P1) and any(_shows_head(row) for row in kept):
        return DataClass.P2
    return pipeline.data_class


def why_not_public(rows: Iterable[InstanceRow], basis: Basis) -> str | None:
    """What the images say against being public, or None.

    A manifest stands in for the flag where that is absent; nothing stands against one that says no.
    """
    for row in rows:
        removed = _says(row, IDENTITY_REMOVED)
        if removed == "NO" or (removed != "YES" and basis is Basis.FLAGS):
            return "identity-not-removed"
        if _says(row, BURNED_IN) == "YES":
            return "burned-in-annotation"
    return None


@dataclass(frozen=True, slots=True)
class Leaving:
    """What of an institution's payloads may leave, and whereto.

    Attributes
    ----------
    elsewhere
        Whether the network side is another hub's: it holds the keys of what it is offered.
    data_class_max
        The most sensitive class that such a one is given.
    residency
        Countries that payloads of patients may be in (ISO 3166-1 alpha-2), in order; anywhere when empty.
    foreign
        Whether other operators' cells may have what their standing allows; else the institution's own alone.
    """

    elsewhere: bool = False
    data_class_max: DataClass = DataClass.P3
    residency: tuple[str, ...] = ()
    foreign: bool = True

    @classmethod
    def of(cls, settings: Settings) -> Leaving:
        """As the settings say."""
        clinic = settings.clinic
        return cls(
            clinic.network_url is not None,
            DataClass(clinic.data_class_out_max),
            tuple(sorted(set(clinic.residency))),
            clinic.foreign_cells,
        )

    def countries(self, data_class: DataClass) -> tuple[str, ...]:
        """Where a payload may be; what is public may be anywhere."""
        return () if data_class is DataClass.P0 else self.residency

    def audience(self, data_class: DataClass, institution: str) -> tuple[str, ...]:
        """Whom a payload of the institution's is addressed to.

        Every cell but those that this names is passed over by whoever hands out work, before it looks at any class.
        """
        if data_class is DataClass.P0:
            return (ANYBODY,)
        beside = _BESIDE[data_class] if self.foreign else frozenset()
        return tuple(sorted({institution, *beside}))

    def check(self, data_class: DataClass) -> None:
        """Refuse what may not be given to somebody else's network side. Raises `ClassWithheld`."""
        if self.elsewhere and _RANK[data_class] > _RANK[self.data_class_max]:
            raise ClassWithheld(data_class=str(data_class))


def _says(row: InstanceRow, tag: str) -> str:
    return first(row.header, tag).strip().upper()


def _shows_head(row: InstanceRow) -> bool:
    part = _says(row, BODY_PART)
    return any(word in part for word in _HEADS)
