"""Every store of accounts keeps the same promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from api.accounts import Account, Credential, Kind, MemoryAccountStore
from api.accounts_sql import SqlAccountStore
from api.errors import AccountExists
from api.metadata_sql import METADATA
from bithive.database_sql import Database
from tests.common.servers import new_database

MIGRATIONS = Path(__file__).resolve().parents[2] / "api" / "migrations"
NOW = 1_000_000


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryAccountStore()
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/accounts.db"
    else:
        url = new_database(request.getfixturevalue("postgres_url"), "accounts")
    database = Database(url)
    database.upgrade(MIGRATIONS)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    yield SqlAccountStore(database)
    database.close()


@pytest.fixture
def account(store):
    account = Account("acc_1", "dr.roe", "clinician", "ins_1")
    store.add(account)
    return account


def test_names_are_unique(store, account):
    with pytest.raises(AccountExists):
        store.add(Account("acc_2", "dr.roe", "pacs"))
    store.add(Account("acc_2", "pacs", "pacs"))
    assert [known.name for known in store.accounts()] == ["dr.roe", "pacs"]


def test_a_credential_is_of_one_kind(store, account):
    store.give(Credential("a" * 64, Kind.TOKEN, "acc_1"), NOW)
    assert store.holder(Kind.TOKEN, "a" * 64, NOW) == account
    assert store.holder(Kind.SESSION, "a" * 64, NOW) is None
    assert store.consume(Kind.LINK, "a" * 64, NOW) is None
    assert store.holder(Kind.TOKEN, "b" * 64, NOW) is None


def test_it_expires(store, account):
    store.give(Credential("a" * 64, Kind.SESSION, "acc_1", NOW + 10), NOW)
    assert store.holder(Kind.SESSION, "a" * 64, NOW + 9) == account
    assert store.holder(Kind.SESSION, "a" * 64, NOW + 10) is None
    assert store.consume(Kind.SESSION, "a" * 64, NOW + 10) is None


def test_only_one_token(store, account):
    store.give(Credential("a" * 64, Kind.TOKEN, "acc_1"), NOW, only=True)
    store.give(Credential("c" * 64, Kind.SESSION, "acc_1", NOW + 99), NOW)
    store.give(Credential("b" * 64, Kind.TOKEN, "acc_1"), NOW, only=True)
    assert store.holder(Kind.TOKEN, "a" * 64, NOW) is None
    assert store.holder(Kind.TOKEN, "b" * 64, NOW) == account
    assert store.holder(Kind.SESSION, "c" * 64, NOW) == account


def test_disabled(store, account):
    store.give(Credential("a" * 64, Kind.TOKEN, "acc_1"), NOW)
    store.give(Credential("b" * 64, Kind.LINK, "acc_1", NOW + 10), NOW)
    store.disable("acc_1")
    assert store.holder(Kind.TOKEN, "a" * 64, NOW) is None
    assert store.consume(Kind.LINK, "b" * 64, NOW) is None
    assert store.accounts()[0].disabled


def test_a_link_is_spent_once_however_many_try(store, account):
    for attempt in range(5):
        digest = f"{attempt:064x}"
        store.give(Credential(digest, Kind.LINK, "acc_1", NOW + 10), NOW)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: store.consume(Kind.LINK, digest, NOW), range(8)))  # noqa: B023
        assert [one for one in found if one is not None] == [account]


def test_the_institution_is_chosen_once(store):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda number: store.institution(f"ins_{number}"), range(8)))
    assert len(found) == 1
    assert store.institution("ins_99") in found
