from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.canonical import canonical
from economy.entry import (
    AMOUNT_MAX,
    Account,
    Asset,
    Entry,
    Key,
    Party,
    PendingRef,
    PeriodClose,
    Policy,
    hold,
    leaf_bytes,
    move,
    release,
    settle,
)
from economy.errors import BadEntry

A, B = Account("pty_A", "credit", "COIN"), Account("pty_B", "credit", "COIN")


def test_the_body_is_canonical_and_hashes_alike():
    entry = Entry("a/1", "x.y", (move(A, B, 5), hold(A, B, 6, None), settle(PendingRef("b", 0))), {"why": "z"})
    assert entry.content == (
        b'{"facts":{"why":"z"},"id":"a/1","kind":"x.y","transfers":['
        b'{"amount":5,"credit":"pty_B:credit:COIN","debit":"pty_A:credit:COIN"},'
        b'{"amount":6,"credit":"pty_B:credit:COIN","debit":"pty_A:credit:COIN","timeout_s":null},'
        b'{"amount":null,"post":["b",0]}]}'
    )
    assert leaf_bytes(b"{}", 7, 3) == b'{"body":{},"recorded_us":7,"seq":3}'
    assert Account.parse(str(A)) == A


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1, 1.5, True, "1", None])
def test_amounts_are_whole_and_above_zero(amount):
    with pytest.raises(BadEntry):
        Entry("a", "x", (move(A, B, amount),))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Entry("", "x"),
        lambda: Entry("a b", "x"),
        lambda: Entry("a" * 161, "x"),
        lambda: Entry("A", "x"),
        lambda: Entry("a", "X"),
        lambda: Entry("a", "x", (move(A, A, 1),)),
        lambda: Entry("a", "x", (move(A, B._replace(asset="OTHER"), 1),)),
        lambda: Entry("a", "x", (hold(A, B, 1, 0),)),
        lambda: Entry("a", "x", (hold(A, B, 1, 10**12),)),
        lambda: Entry("a", "x", (settle(PendingRef("b", 0), 0),)),
        lambda: Entry("a", "x", (move(A, B, 1),) * 1001),
        lambda: Entry("a", "x", facts={"volume": 1.5}),
        lambda: Entry("a", "x", facts={"nested": {"a": 1}}),
        lambda: Entry("a", "x", facts={"long": "z" * 2001}),
        lambda: Entry("a", "x", facts={"big": 2**60}),
        lambda: Account.parse("a:b"),
        lambda: Account.parse(5),
        lambda: Asset("coin", 2, "fiat"),
        lambda: Asset("COIN", 19, "fiat"),
        lambda: Party("pty_1", "node"),
        lambda: Policy("rule", 0, 0, "{}"),
    ],
)
def test_what_is_malformed_is_refused(make):
    with pytest.raises(BadEntry):
        make()


def test_a_partys_reference_stays_out_of_the_log():
    party = Party("pty_" + "0" * 26, "node", "secret")
    assert b"secret" not in Entry("a", "x", declares=(party,)).content


NAMES = st.text(st.characters(exclude_characters=":"), max_size=12)
ACCOUNTS = st.builds(Account, NAMES, NAMES, st.just("COIN"))
AMOUNTS = st.integers(1, AMOUNT_MAX)
REFS = st.builds(PendingRef, NAMES, st.integers(0, 999))
TRANSFERS = st.one_of(
    st.builds(move, ACCOUNTS, ACCOUNTS, AMOUNTS),
    st.builds(hold, ACCOUNTS, ACCOUNTS, AMOUNTS, st.none() | st.integers(1, 1000)),
    st.builds(settle, REFS, st.none() | AMOUNTS),
    st.builds(release, REFS),
).filter(lambda item: item.debit is None or item.debit != item.credit)
FACTS = st.dictionaries(
    st.text(st.characters(max_codepoint=127), max_size=9),
    st.text(max_size=20) | st.integers(-AMOUNT_MAX, AMOUNT_MAX) | st.booleans() | st.none(),
    max_size=5,
)
PARTY = "pty_" + "0" * 26
DECLARED = st.sampled_from(
    [
        Asset("COIN", 2, "test"),
        Party(PARTY, "node"),
        Policy("rule", 1, 5, '{"a":[1]}'),
        Key("ab" * 32, "officer", PARTY, revoked=True),
        PeriodClose(7),
    ]
)


@given(
    st.lists(TRANSFERS, max_size=4),
    FACTS,
    st.lists(DECLARED, max_size=3),
    st.none() | st.integers(0, 2**50),
)
def test_the_content_written_by_hand_is_the_canonical_form(transfers, facts, declares, effective_ms):
    try:
        entry = Entry("a/1", "x.y", tuple(transfers), facts, tuple(declares), effective_ms)
    except BadEntry:
        with pytest.raises((TypeError, ValueError)):
            canonical({"facts": facts, "transfers": [item.body() for item in transfers]})
        return
    assert entry.content == canonical(entry.body())


@pytest.mark.parametrize("facts", [{"é": 1}, {"a": 2**53}, {"a": "\ud800"}, {"a": 1.0}, {1: "a"}])
def test_facts_without_a_canonical_form_are_refused(facts):
    with pytest.raises(BadEntry):
        Entry("a", "x", facts=facts)


@pytest.mark.parametrize(
    "account", [Account("\ud800", "credit", "COIN"), Account(None, "credit", "COIN"), A._replace(code=5)]
)
def test_an_account_that_cannot_be_written_is_refused(account):
    with pytest.raises(BadEntry):
        Entry("a", "x", (move(account, B, 1),))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Key("AB" * 32, "seal", PARTY),
        lambda: Key("ab" * 31, "seal", PARTY),
        lambda: Key("ab" * 32, "vote", PARTY),
        lambda: Key("ab" * 32, "seal", "nod_" + "0" * 26),
        lambda: Key("ab" * 32, "seal", PARTY, revoked=1),
        lambda: PeriodClose(0),
        lambda: PeriodClose(True),
        lambda: PeriodClose(1.5),
        lambda: PeriodClose(2**53),
    ],
)
def test_malformed_keys_and_periods_are_refused(make):
    with pytest.raises(BadEntry):
        make()


def test_what_a_key_and_a_period_close_say():
    assert Key("ab" * 32, "seal", PARTY).body() == {"key": "ab" * 32, "party": PARTY, "purpose": "seal"}
    assert Key("ab" * 32, "seal", PARTY, revoked=True).body()["revoked"] is True
    assert PeriodClose(7).body() == {"period_closed_until_ms": 7}
