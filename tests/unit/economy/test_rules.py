from __future__ import annotations

import pytest

from bithive.keys import SigningKey
from economy import policies
from economy.check import check
from economy.control import approve
from economy.economy import Economy
from economy.entry import Entry, Key, Party, Policy
from economy.errors import SealKeyUnknown
from economy.rules import Rules, policy_entry, to_declare, understood, waiting
from economy.seal import make_seal
from economy.store import MemoryStore

ANNA, BELA = (SigningKey(bytes([number]) * 32) for number in range(2))


def take_office(economy, ids):
    for key in (ANNA, BELA):
        party = ids.new("pty")
        declares = (Party(party, "officer"), Key(key.public_hex, "officer", party))
        economy.ledger.post(Entry(f"key/{key.public_hex}", "key.declared", declares=declares))


def both(entry):
    return approve(approve(entry, ANNA), BELA)


def test_what_comes_with_a_release_is_declared_while_one_person_decides(economy):
    assert sorted(economy.rules, key=str) == sorted(policies.load(), key=str)
    assert (len(economy.rules), economy.waiting) == (len(policies.load()), ())
    assert economy.rules[0] in economy.rules[:1]


def test_every_policy_of_the_release_is_understood():
    assert [understood(policy) for policy in policies.load()] == policies.load()


def test_with_two_officers_a_release_only_proposes(economy, ids):
    take_office(economy, ids)
    fresh = Policy("rate-card", 99, 5, policies.load()[-1].content)
    edited = Policy("emission", 1, 0, '{"asset":"BTT","steps":[]}')
    with economy.ledger.store.reading() as snapshot:
        assert to_declare(snapshot, [fresh, edited]) == []
        assert waiting(snapshot, [fresh, edited, *policies.load()]) == [fresh, edited]
    economy.ledger.post(both(policy_entry(fresh)))
    with economy.ledger.store.reading() as snapshot:
        assert waiting(snapshot, [fresh]) == []


def test_an_approved_policy_is_in_force_in_a_hub_that_runs(economy, ids, clock):
    """No restart: the next decision after its time is made by it, and none before."""
    take_office(economy, ids)
    rates = economy.booking._rates
    card = next(item for item in economy.rules if item.kind == "rate-card")
    soon_ms = clock.now_ms() + 1000
    economy.ledger.post(both(policy_entry(Policy("rate-card", 2, soon_ms, card.content))))
    assert [rates.at(soon_ms - 1).version, rates.at(soon_ms).version, rates.version(2).version] == [1, 2, 2]
    assert isinstance(economy.rules, Rules)


def test_a_new_key_seals_nothing_before_two_officers_declare_it(tmp_path, clock, ids):
    store = MemoryStore()
    economy = Economy.on(store, tmp_path / "first", clock, ids, 3600)
    with store.reading() as snapshot:
        assert list(snapshot.signing_keys()) == [economy.key.public_hex]
    take_office(economy, ids)
    assert make_seal(store, economy.key, clock) is not None
    other = Economy.on(store, tmp_path / "second", clock, ids, 3600)
    other.ledger.post(Entry("note/1", "test.noted"))
    with pytest.raises(SealKeyUnknown):
        make_seal(store, other.key, clock)
    with store.reading() as snapshot:
        holder = snapshot.signing_keys()[economy.key.public_hex].party_id
    rotation = (Key(other.key.public_hex, "seal", holder), Key(economy.key.public_hex, "seal", holder, revoked=True))
    other.ledger.post(both(Entry("key/rotation/1", "key.rotated", declares=rotation)))
    assert make_seal(store, other.key, clock) is not None
    other.ledger.post(Entry("note/2", "test.noted"))
    with pytest.raises(SealKeyUnknown):
        make_seal(store, economy.key, clock)
    assert check(store).findings == []
    economy.close()
