"""Each way to spoil a ledger is found, and named: for each finding a ledger that has exactly it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy import check as checker
from economy.check import Checked, Fault, Finding, Notice, check
from economy.control import approve
from economy.entry import (
    Account,
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
from economy.errors import SealUnknown
from economy.findings import Checked as Found
from economy.merkle import EMPTY_ROOT, leaf_hash
from economy.notes import cosignature_line, parse_note
from economy.periods import close_period
from economy.proof_store import Cosignature
from economy.seal import make_seal, signed_bytes, state_root_v1
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from tests.common.economy import OTHER, House
from tests.common.forging import forge, forge_text, sealed_by, spoil

KEY = SigningKey(b"k" * 32)
ANNA, BELA, EVE = (SigningKey(bytes([number]) * 32) for number in range(3))


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """An empty ledger to copy: the migrations run once."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    SqlStore(Database(f"sqlite:///{path}")).close()
    return path


@pytest.fixture
def house(schema, tmp_path):
    house = House(SqlStore(Database(f"sqlite:///{shutil.copy(schema, tmp_path / 'ledger.db')}")))
    house.fund(0, 1000)
    wallets = (house.wallet(0), house.wallet(1))
    post = house.ledger.post
    post(Entry("hold/1", "test.held", (hold(*wallets, 100, None), hold(*wallets, 50, 60))))
    make_seal(house.store, KEY, house.clock)
    post(
        Entry(
            "settle/1", "test.settled", (settle(PendingRef("hold/1", 0), 70), move(house.wallet(1), house.wallet(2), 5))
        )
    )
    house.clock.advance_s(61)
    post(Entry("pay/1", "test.paid", (move(*wallets, 3),)))
    make_seal(house.store, KEY, house.clock)
    post(Entry("pay/2", "test.paid", (move(*wallets, 3),)))
    yield house
    house.ledger.close()


def faults(house, **options):
    return {finding.fault for finding in check(house.store, **options).findings}


def test_a_sound_ledger_has_no_findings(house):
    checked = check(house.store)
    assert checked == Checked(7, 8, 3 + 1, 2, [], [Finding(Notice.UNSEALED, "entries 7 to 7")])
    assert isinstance(checked, Found)


SPOILED = {
    "a total raised": (
        ["UPDATE account SET credit_posted = credit_posted + 1 WHERE id = 2"],
        {Fault.BALANCE_MISMATCH, Fault.SUM_MISMATCH},
    ),
    "two totals raised": (
        [
            "UPDATE account SET credit_posted = credit_posted + 1 WHERE id = 2",
            "UPDATE account SET debit_posted = debit_posted + 1 WHERE id = 1",
        ],
        {Fault.BALANCE_MISMATCH},
    ),
    "an amount raised": (["UPDATE transfer SET amount = 4 WHERE entry_seq = 6"], {Fault.TRANSFER_MISMATCH}),
    "a transfer turned": (
        ["UPDATE transfer SET debit_id = credit_id, credit_id = debit_id WHERE entry_seq = 7"],
        {Fault.TRANSFER_MISMATCH},
    ),
    "a limit lifted": (["UPDATE account SET limit_mode = 0 WHERE id = 2"], {Fault.LIMIT_VIOLATED}),
    "a body rewritten": (
        ["UPDATE entry SET content = replace(content, '\"amount\":3', '\"amount\":2') WHERE seq = 7"],
        {Fault.HASH_MISMATCH, Fault.TRANSFER_MISMATCH, Fault.BALANCE_MISMATCH},
    ),
    "a sealed body rewritten": (
        ["UPDATE entry SET content = replace(content, '\"amount\":3', '\"amount\":2') WHERE seq = 6"],
        {Fault.HASH_MISMATCH, Fault.TRANSFER_MISMATCH, Fault.BALANCE_MISMATCH, Fault.SEAL_MISMATCH},
    ),
    "a body that is no JSON": (
        ["UPDATE entry SET content = '{' WHERE seq = 7"],
        {Fault.HASH_MISMATCH, Fault.BODY_MALFORMED, Fault.BALANCE_MISMATCH},
    ),
    "a kind rewritten": (["UPDATE entry SET kind = 'x.y' WHERE seq = 7"], {Fault.HASH_MISMATCH}),
    "a time rewritten": (
        ["UPDATE entry SET recorded_us = 5 WHERE seq = 7"],
        {Fault.HASH_MISMATCH, Fault.TIME_NOT_INCREASING, Fault.VALUE_DATE_MISMATCH},
    ),
    "an entry cut out": (
        ["DELETE FROM transfer WHERE entry_seq = 6", "DELETE FROM entry WHERE seq = 6"],
        {Fault.SEQUENCE_GAP, Fault.BALANCE_MISMATCH, Fault.SEAL_MISMATCH},
    ),
    "the end cut off": (
        ["DELETE FROM transfer WHERE entry_seq >= 6", "DELETE FROM entry WHERE seq >= 6"],
        {Fault.BALANCE_MISMATCH, Fault.SEAL_MISMATCH},
    ),
    "a seal rewritten": (
        ["UPDATE seal SET state_root = log_root WHERE id = 2"],
        {Fault.SEAL_MISMATCH, Fault.SEAL_UNSIGNED},
    ),
    "a signature rewritten": (["UPDATE seal SET signature = public_key || public_key"], {Fault.SEAL_UNSIGNED}),
    "a leaf's hash rewritten": (["UPDATE entry SET leaf_hash = request_hash WHERE seq = 5"], {Fault.HASH_MISMATCH}),
    "a value date rewritten": (["UPDATE entry SET effective_ms = 1 WHERE seq = 7"], {Fault.VALUE_DATE_MISMATCH}),
    "a transfer taken away": (["DELETE FROM transfer WHERE entry_seq = 7"], {Fault.TRANSFER_MISMATCH}),
    "a transfer put in": (
        [
            "INSERT INTO transfer SELECT 7, 1, asset_id, debit_id, credit_id, 1, 0, NULL, NULL, NULL FROM transfer LIMIT 1"
        ],
        {Fault.TRANSFER_MISMATCH},
    ),
    "an asset rescaled": (["UPDATE asset SET scale = 7 WHERE code = 'COIN'"], {Fault.DECLARATION_MISMATCH}),
    "an asset put in": (["INSERT INTO asset VALUES (9, 'NEW', 0, 'test', NULL)"], {Fault.DECLARATION_MISMATCH}),
    "a party rewritten": (["UPDATE party SET kind = 'hub' WHERE id = 2"], {Fault.DECLARATION_MISMATCH}),
    "a party put in": (
        ["INSERT INTO party VALUES (9, 'pty_00000000000000000000000000', 'hub', NULL)"],
        {Fault.DECLARATION_MISMATCH},
    ),
    "a policy put in": (["INSERT INTO policy VALUES ('test', 1, 0, '{}')"], {Fault.DECLARATION_MISMATCH}),
    "a key put in": (
        [f"INSERT INTO signing_key SELECT '{'0' * 64}', 'officer', code, 1, NULL FROM party WHERE id = 1"],
        {Fault.DECLARATION_MISMATCH},
    ),
    "a period closed by hand": (["INSERT INTO period VALUES (5, 1)"], {Fault.DECLARATION_MISMATCH}),
    "a seal cut out": (["DELETE FROM seal WHERE id = 1"], {Fault.SEAL_MISMATCH}),
}


@pytest.mark.parametrize(("statements", "expected"), SPOILED.values(), ids=SPOILED.keys())
def test_what_is_spoiled_is_found(house, statements, expected):
    spoil(house, *statements)
    assert faults(house) == expected


FORGED = {
    Fault.SEQUENCE_GAP: lambda house: forge(house, Entry("forged/1", "test.forged"), seq=9),
    Fault.TIME_NOT_INCREASING: lambda house: forge(
        house, Entry("forged/1", "test.forged"), recorded_us=house.ledger.get("pay/2").recorded_us
    ),
    Fault.BODY_MALFORMED: lambda house: forge_text(house, "{"),
    Fault.NOT_CANONICAL: lambda house: forge_text(house, '{"kind":"test.forged", "id":"forged/1"}'),
    Fault.UNKNOWN_ACCOUNT: lambda house: forge(
        house, Entry("forged/1", "test.forged", (move(house.claim(0), house.claim(1), 1),))
    ),
    Fault.LIMIT_VIOLATED: lambda house: forge(
        house, Entry("forged/1", "test.forged", (move(house.wallet(2), house.wallet(1), 600),))
    ),
    Fault.PENDING_UNKNOWN: lambda house: forge(
        house, Entry("forged/1", "test.forged", (settle(PendingRef("hold/9", 0)),))
    ),
    Fault.DOUBLE_RESOLUTION: lambda house: forge(
        house, Entry("forged/1", "test.forged", (settle(PendingRef("hold/1", 0), 7),))
    ),
}


@pytest.mark.parametrize(("fault", "done"), FORGED.items(), ids=FORGED.keys())
def test_what_is_forged_is_found(house, fault, done):
    done(house)
    assert faults(house) == {fault}


MALFORMED = {
    "a decimal amount": ('"transfers":[{"amount":1.5,"credit":"%s","debit":"%s"}]', Fault.BODY_MALFORMED),
    "no amount": ('"transfers":[{"amount":0,"credit":"%s","debit":"%s"}]', Fault.BODY_MALFORMED),
    "below zero": ('"transfers":[{"amount":-5,"credit":"%s","debit":"%s"}]', Fault.BODY_MALFORMED),
    "an unknown member": ('"transfers":[{"amount":1,"credit":"%s","debit":"%s","x":1}]', Fault.BODY_MALFORMED),
    "a list": ('"transfers":[["%s","%s"]]', Fault.BODY_MALFORMED),
    "another member": ('"transfers":[],"worth":"%s%s"', Fault.BODY_MALFORMED),
}


@pytest.mark.parametrize(("text", "fault"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_body_is_found(house, text, fault):
    accounts = (house.wallet(1), house.wallet(0))
    forge_text(house, '{"id":"forged/1","kind":"test.forged",' + text % accounts + "}")
    assert fault in faults(house) <= {fault, Fault.NOT_CANONICAL}


def test_a_decimal_in_a_fact_is_found(house):
    forge_text(house, '{"facts":{"x":1.5},"id":"forged/1","kind":"test.forged"}')
    assert faults(house) == {Fault.NOT_CANONICAL}


def test_every_text_that_an_entry_can_hold_is_canonical(house):
    awkward = "".join(map(chr, range(0x80))) + "\u00e9\u2028\u2029\ufffd\U0001f41d"
    house.ledger.post(Entry("text/1", "test.noted", facts={"text": awkward, "n": -5, "yes": True, "none": None}))
    assert faults(house) == set()


def test_a_duplicate_is_found():
    house = House(MemoryStore())
    house.ledger.post(Entry("twice/1", "test.noted"))
    row = house.ledger.post(Entry("once/1", "test.noted"))
    twin = Entry("twice/1", "test.noted")
    leaf = leaf_hash(leaf_bytes(twin.content, row.recorded_us, row.seq)).hex()
    house.store._entries[-1] = house.store._entries[-1]._replace(
        entry_id="twice/1", content=twin.content.decode(), request_hash=twin.request_hash, leaf_hash=leaf
    )
    assert check(house.store).findings == [Finding(Fault.DUPLICATE_ENTRY, f"entry {row.seq}")]
    house.ledger.close()


def test_accounts_opened_out_of_turn_are_found(house):
    """The state tree orders accounts by number: a number given out of turn would let two histories share a root."""
    names = (house.claim(1), house.claim(2))
    with house.store.reading() as snapshot:
        count = snapshot.head().account_id
    opened = [
        f"INSERT INTO account SELECT {count + number}, asset_id, party.id, 'receivable', 0, 0, 0, 0, 0, 0 FROM account"
        f" JOIN party ON party.code = '{name.owner}' WHERE account.id = 1"
        for number, name in zip((2, 1), names, strict=True)
    ]
    spoil(house, *opened)
    forge(house, Entry("forged/1", "test.forged", (move(*names, 5),)))
    assert faults(house) == {Fault.ACCOUNT_OUT_OF_ORDER}


def held(house, timeout_s):
    house.ledger.post(Entry("hold/2", "test.held", (hold(house.wallet(0), house.wallet(1), 100, timeout_s),)))
    return house.ledger.get("hold/2")


def test_more_than_was_held_is_found(house):
    held(house, None)
    forge(house, Entry("forged/1", "test.forged", (settle(PendingRef("hold/2", 0), 101),)))
    assert faults(house) == {Fault.EXCEEDS_PENDING}


def test_a_hold_settled_after_it_was_due_is_found(house):
    row = held(house, 60)
    late = {"recorded_us": row.recorded_us + 61_000_000}
    forge(house, Entry("forged/1", "test.forged", (settle(PendingRef("hold/2", 0)),)), **late)
    assert faults(house) == {Fault.RESOLVED_AFTER_EXPIRY}


def test_a_hold_that_outlived_its_time_is_found(house):
    row = held(house, 60)
    forge(house, Entry("forged/1", "test.forged"), recorded_us=row.recorded_us + 60_000_000)
    assert faults(house) == {Fault.NOT_EXPIRED}


def test_a_hold_that_expired_before_its_time_is_found(house):
    row = held(house, 60)
    forge(house, Entry(f"expiry/{row.seq}/0", "pending.expired", (release(PendingRef("hold/2", 0)),)))
    assert faults(house) == {Fault.EXPIRED_EARLY}


def test_a_batch_may_settle_what_falls_due_while_it_is_decided(house):
    """Entries of a batch follow each other by microseconds; what was due is told at its start."""
    house.ledger.post_all([Entry(f"fill/{number}", "test.noted") for number in range(20)])
    held(house, 60)
    house.clock.advance_s(60)
    batch = [Entry(f"more/{number}", "test.noted") for number in range(50)]
    house.ledger.post_all([*batch, Entry("settle/2", "test.settled", (settle(PendingRef("hold/2", 0)),))])
    house.ledger.post(Entry("more/last", "test.noted"))
    assert faults(house) == set()


@pytest.fixture
def two(house):
    """Two officers are in office, and a key seals."""
    parties = [house.ids.new("pty") for _ in range(3)]
    purposes = ("officer", "officer", "seal")
    for key, party, purpose in zip((ANNA, BELA, KEY), parties, purposes, strict=True):
        declares = (Party(party, purpose), Key(key.public_hex, purpose, party))
        entry = Entry(f"key/{key.public_hex}", "key.declared", declares=declares)
        house.ledger.post(both(entry) if purpose == "seal" else entry)
    return house


def both(entry):
    return approve(approve(entry, ANNA), BELA)


POLICY = Entry("policy/test/1", "policy.declared", declares=(Policy("test", 1, 0, "{}"),))
POLICY_ROW = "INSERT INTO policy VALUES ('test', 1, 0, '{}')"
UNAPPROVED = {
    "nobody": lambda: POLICY,
    "one officer": lambda: approve(POLICY, ANNA),
    "one officer twice": lambda: replace(
        POLICY, facts={name: approve(POLICY, ANNA).facts["approval-1"] for name in ("approval-1", "approval-2")}
    ),
    "a stranger": lambda: approve(approve(POLICY, ANNA), EVE),
    "another entry's": lambda: replace(POLICY, facts=dict(both(replace(POLICY, entry_id="policy/test/2")).facts)),
    "no signature": lambda: replace(POLICY, facts={"approval-1": "x", "approval-2": 5}),
}


@pytest.mark.parametrize("entry", UNAPPROVED.values(), ids=UNAPPROVED.keys())
def test_what_two_officers_did_not_sign_is_found(two, entry):
    forge(two, entry(), POLICY_ROW)
    assert check(two.store).findings == [Finding(Fault.NOT_APPROVED, "entry 11")]


def test_what_two_officers_signed_is_sound(two):
    two.ledger.post(both(POLICY))
    assert faults(two) == set()
    assert [item.fault for item in check(two.store).notices] == [Notice.UNSEALED, Notice.SINGLE_CONTROL][::-1]


def revocation(two, key):
    with two.store.reading() as snapshot:
        row = snapshot.signing_keys()[key.public_hex]
    item = Key(row.public_key, row.purpose, row.party_id, revoked=True)
    return Entry(f"key/{key.public_hex}/revoked", "key.revoked", declares=(item,))


def test_a_last_officer_alone_is_found(two):
    forge(
        two,
        both(revocation(two, BELA)),
        f"UPDATE signing_key SET revoked_seq = 11 WHERE public_key = '{BELA.public_hex}'",
    )
    assert faults(two) == {Fault.OFFICERS_TOO_FEW}


def test_a_revocation_taken_back_in_the_table_is_found(two):
    two.ledger.post(both(revocation(two, KEY)))
    spoil(two, "UPDATE signing_key SET revoked_seq = NULL")
    assert faults(two) == {Fault.DECLARATION_MISMATCH}


def test_a_seal_by_a_key_that_is_not_declared_is_found(two):
    sealed_by(two, EVE)
    assert faults(two) == {Fault.SEAL_KEY_UNKNOWN}


def test_a_seal_by_a_key_that_was_revoked_is_found(two):
    make_seal(two.store, KEY, two.clock)
    two.ledger.post(both(revocation(two, KEY)))
    sealed_by(two, KEY, origin=parse_note(last_seal(two).note).text.split("\n")[0])
    assert check(two.store).findings == [Finding(Fault.SEAL_KEY_UNKNOWN, "seal 4")]


def last_seal(house):
    with house.store.reading() as snapshot:
        return snapshot.last_seal()


SAID = {
    "another state": {"state_root": b"x" * 32},
    "another number of accounts": {"accounts": 3},
    "another predecessor": {"previous": "1" * 64},
}


@pytest.mark.parametrize("instead", SAID.values(), ids=SAID.keys())
def test_a_signed_seal_that_says_something_else_is_found(two, instead):
    sealed_by(two, KEY, **instead)
    assert check(two.store).findings == [Finding(Fault.SEAL_MISMATCH, "seal 3")]


def test_seals_of_version_1_are_checked_by_their_own_rule(tmp_path):
    house = House(SqlStore(Database(f"sqlite:///{tmp_path}/old.db")))
    house.fund(1, 100)
    house.ledger.post(Entry("pay/1", "test.paid", (move(house.wallet(1), house.wallet(0), 3),)))
    with house.store.reading() as snapshot:
        root = state_root_v1(snapshot.accounts()).hex()
    seal = sealed_by(house, KEY)
    old = seal._replace(version=1, note="", state_root=root, signature="")
    old = old._replace(signature=KEY.sign(signed_bytes(old)))
    spoil(
        house,
        f"UPDATE seal SET version = 1, note = '', state_root = '{root}', signature = '{old.signature}' WHERE id = 1",
    )
    make_seal(house.store, KEY, house.clock)
    house.ledger.post(Entry("pay/2", "test.paid", (move(house.wallet(1), house.wallet(2), 3),)))
    make_seal(house.store, KEY, house.clock)
    assert faults(house) == set()
    with pytest.raises(SealUnknown):
        check(house.store, since=1)
    spoil(house, "UPDATE seal SET sealed_ms = 5 WHERE id = 1")
    assert {finding.place for finding in check(house.store).findings} == {"seal 1", "seal 2"}
    house.ledger.close()


def test_a_false_cosignature_is_found(house):
    seal, witness = last_seal(house), SigningKey(b"w" * 32)
    text, at_s = parse_note(seal.note).text, seal.sealed_ms // 1000 + 1
    line = str(cosignature_line(text, "auditor.example", witness, at_s)).rstrip("\n")
    house.store.add_cosignature(Cosignature(2, witness.public_hex, line, at_s * 1000))
    assert faults(house) == set()
    for false in (
        f"witnessed_ms = {at_s * 1000 + 5000}",
        "seal_id = 1",
        "signature = 'x'",
        f"public_key = '{KEY.public_hex}'",
    ):
        spoil(house, f"UPDATE cosignature SET {false}")
        assert faults(house) == {Fault.COSIGNATURE_INVALID}, false


def test_a_false_subtree_is_found(house):
    house.ledger.post_all([Entry(f"fill/{number}", "test.noted") for number in range(600)])
    make_seal(house.store, KEY, house.clock)
    assert faults(house) == set()
    spoil(house, f"UPDATE subtree SET hash = '{'0' * 64}' WHERE place = 1")
    assert check(house.store).findings == [Finding(Fault.SUBTREE_MISMATCH, "subtree 8/1")]


MONTH_MS = 31 * 86_400_000


def test_an_entry_dated_into_a_closed_period_is_found(house):
    until_ms = house.clock.now_ms() - 1
    house.ledger.post(Entry("period/1", "test.closed", declares=(PeriodClose(until_ms),)))
    assert faults(house) == set()
    forge(house, Entry("forged/1", "test.forged", effective_ms=until_ms - 1))
    assert faults(house) == {Fault.PERIOD_VIOLATED}


def test_a_trial_balance_that_is_not_is_found(house):
    house.clock.advance_s(2 * MONTH_MS / 1000)
    entry = close_period(house.store, month_of(house), house.clock.now_ms())
    house.ledger.post(entry)
    assert faults(house) == set()
    house.clock.advance_s(2 * MONTH_MS / 1000)
    later = close_period(house.store, month_of(house), house.clock.now_ms())
    house.ledger.post(replace(later, facts={**later.facts, "trial_balance": "0" * 64}))
    assert check(house.store).findings == [Finding(Fault.TRIAL_BALANCE_MISMATCH, "entry 9")]


def month_of(house):
    from datetime import UTC, datetime

    then = datetime.fromtimestamp((house.clock.now_ms() - MONTH_MS) / 1000, UTC)
    return f"{then.year}-{then.month:02d}"


SCHEDULE = Policy("emission", 1, 0, '{"asset":"OTHER","steps":[{"from_ms":0,"per_day":86400000}]}')


@pytest.fixture
def emitting(house):
    """OTHER is emitted at one unit a millisecond."""
    house.ledger.post(Entry("policy/emission/1", "policy.declared", declares=(SCHEDULE,)))
    return house


def opened(house, number, from_ms, to_ms, pool=None, moved=None):
    pool = to_ms - from_ms if pool is None else pool
    facts = {"epoch": number, "from_ms": from_ms, "to_ms": to_ms, "pool": pool, "asset": "OTHER", "emission": 1}
    legs = (move(house.source(OTHER), Account(house.issuer, "pool", "OTHER"), moved or pool),)
    house.ledger.post(Entry(f"epoch/{number}/open", "epoch.opened", legs, facts))


def ended(house, number, paid, residue, root=""):
    pool = Account(house.issuer, "pool", "OTHER")
    legs = (
        move(pool, Account(house.members[0], "earned", "OTHER"), paid),
        move(pool, Account(house.issuer, "reserve", "OTHER"), residue),
    )
    row = house.ledger.post(Entry(f"epoch/{number}/end", "epoch.closed", legs, {"epoch": number}))
    leaf = f'{{"account":"{house.members[0]}:earned:OTHER","asset":"OTHER","cumulative":"{paid}"}}'
    facts = {"epoch": number, "at_seq": row.seq, "asset": "OTHER", "count": 1, "total": str(paid)}
    facts["root"] = root or leaf_hash(leaf.encode()).hex()
    house.ledger.post(Entry(f"epoch/{number}/claims", "claims.published", facts=facts))


def test_a_sound_epoch_has_no_findings(emitting):
    opened(emitting, 1, 1000, 1100)
    ended(emitting, 1, 60, 40)
    opened(emitting, 2, 1100, 1200)
    assert faults(emitting) == set()


ISSUED = {
    "outside of epochs": lambda house: house.ledger.post(
        Entry("gift/1", "test.given", (move(house.source(OTHER), house.wallet(0, OTHER), 1),))
    ),
    "above the schedule": lambda house: opened(house, 1, 1000, 1100, pool=101),
    "above what the entry says": lambda house: opened(house, 1, 1000, 1100, moved=101),
}


@pytest.mark.parametrize("done", ISSUED.values(), ids=ISSUED.keys())
def test_more_than_the_emission_is_found(emitting, done):
    done(emitting)
    assert faults(emitting) == {Fault.ISSUANCE_ABOVE_EMISSION}


@pytest.mark.parametrize(("number", "from_ms"), [(3, 1100), (2, 1050), (1, 1100)])
def test_an_epoch_out_of_turn_is_found(emitting, number, from_ms):
    opened(emitting, 1, 1000, 1100)
    entry_id = f"epoch/{number}/open"
    if number == 1:
        facts = {"epoch": 1, "from_ms": 1100, "to_ms": 1200, "pool": 0, "asset": "OTHER", "emission": 1}
        emitting.ledger.post(Entry("epoch/1/open-again", "epoch.opened", (), facts))
    else:
        opened(emitting, number, from_ms, 1200)
    assert emitting.ledger.find(entry_id)
    assert faults(emitting) == {Fault.EPOCH_OUT_OF_ORDER}


def test_what_is_left_in_a_pool_is_found(emitting):
    opened(emitting, 1, 1000, 1100)
    ended(emitting, 1, 60, 39)
    assert check(emitting.store).findings == [Finding(Fault.POOL_NOT_EMPTY, "epoch 1")]


def test_claims_that_are_not_the_credits_are_found(emitting):
    opened(emitting, 1, 1000, 1100)
    ended(emitting, 1, 60, 40, root=EMPTY_ROOT.hex())
    assert check(emitting.store).findings == [Finding(Fault.CLAIMS_MISMATCH, "epoch 1")]


def test_a_check_since_a_seal_looks_at_what_came_after(house):
    held(house, 60)
    house.clock.advance_s(30)
    make_seal(house.store, KEY, house.clock)
    house.ledger.post(Entry("settle/2", "test.settled", (settle(PendingRef("hold/2", 0), 40),)))
    house.ledger.post(Entry("party/9", "party.declared", declares=(Party(house.ids.new("pty"), "node"),)))
    house.ledger.post(Entry("pay/3", "test.paid", (move(house.source(OTHER), house.wallet(1, OTHER), 3),)))
    checked = check(house.store, since=3)
    assert (checked.entries, checked.transfers, checked.seals, checked.findings) == (3, 2, 0, [])
    assert [check(house.store, since=number).findings for number in (1, 2)] == [[], []]
    forge(house, Entry("forged/1", "test.forged", (move(house.wallet(2), house.wallet(1), 600),)))
    assert faults(house, since=3) == {Fault.LIMIT_VIOLATED}


SINCE = {
    "settled again": (
        lambda house: forge(house, Entry("forged/1", "test.forged", (settle(PendingRef("hold/1", 0), 7),))),
        {Fault.DOUBLE_RESOLUTION},
    ),
    "a balance raised": (
        lambda house: spoil(house, "UPDATE account SET credit_posted = credit_posted + 1 WHERE id = 2"),
        {Fault.SEAL_MISMATCH, Fault.SUM_MISMATCH},
    ),
    "a party put in": (
        lambda house: spoil(house, "INSERT INTO party VALUES (9, 'pty_00000000000000000000000000', 'hub', NULL)"),
        set(),
    ),
    "an amount raised": (
        lambda house: spoil(house, "UPDATE transfer SET amount = 4 WHERE entry_seq = 7"),
        {Fault.TRANSFER_MISMATCH, Fault.SEAL_MISMATCH, Fault.BALANCE_MISMATCH},
    ),
}


@pytest.mark.parametrize(("done", "expected"), SINCE.values(), ids=SINCE.keys())
def test_what_was_spoiled_before_a_seal_shows_in_its_state(house, done, expected):
    done(house)
    assert faults(house, since=2) >= expected


def test_there_is_no_check_since_a_seal_that_is_not(house):
    with pytest.raises(SealUnknown):
        check(house.store, since=9)


def test_a_second_process_finds_the_same(house, monkeypatch):
    spoil(house, *SPOILED["a sealed body rewritten"][0])
    alone = check(house.store)
    monkeypatch.setattr(checker, "_APART_ENTRIES", 0)
    assert sorted(check(house.store).findings) == sorted(alone.findings)


def test_a_long_check_says_how_far_it_is(house):
    said = []
    check(house.store, progress=lambda done, last: said.append((done, last)))
    assert said == [(7, 7)]


def test_each_finding_has_a_test():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [fault.name for fault in Fault if f"Fault.{fault.name}" not in text] == []
    assert json.dumps([Fault.SUM_MISMATCH]) == '["sum-mismatch"]'
