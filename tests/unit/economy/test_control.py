"""Dual control, attacked: forged, repeated, revoked, borrowed and weak approvals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.check import check
from economy.control import (
    approve,
    approvers,
    is_dual,
    is_weak,
    ledger_names,
    officers,
    require_approval,
    without_approvals,
)
from economy.entry import Asset, Entry, Key, Party, PeriodClose, Policy
from economy.errors import NotApproved, OfficersTooFew, WeakKey
from economy.ledger import Ledger
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from tests.common.economy import House

ANNA, BELA, CORA, EVE = (SigningKey(bytes([number]) * 32) for number in range(4))
POLICY = Entry("policy/test/1", "policy.declared", declares=(Policy("test", 1, 0, "{}"),))


@pytest.fixture
def house():
    store = MemoryStore()
    house = House(store)
    yield house
    assert check(store).findings == []
    house.ledger.close()


def declared(house, key, purpose="officer", party=""):
    """The entry that declares a key, with a party of its own."""
    fresh = Party(house.ids.new("pty"), purpose)
    declares = (
        (Key(key.public_hex, purpose, party),) if party else (fresh, Key(key.public_hex, purpose, fresh.party_id))
    )
    return Entry(f"key/{key.public_hex}", "key.declared", declares=declares)


def revoked(house, key):
    row = keys(house)[key.public_hex]
    item = Key(row.public_key, row.purpose, row.party_id, revoked=True)
    return Entry(f"key/{key.public_hex}/revoked", "key.revoked", declares=(item,))


def keys(house):
    with house.store.reading() as snapshot:
        return snapshot.declared().keys


def both(entry, first=ANNA, second=BELA):
    return approve(approve(entry, first), second)


def in_office(house):
    """Two officers are in office."""
    for key in (ANNA, BELA):
        house.ledger.post(declared(house, key))
    assert is_dual(keys(house))
    return house


@pytest.fixture
def two(house):
    return in_office(house)


def test_the_database_remembers_who_may_approve(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    house = in_office(House(SqlStore(Database(url))))
    house.ledger.post(both(declared(house, CORA)))
    house.ledger.post(both(revoked(house, BELA)))
    house.ledger.close()
    again = Ledger(SqlStore(Database(url)), house.clock)
    for entry in (POLICY, approve(POLICY, ANNA), both(POLICY), both(POLICY, CORA, EVE)):
        with pytest.raises(NotApproved):
            again.post(entry)
    again.post(both(POLICY, ANNA, CORA))
    assert check(again.store).findings == []
    again.close()


def test_before_two_officers_one_person_decides(house):
    house.ledger.post(POLICY)
    house.ledger.post(declared(house, ANNA))
    house.ledger.post(Entry("policy/test/2", "policy.declared", declares=(Policy("test", 2, 0, "{}"),)))
    assert not is_dual(keys(house))
    notices = check(house.store).notices
    assert [str(item.fault) for item in notices] == ["single-control", "unsealed"]


def test_two_officers_decide_and_the_entry_takes_effect_once(two):
    recorded = two.ledger.post(both(POLICY))
    again = two.ledger.post(both(POLICY))
    assert (again.seq, again.replayed) == (recorded.seq, True)
    assert {row.party_id for row in approvers(both(POLICY), keys(two))} == {
        row.party_id for row in officers(keys(two)).values()
    }


def forged(entry, key):
    """An approval that says it is Bela's and is signed by somebody else."""
    one = approve(entry, ANNA)
    other = approve(entry, key).facts["approval-1"]
    return replace(one, facts={**one.facts, "approval-2": f"{BELA.public_hex}:{other.split(':')[1]}"})


def moved_to(entry):
    """The approvals of one entry on another."""
    given = {name: value for name, value in both(POLICY).facts.items() if name.startswith("approval-")}
    return replace(entry, facts={**entry.facts, **given})


OTHER = Entry("policy/test/2", "policy.declared", declares=(Policy("test", 2, 0, "{}"),))
ATTACKS = {
    "nobody": lambda: POLICY,
    "one officer": lambda: approve(POLICY, ANNA),
    "one officer twice": lambda: replace(
        approve(POLICY, ANNA),
        facts={name: approve(POLICY, ANNA).facts["approval-1"] for name in ("approval-1", "approval-2")},
    ),
    "a stranger": lambda: both(POLICY, ANNA, EVE),
    "two strangers": lambda: both(POLICY, CORA, EVE),
    "a forged signature": lambda: forged(POLICY, EVE),
    "approvals of another entry": lambda: moved_to(OTHER),
    "approved, then changed": lambda: replace(both(POLICY), declares=(Policy("test", 1, 1, "{}"),)),
    "approved, then renamed": lambda: replace(both(POLICY), entry_id="policy/test/3"),
    "approved, then dated back": lambda: replace(both(POLICY), effective_ms=1),
    "a fact added afterwards": lambda: replace(both(POLICY), facts={**both(POLICY).facts, "reason": "x"}),
    "no signature": lambda: replace(POLICY, facts={"approval-1": ANNA.public_hex, "approval-2": BELA.public_hex}),
    "a number": lambda: replace(POLICY, facts={"approval-1": 1, "approval-2": True}),
    "null": lambda: replace(approve(POLICY, ANNA), facts={**approve(POLICY, ANNA).facts, "approval-2": None}),
    "capital letters": lambda: replace(POLICY, facts={k: v.upper() for k, v in both(POLICY).facts.items()}),
    "a third name": lambda: replace(
        approve(POLICY, ANNA), facts={**approve(POLICY, ANNA).facts, "approval-3": both(POLICY).facts["approval-2"]}
    ),
    "a close without officers": lambda: Entry("period/1970-01", "period.closed", declares=(PeriodClose(1),)),
    "hidden beside an asset": lambda: Entry(
        "asset/X", "asset.declared", declares=(Asset("X", 0, "test"), Policy("t", 1, 0, "1"))
    ),
    "for another ledger": lambda: both(replace(POLICY, facts={"ledger": "bithive.ledger/00000000000000000000"})),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_two_officers_did_not_sign_is_refused(two, attack):
    if "ledger" in attack().facts:
        two.ledger.post(both(declared(two, CORA, "seal")))
    before = keys(two)
    with pytest.raises(NotApproved):
        two.ledger.post(attack())
    assert keys(two) == before
    two.ledger.post(both(POLICY))


def test_a_revoked_officer_approves_nothing_any_more(two):
    two.ledger.post(both(declared(two, CORA)))
    two.ledger.post(both(revoked(two, BELA)))
    with pytest.raises(NotApproved):
        two.ledger.post(both(POLICY))
    two.ledger.post(both(POLICY, ANNA, CORA))


def test_two_keys_of_one_party_are_one_officer(two):
    anna = keys(two)[ANNA.public_hex].party_id
    two.ledger.post(both(declared(two, CORA, party=anna)))
    with pytest.raises(NotApproved):
        two.ledger.post(both(POLICY, ANNA, CORA))


def test_nobody_approves_by_a_key_of_the_same_entry(two):
    with pytest.raises(NotApproved):
        two.ledger.post(both(declared(two, CORA), ANNA, CORA))


def test_a_key_that_seals_approves_nothing(two):
    two.ledger.post(both(declared(two, CORA, "seal")))
    with pytest.raises(NotApproved):
        two.ledger.post(both(POLICY, ANNA, CORA))


def test_two_officers_are_never_fewer_again(two):
    with pytest.raises(OfficersTooFew):
        two.ledger.post(both(revoked(two, BELA)))
    fresh = declared(two, CORA)
    swap = replace(fresh, declares=(*fresh.declares, *revoked(two, BELA).declares))
    two.ledger.post(both(swap))
    assert set(officers(keys(two))) == {ANNA.public_hex, CORA.public_hex}
    with pytest.raises(OfficersTooFew):
        two.ledger.post(both(revoked(two, ANNA), ANNA, CORA))


def test_an_approval_that_does_not_hold_is_refused_even_before_two_officers(house):
    with pytest.raises(NotApproved):
        house.ledger.post(approve(POLICY, EVE))
    house.ledger.post(POLICY)


def test_an_approval_names_its_ledger(two):
    two.ledger.post(both(declared(two, CORA, "seal")))
    (name,) = ledger_names(keys(two))
    two.ledger.post(both(replace(POLICY, facts={"ledger": name})))


def test_a_third_approval_and_a_repeated_one_are_not_given():
    with pytest.raises(NotApproved, match="already"):
        approve(approve(POLICY, ANNA), ANNA)
    with pytest.raises(NotApproved, match="two approvals"):
        approve(both(POLICY), CORA)
    assert without_approvals(both(POLICY)) == POLICY


def test_assets_and_parties_take_nobody(two):
    two.ledger.post(Entry("party/x", "party.declared", declares=(Party(two.ids.new("pty"), "node"),)))


P = 2**255 - 19
SMALL = [0, 1, P - 1, P, P + 1]


def test_keys_for_which_anybody_can_sign_are_refused(house):
    weak = [(y | sign << 255).to_bytes(32, "little").hex() for y in SMALL for sign in (0, 1)]
    weak.append("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
    assert all(is_weak(key) for key in weak)
    assert not any(is_weak(key.public_hex) for key in (ANNA, BELA, CORA, EVE))
    party = house.ids.new("pty")
    for number, key in enumerate(weak):
        entry = Entry(f"key/{number}", "key.declared", declares=(Party(party, "officer"), Key(key, "officer", party)))
        with pytest.raises(WeakKey):
            require_approval(entry, {})
        with pytest.raises(WeakKey):
            house.ledger.post(entry)
