"""Drafts as files between officers: whatever comes back is read as if an enemy had written it."""

from __future__ import annotations

import json

import pytest

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.keys import SigningKey
from bithive.limits import DRAFT_BYTES_MAX
from economy.book import KeyRow
from economy.control import is_controlled
from economy.drafts import (
    addressed,
    approve_draft,
    described,
    draft_key,
    draft_policy,
    draft_revocation,
    read_draft,
    withdrawal,
    write_draft,
)
from economy.entry import Entry, Party, Policy
from economy.errors import BadEntry, BadPolicy, DraftElsewhere, DraftMalformed, NotApproved

ANNA, BELA, HUB = (SigningKey(bytes([number]) * 32) for number in range(3))
PARTY = SeededIds(1, ManualClock()).new("pty")
KEYS = {HUB.public_hex: KeyRow(HUB.public_hex, "seal", PARTY, 1)}
RULE = Policy("reward-rule", 7, 5, '{"per_1000_work_units_max":null,"weight":"work-units"}')


@pytest.fixture
def draft():
    return draft_policy(RULE, KEYS)


def test_a_draft_travels_and_comes_back_approved(draft):
    for key in (ANNA, BELA):
        draft = approve_draft(read_draft(write_draft(draft)), key)
    again = read_draft(write_draft(draft).encode())
    assert (again, again.request_hash) == (draft, draft.request_hash)
    assert again.facts["ledger"].startswith("bithive.ledger/")
    assert f"approval-2: {BELA.public_hex}" in "\n".join(described(again))
    with pytest.raises(NotApproved):
        approve_draft(again, ANNA)


GOOD = json.loads(write_draft(draft_policy(RULE, KEYS)))
BAD = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "a number": "5",
    "no entry": '{"format": "bithive-draft-1"}',
    "another format": json.dumps({**GOOD, "format": "bithive-draft-2"}),
    "one member more": json.dumps({**GOOD, "x": 1}),
    "an entry that is a list": json.dumps({**GOOD, "entry": []}),
    "an unknown member": json.dumps({**GOOD, "entry": {**GOOD["entry"], "x": 1}}),
    "no id": json.dumps({**GOOD, "entry": {k: v for k, v in GOOD["entry"].items() if k != "id"}}),
    "an id of a number": json.dumps({**GOOD, "entry": {**GOOD["entry"], "id": 5}}),
    "nothing to approve": json.dumps({**GOOD, "entry": {"id": "asset/x", "kind": "asset.declared"}}),
    "nested deeply": '{"entry":' + "[" * 100_000,
    "too large": json.dumps({**GOOD, "x": "y" * DRAFT_BYTES_MAX}),
    "a float": json.dumps({**GOOD, "entry": {**GOOD["entry"], "effective_ms": 1.0}}),
    "bytes that are no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_is_no_draft_is_refused(text):
    with pytest.raises(DraftMalformed):
        read_draft(text)


def test_an_officer_approves_for_one_ledger_only(draft):
    with pytest.raises(DraftElsewhere):
        approve_draft(draft, ANNA, "bithive.ledger/00000000000000000000")
    with pytest.raises(DraftElsewhere):
        approve_draft(draft_policy(RULE, {}), ANNA)
    assert addressed(draft, {}) == draft
    approve_draft(draft, ANNA, draft.facts["ledger"])


@pytest.mark.parametrize(
    "policy",
    [
        Policy("unheard-of", 1, 0, "{}"),
        Policy("rate-card", 2, 0, "{}"),
        Policy("emission", 2, 0, '{"asset":"BTT","steps":[]}'),
    ],
)
def test_a_policy_that_nothing_could_be_decided_by_is_no_draft(policy):
    with pytest.raises(BadPolicy):
        draft_policy(policy, KEYS)


def test_keys_are_drafted_with_their_holder_and_ended_once():
    entry = draft_key(ANNA.public_hex, "officer", Party(PARTY, "officer"), KEYS)
    assert is_controlled(entry.declares)
    assert entry.entry_id == f"key/{ANNA.public_hex}"
    assert draft_revocation(HUB.public_hex, KEYS).entry_id == f"key/{HUB.public_hex}/revoked"
    ended = {HUB.public_hex: KEYS[HUB.public_hex]._replace(revoked_seq=5)}
    for keys in ({}, ended):
        with pytest.raises(BadEntry):
            draft_revocation(HUB.public_hex, keys)
    with pytest.raises(BadEntry):
        draft_key("x", "officer", Party(PARTY, "officer"), KEYS)


def test_a_withdrawn_draft_takes_its_id_with_it(draft):
    taken = withdrawal(approve_draft(draft, ANNA))
    assert taken == Entry(draft.entry_id, "draft.withdrawn", facts={"draft": draft.request_hash})
    assert not is_controlled(taken.declares)
