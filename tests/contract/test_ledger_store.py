"""Every store under the ledger keeps the same promises."""

from __future__ import annotations

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.check import check
from economy.entry import Account, Asset, Entry, Party, PendingRef, hold, move, release, settle
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
    SealConflict,
    UnknownAccountCode,
    UnknownOwner,
)
from economy.metadata_sql import METADATA
from economy.seal import make_seal
from economy.store import MemoryStore
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
        connection.execute(text("TRUNCATE asset, party, policy, account, entry, transfer, seal"))
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


@on_sql
def test_migrated_schema_is_the_declared_one(sql):
    with sql.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


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
    with sql.write() as connection:
        connection.execute(text("INSERT INTO policy VALUES ('rule', 1, 0, '{}')"))
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
