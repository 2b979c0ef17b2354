from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from economy.entry import (
    Account,
    Asset,
    Entry,
    Key,
    Party,
    PendingRef,
    PeriodClose,
    Policy,
    hold,
    move,
    release,
    settle,
)
from economy.entry_json import read_entry
from economy.errors import BadEntry

PARTY = "pty_00000000000000000000000001"
OTHER = "pty_00000000000000000000000002"
A, B = Account(PARTY, "credit", "EUR"), Account(OTHER, "clearing", "EUR")
KEY = "ab" * 32


def whole() -> Entry:
    return Entry(
        "test/everything",
        "test.done",
        (
            move(A, B, 5),
            hold(A, B, 6, 60),
            hold(A, B, 7, None),
            settle(PendingRef("test/before", 0), 3),
            settle(PendingRef("test/before", 1)),
            release(PendingRef("test/before", 2)),
        ),
        {"reason": "why", "count": 3, "flag": True, "nothing": None},
        (
            Asset("GOLD", 3, "metal"),
            Asset("TOKEN", 6, "token", "eip155:1/erc20:0x0"),
            Party(PARTY, "institution"),
            Policy("rate-card", 9, 12, '{"price":[1,2,{"a":null}]}'),
            Key(KEY, "seal", PARTY),
            Key(KEY, "officer", PARTY, revoked=True),
            PeriodClose(1_000),
        ),
        effective_ms=99,
    )


def test_what_was_written_is_read_and_has_the_same_hash():
    entry = whole()
    again = read_entry(json.loads(entry.content))
    assert (again, again.request_hash) == (entry, entry.request_hash)
    bare = Entry("test/bare", "test.done")
    assert read_entry(bare.body()) == bare


def _changed(place, value):
    body = copy.deepcopy(whole().body())
    spot = body
    for step in place[:-1]:
        spot = spot[step]
    if value is KeyError:
        del spot[place[-1]]
    else:
        spot[place[-1]] = value
    return body


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["id"], KeyError),
        (["id"], 7),
        (["id"], "Upper"),
        (["kind"], None),
        (["more"], 1),
        (["transfers"], {}),
        (["transfers", 0, "amount"], 5.0),
        (["transfers", 0, "amount"], True),
        (["transfers", 0, "amount"], "5"),
        (["transfers", 0, "amount"], 0),
        (["transfers", 0, "amount"], -5),
        (["transfers", 0, "amount"], 2**53),
        (["transfers", 0, "amount"], None),
        (["transfers", 0, "memo"], "x"),
        (["transfers", 0, "debit"], "credit"),
        (["transfers", 0, "debit"], f"{OTHER}:clearing:EUR"),
        (["transfers", 0, "debit"], f"{PARTY}:credit:BTT"),
        (["transfers", 1, "timeout_s"], 0),
        (["transfers", 1, "timeout_s"], 1.5),
        (["transfers", 1, "timeout_s"], True),
        (["transfers", 3, "post"], ["test/before"]),
        (["transfers", 3, "post"], ["test/before", -1]),
        (["transfers", 3, "post"], ["test/before", True]),
        (["transfers", 3, "post"], [1, 0]),
        (["transfers", 3, "amount"], 0),
        (["transfers", 3, "amount"], KeyError),
        (["transfers", 5, "void"], "test/before"),
        (["transfers", 5, "amount"], 3),
        (["transfers", 0], None),
        (["facts"], []),
        (["facts", "reason"], {}),
        (["facts", "reason"], 1.5),
        (["facts", "reason"], "x" * 3_000),
        (["facts", "reason"], "\ud800"),
        (["declares", 0, "scale"], 19),
        (["declares", 0, "scale"], True),
        (["declares", 1, "caip19"], None),
        (["declares", 2, "party"], "pty_1"),
        (["declares", 2, "ref"], "linked"),
        (["declares", 3, "content"], {"price": 0.5}),
        (["declares", 3, "version"], 0),
        (["declares", 4, "key"], KEY.upper()),
        (["declares", 4, "purpose"], "root"),
        (["declares", 4, "revoked"], False),
        (["declares", 6, "period_closed_until_ms"], 0),
        (["declares", 6], {}),
        (["declares", 6], "asset"),
        (["effective_ms"], -1),
        (["effective_ms"], "99"),
    ],
)
def test_every_malformed_member_is_refused(place, value):
    with pytest.raises(BadEntry):
        read_entry(_changed(place, value))


@pytest.mark.parametrize("body", [None, [], "entry", 7, {}, {"id": "a/b"}, {"kind": "x.y"}])
def test_what_is_no_entry_at_all_is_refused(body):
    with pytest.raises(BadEntry):
        read_entry(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([["transfers"], ["transfers", 0], ["facts"], ["declares", 3, "content"], ["id"]]), JSON)
def test_no_json_raises_anything_else(place, value):
    try:
        entry = read_entry(_changed(place, value))
    except BadEntry:
        return
    assert read_entry(json.loads(entry.content)) == entry
