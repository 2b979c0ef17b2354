from __future__ import annotations

import pytest

from economy.entry import AMOUNT_MAX, Account, Asset, Entry, Party, PendingRef, Policy, hold, leaf_bytes, move, settle
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
