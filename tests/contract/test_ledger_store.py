"""Every store under the ledger keeps the same promises."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy import batch_sql, rows_sql, tables_sql
from economy.book import KeyRow
from economy.check import check
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
from economy.errors import (
    BadEntry,
    DeclarationDiffers,
    EntryDiffers,
    ExceedsPending,
    InsufficientFunds,
    LedgerFault,
    LedgerUnavailable,
    PendingResolved,
    PendingUnknown,
    PeriodClosed,
    PeriodRunning,
    SealConflict,
    UnknownAccountCode,
    UnknownOwner,
)
from economy.metadata_sql import METADATA
from economy.seal import make_seal
from economy.store import MemoryStore, seq_at
from economy.store_sql import SqlStore
from tests.common.economy import COIN, OTHER, House
from tests.common.servers import new_database

on_sql = pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def postgres_ledger(postgres_url):
    """One migrated database for all tests of this module."""
    url = new_database(postgres_url, "ledger")
    SqlStore(Database(url)).close()
    return url


@pytest.fixture
def url(kind, request, tmp_path):
    if kind == "postgres":
        url = request.getfixturevalue("postgres_ledger")
        empty(url)
        return url
    return f"sqlite:///{tmp_path}/ledger.db"


def empty(url):
    """Forget all, which only the database's own administrator can: the triggers are switched off for it."""
    database = Database(url)
    with database.write() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(METADATA.tables)}"))
    database.close()


@pytest.fixture
def house(kind, url):
    house = House(MemoryStore() if kind == "memory" else SqlStore(Database(url)))
    yield house
    if not house.ledger._closed:
        assert check(house.store).findings == []
    house.ledger.close()


@pytest.fixture
def sql(url, house):
    """A connection beside the ledger's own."""
    database = Database(url)
    yield database
    database.close()


def entry(name, *transfers, **more):
    return Entry(name, "test.done", transfers, **more)


def declared(house):
    with house.store.reading() as snapshot:
        return snapshot.declared()


@on_sql
def test_migrated_schema_is_the_declared_one(sql):
    with sql.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    if not sql.is_sqlite:
        # There a trigger sees to what a transfer refers to: test_a_transfer_refers_to_what_is_there.
        differences = [one for one in differences if one[0] != "add_fk" or one[1].parent.name != "transfer"]
    assert differences == []


def test_an_amount_moves(house):
    answer = house.ledger.post(entry("fund/1", move(house.source(), house.wallet(0), 500)))
    assert answer.seq == 2
    assert not answer.replayed
    assert house.net(house.wallet(0)) == 500
    assert house.net(house.source()) == -500
    assert house.ledger.get("fund/1").kind == "test.done"


def test_the_same_entry_again_is_a_replay(house):
    first = house.ledger.post(entry("fund/1", move(house.source(), house.wallet(0), 500)))
    again = house.ledger.post(entry("fund/1", move(house.source(), house.wallet(0), 500)))
    assert again == first._replace(replayed=True)
    assert house.net(house.wallet(0)) == 500


@pytest.mark.parametrize("change", [{"facts": {"why": "other"}}, {"effective_ms": 5}])
def test_the_same_id_with_another_content_is_refused(house, change):
    house.fund(0, 500, "fund/1")
    with pytest.raises(EntryDiffers):
        house.ledger.post(entry("fund/1", move(house.source(), house.wallet(0), 501)))
    with pytest.raises(EntryDiffers):
        house.ledger.post(Entry("fund/1", "funds.given", (move(house.source(), house.wallet(0), 500),), **change))
    assert house.net(house.wallet(0)) == 500


def test_a_limit_holds_and_a_refused_entry_leaves_nothing(house):
    house.fund(0, 500)
    with pytest.raises(InsufficientFunds):
        house.ledger.post(
            entry("pay/1", move(house.wallet(0), house.wallet(1), 300), move(house.wallet(0), house.wallet(2), 201))
        )
    assert house.net(house.wallet(0)) == 500
    assert house.ledger.balance(house.wallet(1)) is None
    assert house.ledger.find("pay/1") is None
    house.ledger.post(entry("pay/1", move(house.wallet(0), house.wallet(1), 300)))
    assert house.net(house.wallet(1)) == 300


def test_a_refused_entry_stops_no_other_in_its_batch(house):
    answers = house.ledger.post_all(
        [
            entry("pay/1", move(house.wallet(0), house.wallet(1), 1)),
            entry("fund/1", move(house.source(), house.wallet(0), 1)),
            entry("pay/2", move(house.wallet(0), house.wallet(1), 1)),
            entry("pay/3", move(house.wallet(0), house.wallet(1), 1)),
        ]
    )
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == ["InsufficientFunds", "Recorded", "Recorded", "InsufficientFunds"]


def test_the_same_id_twice_in_one_batch(house):
    one = entry("fund/1", move(house.source(), house.wallet(0), 1))
    other = entry("fund/1", move(house.source(), house.wallet(0), 2))
    first, again, differs = house.ledger.post_all([one, one, other])
    assert again == first._replace(replayed=True)
    assert isinstance(differs, EntryDiffers)


def test_a_hold_reserves_and_its_actual_releases_the_rest(house):
    house.fund(0, 500)
    house.ledger.post(entry("hold/1", hold(house.wallet(0), house.wallet(1), 400, 60)))
    assert house.available(house.wallet(0)) == 100
    assert house.available(house.wallet(1)) == 0
    with pytest.raises(InsufficientFunds):
        house.ledger.post(entry("pay/1", move(house.wallet(0), house.wallet(2), 101)))
    with pytest.raises(InsufficientFunds):
        house.ledger.post(entry("pay/2", move(house.wallet(1), house.wallet(2), 1)))
    ref = PendingRef("hold/1", 0)
    with pytest.raises(ExceedsPending):
        house.ledger.post(entry("settle/0", settle(ref, 401)))
    house.ledger.post(entry("settle/1", settle(ref, 150)))
    assert house.available(house.wallet(0)) == 350
    assert house.available(house.wallet(1)) == 150
    for again in (settle(ref), release(ref)):
        with pytest.raises(PendingResolved):
            house.ledger.post(entry("settle/2", again))


def test_a_hold_is_held_settled_and_spent_within_one_batch(house):
    house.fund(0, 10)
    ref = PendingRef("hold/1", 0)
    answers = house.ledger.post_all(
        [
            entry("hold/1", hold(house.wallet(0), house.wallet(1), 10, None)),
            entry("settle/1", settle(ref), move(house.wallet(1), house.wallet(2), 10)),
            entry("settle/2", settle(ref)),
        ]
    )
    assert [type(answer).__name__ for answer in answers] == ["Recorded", "Recorded", "PendingResolved"]
    assert house.net(house.wallet(2)) == 10


def test_what_is_not_pending_cannot_be_settled(house):
    house.fund(0, 10)
    for ref in (PendingRef("none", 0), PendingRef("fund/1", 0), PendingRef("fund/1", 7)):
        with pytest.raises(PendingUnknown):
            house.ledger.post(entry("settle/1", settle(ref)))


def test_holds_expire_in_order_before_anything_else_is_decided(house):
    house.fund(0, 30)
    for name, timeout_s in (("late", 20), ("early", 10), ("never", None)):
        house.ledger.post(entry(f"hold/{name}", hold(house.wallet(0), house.wallet(1), 10, timeout_s)))
    house.clock.advance_s(9.9)
    assert house.ledger.expire() == 0
    house.clock.advance_s(20)
    house.ledger.post(entry("pay/1", move(house.wallet(0), house.wallet(2), 20)))
    with house.store.reading() as snapshot:
        rows = snapshot.log(5)
    assert [row.kind for row in rows] == ["pending.expired", "pending.expired", "test.done"]
    assert [row.entry_id for row in rows] == ["expiry/4/0", "expiry/3/0", "pay/1"]
    with pytest.raises(PendingResolved):
        house.ledger.post(entry("settle/1", settle(PendingRef("hold/late", 0))))
    assert house.available(house.wallet(0)) == 0
    assert house.ledger.expire() == 0


def test_what_is_due_expires_without_an_entry(house):
    house.fund(0, 30)
    house.ledger.post(entry("hold/1", hold(house.wallet(0), house.wallet(1), 10, 5)))
    house.clock.advance_s(5.001)
    assert house.ledger.expire() == 1
    assert house.available(house.wallet(0)) == 30


def test_a_clock_that_goes_back_takes_no_entry_back(house):
    house.fund(0, 30)
    before = house.ledger.get("fund/1").recorded_us
    house.clock._now_ms -= 3_600_000
    assert house.ledger.post(entry("pay/1", move(house.wallet(0), house.wallet(1), 1))).recorded_us == before + 1


def test_an_entry_of_two_assets_is_one(house):
    house.ledger.post(
        entry("trade/1", move(house.source(), house.wallet(0), 5), move(house.source(OTHER), house.wallet(0, OTHER), 7))
    )
    assert house.net(house.wallet(0, OTHER)) == 7


def test_only_what_is_declared_has_accounts(house):
    stranger = house.ids.new("pty")
    with pytest.raises(UnknownOwner):
        house.ledger.post(entry("a", move(house.source(), Account(stranger, "credit", "COIN"), 1)))
    with pytest.raises(UnknownOwner):
        house.ledger.post(
            entry("a", move(Account(house.issuer, "issuance", "NONE"), Account(house.issuer, "credit", "NONE"), 1))
        )
    with pytest.raises(UnknownAccountCode):
        house.ledger.post(entry("a", move(house.source(), Account(house.members[0], "purse", "COIN"), 1)))
    house.ledger.post(entry("a", declares=(Party(stranger, "node"),)))
    house.ledger.post(entry("b", move(house.source(), Account(stranger, "credit", "COIN"), 1)))


def test_a_declaration_is_permanent(house):
    house.ledger.post(entry("same", declares=(COIN, Party(house.members[0], "node"))))
    for other in (Asset("COIN", 3, "test"), Party(house.members[0], "operator")):
        with pytest.raises(DeclarationDiffers):
            house.ledger.post(entry("other", declares=(other,)))


def test_expiries_are_not_for_clients(house):
    with pytest.raises(BadEntry):
        house.ledger.post(entry("expiry/1/0"))


def test_parties_are_found_by_their_keyed_digest(house):
    party = Party(house.ids.new("pty"), "node", "d" * 64)
    house.ledger.post(entry("party/1", declares=(party,)))
    assert house.store.party("node", "d" * 64) == party.party_id
    assert house.store.party("operator", "d" * 64) is None
    assert "d" * 64 not in house.ledger.get("party/1").content


def test_a_snapshot_pages(house):
    house.ledger.post_all([entry(f"fund/{n}", move(house.source(), house.wallet(n % 3), n)) for n in range(1, 8)])
    with house.store.reading() as snapshot:
        assert [row.seq for row in snapshot.log(2, 3)] == [3, 4, 5]
        assert [row.entry_id for row in snapshot.log(0, 9, kind="setup.done")] == ["setup/all"]
        assert [row.entry_seq for row in snapshot.transfers(2, 4)] == [3, 4]
        assert snapshot.find(["fund/1", "none"]).keys() == {"fund/1"}
        assert [item.account for item in snapshot.accounts([house.wallet(1), house.claim(1)])] == [house.wallet(1)]
        assert snapshot.head().seq == 8


def test_one_hot_account_from_many_threads(house):
    house.fund(0, 1000)
    refused, threads = [], 16

    def spend(number):
        for count in range(10):
            try:
                house.ledger.post(entry(f"pay/{number}/{count}", move(house.wallet(0), house.wallet(1), 7)))
            except InsufficientFunds:
                refused.append(number)

    crowd = [threading.Thread(target=spend, args=(number,)) for number in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert house.net(house.wallet(0)) == 1000 % 7
    assert house.net(house.wallet(1)) == 994
    assert len(refused) == threads * 10 - 142


def test_two_first_entries_of_an_account_that_does_not_exist_yet(house):
    """The empty-row race: neither may spend what no row yet says is not there."""
    answers = []

    def spend(number):
        try:
            answers.append(house.ledger.post(entry(f"pay/{number}", move(house.wallet(0), house.wallet(1), 1))))
        except InsufficientFunds as error:
            answers.append(error)

    crowd = [threading.Thread(target=spend, args=(number,)) for number in range(8)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert all(isinstance(answer, InsufficientFunds) for answer in answers)
    assert house.ledger.balance(house.wallet(0)) is None


def test_seals_take_their_places_once(house, tmp_path):
    key = SigningKey.load_or_create(tmp_path / "key")
    house.fund(0, 5)
    seal = make_seal(house.store, key, house.clock)
    assert (seal.seal_id, seal.from_seq, seal.to_seq) == (1, 1, 2)
    with pytest.raises(SealConflict):
        house.store.add_seal(seal)
    assert make_seal(house.store, key, house.clock) is None


def test_a_closed_ledger_says_so(house):
    house.ledger.close()
    house.ledger.close()
    with pytest.raises(LedgerUnavailable):
        house.ledger.post(entry("fund/1"))
    with pytest.raises(LedgerUnavailable):
        house.ledger.find("fund/1")


@on_sql
def test_two_writers_on_one_database(url, house):
    other = House.__new__(House)
    other.ledger = type(house.ledger)(SqlStore(Database(url)), house.clock)
    house.fund(0, 1000)
    ledgers = (house.ledger, other.ledger)
    errors = []

    def spend(number):
        for count in range(20):
            try:
                ledgers[number % 2].post(entry(f"pay/{number}/{count}", move(house.wallet(0), house.wallet(1), 10)))
            except InsufficientFunds:
                errors.append(number)

    crowd = [threading.Thread(target=spend, args=(number,)) for number in range(6)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert house.net(house.wallet(1)) == 1000
    assert len(errors) == 20
    other.ledger.close()


REFUSED_BY_SQL = {
    "an entry changed": "UPDATE entry SET kind = 'x.y'",
    "an entry deleted": "DELETE FROM entry",
    "a transfer changed": "UPDATE transfer SET amount = 1",
    "a transfer deleted": "DELETE FROM transfer",
    "a seal changed": "UPDATE seal SET log_root = ''",
    "a seal deleted": "DELETE FROM seal",
    "a policy changed": "UPDATE policy SET content = '{}'",
    "an account deleted": "DELETE FROM account",
    "a limit lifted": "UPDATE account SET limit_mode = 0",
    "an overdraft": "UPDATE account SET debit_posted = credit_posted + 1 WHERE limit_mode = 1",
    "a negative total": "UPDATE account SET debit_pending = -1",
    "nothing moved": "INSERT INTO transfer VALUES (3, 5, 1, 1, 2, 0, 0, NULL, NULL, NULL)",
    "to itself": "INSERT INTO transfer VALUES (3, 5, 1, 1, 1, 9, 0, NULL, NULL, NULL)",
    "of another asset": "INSERT INTO transfer VALUES (3, 5, 2, 1, 2, 9, 0, NULL, NULL, NULL)",
    "of no entry": "INSERT INTO transfer VALUES (99, 5, 1, 1, 2, 9, 0, NULL, NULL, NULL)",
    "a post of nothing": "INSERT INTO transfer VALUES (3, 5, 1, 1, 2, 9, 2, NULL, NULL, NULL)",
    "a second resolution": "INSERT INTO transfer VALUES (4, 5, 1, 1, 2, 9, 3, 3, 0, NULL)",
    "a number as text": "INSERT INTO transfer VALUES (3, 5, 1, 1, 2, 'many', 0, NULL, NULL, NULL)",
}


@on_sql
def test_sql_refuses_what_the_planner_would(house, sql):
    house.fund(0, 100)
    house.ledger.post(entry("hold/1", hold(house.wallet(0), house.wallet(1), 9, None)))
    house.ledger.post(entry("void/1", release(PendingRef("hold/1", 0))))
    make_seal(house.store, SigningKey(b"k" * 32), house.clock)
    house.ledger.post(entry("policy/1", declares=(Policy("rule", 1, 0, "{}"),)))
    for what, statement in REFUSED_BY_SQL.items():
        with pytest.raises(DBAPIError), sql.write() as connection:
            connection.execute(text(statement))
            pytest.fail(what)


@on_sql
def test_a_planner_that_is_wrong_is_stopped_by_sql(house, monkeypatch):
    """The second line: with limits switched off in memory, the database refuses, and others are not harmed."""
    from economy.book import Balance

    monkeypatch.setattr(Balance, "holds", lambda self: True)
    with capture_logs() as logs:
        answers = house.ledger.post_all(
            [
                entry("fund/1", move(house.source(), house.wallet(0), 5)),
                entry("pay/1", move(house.wallet(0), house.wallet(1), 60)),
                entry("fund/2", move(house.source(), house.wallet(0), 5)),
            ]
        )
    assert {log["event"] for log in logs} == {"ledger.batch_failed"}
    assert [type(answer).__name__ for answer in answers] == ["Recorded", "LedgerFault", "Recorded"]
    assert isinstance(answers[1], LedgerFault)
    assert house.net(house.wallet(0)) == 10


def test_a_key_is_declared_once_and_revoked_once(house):
    key = Key("ab" * 32, "seal", house.members[0])
    seq = house.ledger.post(entry("key/1", declares=(key,))).seq
    for name, other in (("again", key), ("officer", Key("ab" * 32, "officer", house.members[0]))):
        with pytest.raises(DeclarationDiffers):
            house.ledger.post(entry(f"key/{name}", declares=(other,)))
    with pytest.raises(UnknownOwner):
        house.ledger.post(entry("key/2", declares=(Key("cd" * 32, "seal", house.ids.new("pty")),)))
    with pytest.raises(DeclarationDiffers):
        house.ledger.post(entry("key/3", declares=(Key("ef" * 32, "seal", house.members[0], revoked=True),)))
    assert declared(house).keys == {"ab" * 32: KeyRow("ab" * 32, "seal", house.members[0], seq, None)}
    gone = replace(key, revoked=True)
    ended = house.ledger.post(entry("key/1/revoked", declares=(gone,))).seq
    for name, other in (("again", gone), ("back", key)):
        with pytest.raises(DeclarationDiffers):
            house.ledger.post(entry(f"key/1/{name}", declares=(other,)))
    assert declared(house).keys["ab" * 32].revoked_seq == ended


def test_a_key_is_declared_and_revoked_within_one_batch_and_a_refused_entry_leaves_neither(house):
    key = Key("ab" * 32, "seal", house.members[0])
    refused = move(house.wallet(0), house.wallet(1), 1)
    answers = house.ledger.post_all(
        [
            entry("key/0", refused, declares=(key,)),
            entry("key/1", declares=(key,)),
            entry("key/2", refused, declares=(replace(key, revoked=True),)),
            entry("key/3", declares=(replace(key, revoked=True),)),
            entry("key/4", refused, declares=(PeriodClose(house.clock.now_ms()),)),
        ]
    )
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == ["InsufficientFunds", "Recorded", "InsufficientFunds", "Recorded", "InsufficientFunds"]
    row = declared(house).keys["ab" * 32]
    assert (row.declared_seq, row.revoked_seq) == (answers[1].seq, answers[3].seq)
    assert declared(house).closed_until_ms == 0


def test_a_closed_period_takes_no_more_value_dates(house):
    now_ms = house.clock.now_ms()
    house.ledger.post(entry("period/1", declares=(PeriodClose(now_ms - 1000),)))
    with pytest.raises(PeriodClosed):
        house.ledger.post(entry("late", effective_ms=now_ms - 1001))
    house.ledger.post(entry("just", effective_ms=now_ms - 1000))
    house.ledger.post(entry("today"))
    for closed_until_ms in (now_ms - 1000, now_ms - 2000):
        with pytest.raises(DeclarationDiffers):
            house.ledger.post(entry("period/2", declares=(PeriodClose(closed_until_ms),)))
    with pytest.raises(PeriodRunning):
        house.ledger.post(entry("period/2", declares=(PeriodClose(now_ms + 60_000),)))
    assert declared(house).closed_until_ms == now_ms - 1000
    closed, late = house.ledger.post_all(
        [entry("period/3", declares=(PeriodClose(now_ms),)), entry("late", effective_ms=now_ms - 1)]
    )
    assert not isinstance(closed, PeriodClosed)
    assert isinstance(late, PeriodClosed)


def test_a_snapshot_shows_accounts_by_page_and_code_and_transfers_by_account(house):
    for n in range(3):
        house.fund(n, 10 + n, f"fund/{n}")
    house.ledger.post(entry("owe/1", move(house.claim(0), house.wallet(1), 5)))
    with house.store.reading() as snapshot:
        everything = snapshot.accounts()
        assert [item.account_id for item in everything] == [1, 2, 3, 4, 5]
        assert snapshot.accounts(after_id=1, limit=2) == everything[1:3]
        assert [item.account for item in snapshot.accounts(code="receivable")] == [house.claim(0)]
        assert snapshot.accounts([house.wallet(1), house.wallet(2)], limit=1) == [everything[2]]
        assert snapshot.accounts(after_id=5) == []
        wallet = everything[2].account_id
        assert [row.entry_seq for row in snapshot.transfers(0, 99, [wallet])] == [3, 5]
        assert snapshot.transfers(0, 99, []) == []
        assert [row.entry_seq for row in snapshot.transfers(0, 4, {wallet, 2})] == [2, 3]


def test_the_last_entry_before_a_time(house):
    seqs = []
    for n in range(5):
        house.clock.advance_s(1)
        seqs.append(house.ledger.post(entry(f"at/{n}")))
    with house.store.reading() as snapshot:
        assert seq_at(snapshot, 0) == 0
        assert seq_at(snapshot, seqs[2].recorded_us) == seqs[1].seq
        assert seq_at(snapshot, seqs[2].recorded_us + 1) == seqs[2].seq
        assert seq_at(snapshot, 2**60) == seqs[-1].seq


HOSTILE = ["back\\slash", "\\N", "None", "tab\tnew\nline\rreturn", 'quote"{},', "\u2028 \U0001f600 é", "", "a" * 1900]


@pytest.mark.parametrize("told", HOSTILE)
def test_what_an_entry_says_is_stored_word_for_word(house, told):
    sent = entry("says/1", facts={"told": told, "count": 1, "none": None, "yes": True})
    house.ledger.post(sent)
    row = house.ledger.get("says/1")
    assert row.content.encode() == sent.content
    assert json.loads(row.content)["facts"]["told"] == told
    assert house.ledger.post(sent).replayed


@on_sql
def test_what_another_writer_changed_is_read_again(url, house):
    """Totals kept from the last batch are believed only while the log has not grown."""
    other = type(house.ledger)(SqlStore(Database(url)), house.clock)
    house.fund(0, 100)
    for turn in range(4):
        ledger = (house.ledger, other)[turn % 2]
        ledger.post(entry(f"pay/{turn}", move(house.wallet(0), house.wallet(1), 20)))
        ledger.post(entry(f"more/{turn}", move(house.wallet(0), house.wallet(2), 5)))
    for ledger in (house.ledger, other):
        with pytest.raises(InsufficientFunds):
            ledger.post(entry("pay/all", move(house.wallet(0), house.wallet(1), 1)))
    assert house.net(house.wallet(1)) == 80
    other.close()


@on_sql
def test_what_could_not_be_committed_is_forgotten(house, monkeypatch):
    house.fund(0, 100)
    house.ledger.post(entry("pay/1", move(house.wallet(0), house.wallet(1), 10)))
    put = rows_sql.update_totals

    def fails(connection, balances):
        put(connection, balances)
        raise LedgerUnavailable

    monkeypatch.setattr(rows_sql, "update_totals", fails)
    with pytest.raises(LedgerUnavailable):
        house.ledger.post(entry("pay/2", move(house.wallet(0), house.wallet(1), 90)))
    monkeypatch.undo()
    house.ledger.post(entry("pay/3", move(house.wallet(0), house.wallet(1), 90)))
    with pytest.raises(InsufficientFunds):
        house.ledger.post(entry("pay/2", move(house.wallet(0), house.wallet(1), 90)))
    assert house.net(house.wallet(1)) == 100


@on_sql
def test_nobody_writes_between_a_commit_and_what_is_kept_of_it(house, monkeypatch):
    """Another thread would read totals that hold the commit already, and the version would be counted twice."""
    committed, load, order = batch_sql.SqlTransaction.committed, batch_sql.SqlTransaction.load, []
    reached = threading.Event()

    def slow(self):
        reached.set()
        time.sleep(0.3)
        committed(self)
        order.append("kept")

    def watched(self, wanted, now_ms):
        order.append("loaded")
        return load(self, wanted, now_ms)

    house.fund(0, 100)
    monkeypatch.setattr(batch_sql.SqlTransaction, "committed", slow)
    monkeypatch.setattr(batch_sql.SqlTransaction, "load", watched)
    pay = entry("pay/1", move(house.wallet(0), house.wallet(1), 10))
    thread = threading.Thread(target=house.ledger.post, args=(pay,))
    thread.start()
    assert reached.wait(10)
    house.ledger.expire()
    thread.join()
    assert order == ["loaded", "kept", "loaded", "kept"]
    monkeypatch.undo()
    house.ledger.post(entry("pay/2", move(house.wallet(0), house.wallet(1), 90)))
    assert house.net(house.wallet(1)) == 100


@on_sql
def test_what_is_remembered_is_bounded(house, monkeypatch):
    monkeypatch.setattr(batch_sql, "LEDGER_NAMES_MAX", 2)
    for turn in range(4):
        for member in range(3):
            house.fund(member, 10, f"fund/{turn}/{member}")
    for member in (1, 2):
        house.ledger.post(entry(f"hold/{member}", hold(house.wallet(member), house.wallet(0), 1, None)))
    names = house.store._names
    assert max(len(names.accounts), len(names.parties), len(names.numbers)) <= 4
    assert [house.available(house.wallet(member)) for member in range(3)] == [40, 39, 39]


class Undone(Exception):
    """Nothing of it stays."""


MORE_REFUSED_BY_SQL = {
    "a key deleted": "DELETE FROM signing_key",
    "a key given away": "UPDATE signing_key SET party = (SELECT MAX(code) FROM party)",
    "a key of another purpose": "UPDATE signing_key SET purpose = 'officer', revoked_seq = 3",
    "a revoked key back": "UPDATE signing_key SET revoked_seq = NULL WHERE revoked_seq IS NOT NULL",
    "a revocation moved": "UPDATE signing_key SET revoked_seq = 5 WHERE revoked_seq IS NOT NULL",
    "a period opened": "DELETE FROM period",
    "a period moved": "UPDATE period SET closed_until_ms = 1",
    "a subtree changed": "UPDATE subtree SET hash = hash",
    "a cosignature deleted": "DELETE FROM cosignature",
    "a transfer of no account": "INSERT INTO transfer VALUES (2, 5, 1, 1, 77, 9, 0, NULL, NULL, NULL)",
    "a debit of another asset": "INSERT INTO transfer VALUES (2, 5, 2, 1, 3, 9, 0, NULL, NULL, NULL)",
    "a post of what was never held": "INSERT INTO transfer VALUES (2, 5, 1, 1, 2, 9, 2, 1, 7, NULL)",
    "one wrong among good ones": (
        "INSERT INTO transfer VALUES (2, 5, 1, 1, 2, 9, 0, NULL, NULL, NULL), (2, 6, 1, 1, 99, 9, 0, NULL, NULL, NULL)"
    ),
}


@on_sql
def test_a_transfer_refers_to_what_is_there_and_keys_and_periods_stay(house, sql):
    house.ledger.post(
        entry("fund/1", move(house.source(), house.wallet(0), 9), move(house.source(OTHER), house.wallet(0, OTHER), 9))
    )
    for number in (1, 2):
        house.ledger.post(entry(f"key/{number}", declares=(Key(f"{number}b" * 32, "seal", house.members[0]),)))
    house.ledger.post(entry("key/1/gone", declares=(Key("1b" * 32, "seal", house.members[0], revoked=True),)))
    house.ledger.post(entry("period/1", declares=(PeriodClose(house.clock.now_ms()),)))
    with pytest.raises(Undone), sql.write() as connection:
        connection.execute(text(f"INSERT INTO subtree VALUES (8, 0, '{'0' * 64}')"))
        seal = (1, 1, 2, *"abcd", 5, "e", "f", 1, "")
        rows_sql.insert(connection, tables_sql.SEAL, [seal])
        connection.execute(text("INSERT INTO cosignature VALUES (1, 'k', 's', 1)"))
        for what, statement in MORE_REFUSED_BY_SQL.items():
            with pytest.raises(DBAPIError), connection.begin_nested():
                connection.execute(text(statement))
                pytest.fail(what)
        raise Undone


on_postgres = pytest.mark.parametrize("kind", ["postgres"], indirect=True)


@on_postgres
def test_a_connection_lost_while_rows_are_copied(house, sql, monkeypatch):
    send = rows_sql._copy

    def cut(connection, statement, lines):
        with sql.write() as other:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            other.execute(text(f"{ended} AND pid <> pg_backend_pid()"))
        send(connection, statement, lines)

    house.fund(0, 100)
    monkeypatch.setattr(rows_sql, "_copy", cut)
    with pytest.raises(LedgerUnavailable):
        house.ledger.post(entry("pay/1", move(house.wallet(0), house.wallet(1), 60)))
    monkeypatch.undo()
    for _ in range(40):  # connections of the pool that were cut as well are found out one by one
        try:
            answer = house.ledger.post(entry("pay/1", move(house.wallet(0), house.wallet(1), 60)))
            break
        except LedgerUnavailable:
            continue
    assert not answer.replayed
    assert house.net(house.wallet(0)) == 40


@on_postgres
def test_statements_leave_at_once(sql):
    """Nagle's algorithm would hold back the second piece of each large one for 40 ms."""
    with sql.read() as connection:
        stream = connection.connection.driver_connection._usock
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
