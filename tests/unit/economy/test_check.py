"""Each way to spoil a ledger is found, and named."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.check import Fault, check
from economy.entry import Entry, PendingRef, hold, move, release, settle
from economy.seal import make_seal
from economy.store_sql import SqlStore
from tests.common.economy import House

KEY = SigningKey(b"k" * 32)


@pytest.fixture
def house(tmp_path):
    house = House(SqlStore(Database(f"sqlite:///{tmp_path}/ledger.db")))
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


def spoil(house, *statements):
    """What an administrator of the database could do: the triggers and checks are out of the way."""
    database = house.store._database
    with database.write() as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        for name in names:
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("PRAGMA ignore_check_constraints = ON"))
        connection.execute(text("PRAGMA defer_foreign_keys = ON"))
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.execute(text("PRAGMA ignore_check_constraints = OFF"))


def faults(house):
    return {finding.fault for finding in check(house.store).findings}


def test_a_sound_ledger_has_no_findings(house):
    checked = check(house.store)
    assert checked.findings == []
    assert (checked.entries, checked.transfers, checked.seals) == (7, 8, 2)


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
        {Fault.HASH_MISMATCH, Fault.TRANSFER_MISMATCH, Fault.BALANCE_MISMATCH},
    ),
    "a kind rewritten": (["UPDATE entry SET kind = 'x.y' WHERE seq = 7"], {Fault.HASH_MISMATCH}),
    "a time rewritten": (
        ["UPDATE entry SET recorded_us = 5 WHERE seq = 7"],
        {Fault.HASH_MISMATCH, Fault.TIME_NOT_INCREASING},
    ),
    "an entry cut out": (
        ["DELETE FROM transfer WHERE entry_seq = 6", "DELETE FROM entry WHERE seq = 6"],
        {Fault.SEQUENCE_GAP, Fault.BALANCE_MISMATCH, Fault.SEAL_MISMATCH},
    ),
    "the end cut off": (
        ["DELETE FROM transfer WHERE entry_seq >= 6", "DELETE FROM entry WHERE seq >= 6"],
        {Fault.BALANCE_MISMATCH, Fault.SEAL_MISMATCH},
    ),
    "a seal rewritten": (["UPDATE seal SET state_root = log_root WHERE id = 2"], {Fault.SEAL_MISMATCH}),
    "a seal cut out": (["DELETE FROM seal WHERE id = 1"], {Fault.SEAL_MISMATCH}),
}


@pytest.mark.parametrize(("statements", "expected"), SPOILED.values(), ids=SPOILED.keys())
def test_what_is_spoiled_is_found(house, statements, expected):
    spoil(house, *statements)
    assert faults(house) == expected


def rewritten(house, seq, entry_id, *transfers):
    """An entry that the planner would have refused, forged with all its hashes and rows."""
    from economy.entry import leaf_bytes
    from economy.merkle import leaf_hash

    entry = Entry(entry_id, "test.forged", transfers)
    recorded_us = house.ledger.get("pay/2").recorded_us + seq
    leaf = leaf_hash(leaf_bytes(entry.content, recorded_us, seq)).hex()
    row = f"({seq}, '{entry_id}', 'test.forged', '{entry.request_hash}', {recorded_us}, 0, '{entry.content.decode()}', '{leaf}')"
    return f"INSERT INTO entry VALUES {row}"


FORGED = {
    "an overdraft": (
        lambda house: (move(house.wallet(2), house.wallet(1), 600),),
        {Fault.LIMIT_VIOLATED, Fault.TRANSFER_MISMATCH, Fault.BALANCE_MISMATCH},
    ),
    "a second resolution": (
        lambda house: (release(PendingRef("hold/1", 0)),),
        {Fault.DOUBLE_RESOLUTION, Fault.TRANSFER_MISMATCH, Fault.BALANCE_MISMATCH},
    ),
    "a post after the expiry": (
        lambda house: (settle(PendingRef("hold/1", 1), 51),),
        {
            Fault.DOUBLE_RESOLUTION,
            Fault.EXCEEDS_PENDING,
            Fault.RESOLVED_AFTER_EXPIRY,
            Fault.TRANSFER_MISMATCH,
            Fault.BALANCE_MISMATCH,
        },
    ),
    "a post of nothing": (lambda house: (settle(PendingRef("hold/9", 0)),), {Fault.PENDING_UNKNOWN}),
    "an account that is not": (lambda house: (move(house.claim(0), house.claim(1), 1),), {Fault.UNKNOWN_ACCOUNT}),
}


@pytest.mark.parametrize(("transfers", "expected"), FORGED.values(), ids=FORGED.keys())
def test_what_is_forged_is_found(house, transfers, expected):
    spoil(house, rewritten(house, 8, "forged/1", *transfers(house)))
    assert faults(house) >= expected


def test_a_seal_of_another_key_or_order_is_found(house):
    with house.store.reading() as snapshot:
        last = snapshot.seals()[-1]
    spoil(house, f"UPDATE seal SET signature = '{SigningKey(b'x' * 32).sign(b'other')}' WHERE id = {last.seal_id}")
    assert faults(house) == {Fault.SEAL_MISMATCH}
