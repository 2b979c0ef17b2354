"""The table of data classes, every row of it, and what a machine's own words can do to it: only take away."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.offer import DataClass
from cluster.data_classes import MATRIX, BadTerms, Terms, refusal, within
from cluster.labels import Tier

OURS, THEIRS = "ins_ours", "ins_theirs"
terms = st.builds(
    Terms,
    st.sampled_from([None, OURS, THEIRS]),
    st.booleans(),
    st.sampled_from(list(Tier)),
    st.sampled_from(["", "DE", "FR"]),
    st.sampled_from(list(DataClass)),
)
P0, P1, P2, P3 = DataClass


@pytest.mark.parametrize(
    ("data_class", "own", "vetted", "tier", "attested", "expected"),
    [
        (P0, False, False, Tier.HOME, False, None),
        (P1, False, False, Tier.DATACENTER, False, "operator-not-vetted"),
        (P1, False, True, Tier.WORKSTATION, False, None),
        (P1, False, True, Tier.HOME, False, "tier-refused"),
        (P1, True, False, Tier.HOSPITAL, False, None),
        (P1, True, False, Tier.HOME, False, "tier-refused"),
        (P2, True, False, Tier.WORKSTATION, False, None),
        (P2, False, True, Tier.DATACENTER, False, "cell-not-attested"),
        (P2, False, True, Tier.DATACENTER, True, None),
        (P2, False, True, Tier.WORKSTATION, True, "tier-refused"),
        (P2, False, False, Tier.DATACENTER, True, "foreign-institution"),
        (P3, True, False, Tier.HOSPITAL, False, None),
        (P3, False, True, Tier.HOSPITAL, True, "foreign-institution"),
        (P3, True, True, Tier.HOME, True, "tier-refused"),
    ],
)
def test_the_table(
    data_class: DataClass, own: bool, vetted: bool, tier: Tier, attested: bool, expected: str | None
) -> None:
    cell = Terms(OURS if own else None, vetted, tier, "", P3)
    assert refusal(data_class, OURS, cell, attested=attested) == expected


def test_nothing_but_public_work_goes_to_a_home() -> None:
    for data_class, ways in MATRIX.items():
        assert any(Tier.HOME in way.tiers for way in ways) == (data_class is P0)


def test_countries_are_kept_and_an_untold_one_is_none_of_them() -> None:
    for country, expected in (("DE", None), ("FR", "residency-refused"), ("", "residency-refused")):
        cell = Terms(OURS, tier=Tier.HOSPITAL, residency=country, data_class_max=P3)
        assert refusal(P3, OURS, cell, countries=("DE", "US")) == expected
    assert refusal(P3, OURS, Terms(OURS, tier=Tier.HOSPITAL, data_class_max=P3)) is None


def test_the_cap_holds_whatever_else_does() -> None:
    for cap, data_class in itertools.product(DataClass, DataClass):
        cell = Terms(OURS, tier=Tier.HOSPITAL, data_class_max=cap)
        assert (refusal(data_class, OURS, cell) is None) == within(data_class, cap)


@given(terms, st.sampled_from(["", "x", *Tier]), st.sampled_from(["", "DE", "FR"]), st.sampled_from(list(DataClass)))
def test_a_machines_own_words_only_take_away(cell: Terms, tier: str, country: str, cap: DataClass) -> None:
    narrowed = cell.narrowed(tier, country, cap)
    for data_class, attested, countries in itertools.product(DataClass, (False, True), ((), ("DE",))):
        # An institution may believe its own machine where its account says no country.
        if countries and cell.institution is not None and not cell.residency:
            continue
        before = refusal(data_class, OURS, cell, attested=attested, countries=countries)
        after = refusal(data_class, OURS, narrowed, attested=attested, countries=countries)
        assert before is None or after is not None


def test_another_country_than_the_accounts_leaves_none() -> None:
    assert Terms(None, residency="DE").narrowed(residency="FR").residency == ""
    assert Terms(None, residency="DE").narrowed(residency="DE").residency == "DE"
    assert Terms(None, residency="DE").narrowed().residency == "DE"
    assert Terms(None).narrowed(residency="FR").residency == ""
    assert Terms(OURS).narrowed(residency="FR").residency == "FR"


def test_a_word_that_is_no_tier_is_a_home() -> None:
    assert Terms(OURS, tier=Tier.HOSPITAL).narrowed("castle").tier is Tier.HOME


@given(terms)
def test_terms_come_back(cell: Terms) -> None:
    assert Terms.from_json(cell.to_json()) == cell


@pytest.mark.parametrize(
    "change",
    [
        {"tier": "x"},
        {"residency": "XX"},
        {"vetted": 1},
        {"institution": 5},
        {"data_class_max": "P4"},
        {"tier": None},
        {"a": 1},
    ],
)
def test_malformed_terms_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadTerms):
        Terms.from_json(Terms().to_json() | change)
    with pytest.raises(BadTerms):
        Terms.from_json(None)
