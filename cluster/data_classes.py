"""Which cell may receive which data class: one table, asked three times (`docs/data-classes.md`).

What decides is what a cell's account says of it (`Terms`), written by whoever admitted it. A cell's own words can only
take something away: a machine that calls itself a hospital's stays what its account says, and one that calls itself
somebody's home is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from bithive.errors import BadInput
from bithive.offer import DataClass
from cluster.labels import BadLabel, Tier, residency, tier

_RANK = {DataClass.P0: 0, DataClass.P1: 1, DataClass.P2: 2, DataClass.P3: 3}
_TRUST = {Tier.HOME: 0, Tier.WORKSTATION: 1, Tier.DATACENTER: 2, Tier.HOSPITAL: 3}

FOREIGN, NOT_VETTED, NOT_ATTESTED = "foreign-institution", "operator-not-vetted", "cell-not-attested"
TIER_REFUSED, CLASS_REFUSED, RESIDENCY_REFUSED = "tier-refused", "data-class-refused", "residency-refused"


class BadTerms(BadInput):
    code, title = "bad-terms", "What is said of a cell's standing is malformed"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a cell's account says of it.

    Attributes
    ----------
    institution
        Whose own cell it is (`ins_...`), or None.
    vetted
        Whether the network has vetted its operator.
    tier
        What kind of place its machines stand in.
    residency
        Country (ISO 3166-1 alpha-2); empty when untold.
    data_class_max
        The most sensitive class that it may receive, whatever else holds.
    """

    institution: str | None = None
    vetted: bool = False
    tier: Tier = Tier.HOME
    residency: str = ""
    data_class_max: DataClass = DataClass.P0

    def to_json(self) -> dict[str, Any]:
        return {
            "institution": self.institution,
            "vetted": self.vetted,
            "tier": str(self.tier),
            "residency": self.residency,
            "data_class_max": str(self.data_class_max),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadTerms`."""
        if not isinstance(value, dict) or set(value) != {"institution", "vetted", *_WORDS}:
            raise BadTerms("members are missing or unknown")
        institution, vetted = value["institution"], value["vetted"]
        if not (institution is None or isinstance(institution, str)) or type(vetted) is not bool:
            raise BadTerms("a member has the wrong type")
        if not all(isinstance(value[name], str) for name in _WORDS):
            raise BadTerms("a member has the wrong type")
        try:
            kind, country = tier(value["tier"]), residency(value["residency"])
            return cls(institution, vetted, kind, country, DataClass(value["data_class_max"]))
        except (BadLabel, ValueError) as error:
            raise BadTerms("a member is none of the fixed words") from error

    def narrowed(self, tier: str = "", residency: str = "", data_class_max: DataClass = DataClass.P3) -> Self:
        """The same after what a machine says of itself, which never adds anything.

        Parameters
        ----------
        tier
            The less trusted of the two counts; a word that is no tier counts as a home.
        residency
            Another country than the account's leaves none. Where the account has none, an institution believes its own
            machines.
        data_class_max
            The less sensitive of the two counts.
        """
        country = self.residency
        if not country and self.institution is not None:
            country = residency
        elif residency and residency != country:
            country = ""
        return replace(
            self,
            tier=min(self.tier, _tier_said(tier), key=_TRUST.__getitem__) if tier else self.tier,
            residency=country,
            data_class_max=min(self.data_class_max, data_class_max, key=_RANK.__getitem__),
        )


_WORDS = frozenset({"tier", "residency", "data_class_max"})


@dataclass(frozen=True, slots=True)
class Way:
    """One way to be allowed a class: everything that it asks for must hold.

    Attributes
    ----------
    tiers
        Where the machine may stand.
    own, vetted, attested
        Whether it must be the institution's own, its operator vetted, its software attested.
    """

    tiers: frozenset[Tier]
    own: bool = False
    vetted: bool = False
    attested: bool = False


_ANYWHERE = frozenset(Tier)
_NOT_HOME = _ANYWHERE - {Tier.HOME}
_LOCKED = frozenset({Tier.DATACENTER, Tier.HOSPITAL})

MATRIX: dict[DataClass, tuple[Way, ...]] = {
    DataClass.P0: (Way(_ANYWHERE),),
    DataClass.P1: (Way(_NOT_HOME, own=True), Way(_NOT_HOME, vetted=True)),
    DataClass.P2: (Way(_NOT_HOME, own=True), Way(_LOCKED, vetted=True, attested=True)),
    DataClass.P3: (Way(_NOT_HOME, own=True),),
}
"""Who may receive what (DESIGN: Trust). Nothing of a patient goes to a home, whoever owns it."""


def within(data_class: DataClass, maximum: DataClass) -> bool:
    """Whether a class is at most as sensitive as another."""
    return _RANK[data_class] <= _RANK[maximum]


def least(one: DataClass, other: DataClass) -> DataClass:
    """The less sensitive of two classes."""
    return min(one, other, key=_RANK.__getitem__)


def refusal(
    data_class: DataClass,
    institution: str,
    terms: Terms,
    *,
    attested: bool = False,
    countries: tuple[str, ...] = (),
) -> str | None:
    """Why a payload may not go there, or None when it may.

    Parameters
    ----------
    data_class, institution
        Of the Offer.
    terms
        Of the cell, narrowed by what the machine says.
    attested
        Whether it holds evidence that has been verified and has not run out.
    countries
        Where the payload may be; anywhere when empty.
    """
    if not within(data_class, terms.data_class_max):
        return CLASS_REFUSED
    own = terms.institution is not None and terms.institution == institution
    lacking = [_lacking(way, terms, own=own, attested=attested) for way in MATRIX[data_class]]
    if None not in lacking:
        return next((word for word in _TOLD_FIRST if word in lacking), FOREIGN)
    if countries and terms.residency not in countries:
        return RESIDENCY_REFUSED
    return None


_TOLD_FIRST = (TIER_REFUSED, NOT_ATTESTED, NOT_VETTED, FOREIGN)


def _lacking(way: Way, terms: Terms, *, own: bool, attested: bool) -> str | None:
    """The first thing that a way asks for and a cell has not."""
    if way.own and not own:
        return FOREIGN
    if way.vetted and not terms.vetted:
        return FOREIGN if way.attested else NOT_VETTED
    if terms.tier not in way.tiers:
        return TIER_REFUSED
    return NOT_ATTESTED if way.attested and not attested else None


def _tier_said(text: str) -> Tier:
    try:
        return tier(text)
    except BadLabel:
        return Tier.HOME
