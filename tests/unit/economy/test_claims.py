from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from economy.claims import PROOF_BYTES_MAX, Claim, ClaimProof, ClaimTree
from economy.entry import Account
from economy.epoch import claims_id, claims_of
from economy.errors import BadClaim, EpochUnknown
from economy.merkle import EMPTY_ROOT, leaf_hash, root

PARTY = "pty_01MCC5RM00KD748TZZC6YK4{:03d}"


def tree(count):
    return ClaimTree([Claim(PARTY.format(number), "BTT", number + 1) for number in reversed(range(count))])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 31, 33])
def test_it_is_the_tree_of_rfc_6962_by_party(count):
    made = tree(count)
    leaves = [Claim(PARTY.format(number), "BTT", number + 1).leaf() for number in range(count)]
    assert made.root == root(map(leaf_hash, leaves)).hex()
    assert json.loads(leaves[0]) == {"account": f"{PARTY.format(0)}:earned:BTT", "asset": "BTT", "cumulative": "1"}
    assert made.total == count * (count + 1) // 2
    for number in range(count):
        proof = made.proof(PARTY.format(number))
        assert proof.claim.cumulative == number + 1
        assert proof.holds(made.root)
        assert ClaimProof.from_bytes(proof.to_bytes()) == proof


def test_nobody_has_anything_to_claim():
    assert ClaimTree([]).root == EMPTY_ROOT.hex()
    with pytest.raises(BadClaim):
        ClaimTree([]).proof(PARTY.format(0))
    with pytest.raises(BadClaim):
        tree(3).proof("pty_01")


def test_the_proof_of_a_hundred_million_nodes_is_small():
    claim = Claim(PARTY.format(0), "A" * 16, 2**62)
    assert len(ClaimProof(claim, 0, 10**8, (bytes(32),) * 27).to_bytes()) < PROOF_BYTES_MAX == 1024


@given(st.integers(0, 8), st.data())
def test_any_change_of_a_proof_is_noticed(number, data):
    made = tree(9)
    content = bytearray(made.proof(PARTY.format(number)).to_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    try:
        proof = ClaimProof.from_bytes(bytes(content))
    except BadClaim:
        return
    assert not proof.holds(made.root)


@given(st.binary(max_size=1200))
def test_garbage_is_refused(content):
    with pytest.raises(BadClaim):
        ClaimProof.from_bytes(content)


@given(st.integers(0, 300))
def test_what_is_cut_off_is_refused_or_fails(length):
    made = tree(9)
    content = made.proof(PARTY.format(4)).to_bytes()
    with suppress(BadClaim):
        assert not ClaimProof.from_bytes(content[: min(length, len(content) - 1)]).holds(made.root)


def test_an_epoch_publishes_what_is_settled(economy, network, clock):
    economy.booking.take(network.accepted(network.ids.new("off")))
    clock.advance_s(60)
    first = economy.epochs.close()
    assert claims_of(economy.ledger.store, 1).claims == []
    clock.advance_s(73 * 3600)
    economy.settlements.settle()
    second = economy.epochs.close()
    node = economy.parties.of("node", network.node)
    made = claims_of(economy.ledger.store, 2)
    assert made.root == second.claims != first.claims
    assert made.claims == [(node, "BTT", first.paid)]
    assert economy.ledger.balance(Account(node, "earned", "BTT")).credit_posted == first.paid
    facts = json.loads(economy.ledger.get(claims_id(2)).content)["facts"]
    assert (facts["root"], facts["count"], facts["total"]) == (made.root, 1, str(first.paid))
    assert facts["at_seq"] == economy.ledger.get("epoch/2/end").seq


def test_what_is_settled_later_does_not_change_what_was_published(economy, network, clock):
    economy.booking.take(network.accepted(network.ids.new("off")))
    clock.advance_s(60)
    published = economy.epochs.close().claims
    clock.advance_s(73 * 3600)
    economy.settlements.settle()
    assert claims_of(economy.ledger.store, 1).root == published
    with pytest.raises(EpochUnknown):
        claims_of(economy.ledger.store, 2)
