"""The register of keys and invites under one contract: memory, SQLite, PostgreSQL."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from bithive.database_sql import Database
from bithive.offer import DataClass
from cluster.cell_record import CellRecord, NodeRecord
from cluster.cell_store import CellStore, MemoryCellStore
from cluster.cell_store_sql import SqlCellStore
from cluster.data_classes import Terms
from cluster.labels import Tier
from cluster.metadata_sql import METADATA
from cluster.network_sql import MIGRATIONS
from cluster.protocol import Accelerator
from cluster.register import InviteRecord, Registration
from cluster.register_store import MemoryRegister, RegisterStore
from cluster.register_store_sql import SqlRegister
from tests.common import servers

KINDS = ("memory", "sqlite", "postgresql")
TERMS = Terms("ins_1", True, Tier.DATACENTER, "DE", DataClass.P2)
FIRST = Registration("cel_1", "a" * 64, TERMS, 5, operator="racks")


@pytest.fixture(scope="module")
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Database]:
    opened: dict[str, Database] = {}

    def of(kind: str) -> Database:
        if kind not in opened:
            if kind == "sqlite":
                url = f"sqlite:///{tmp_path_factory.mktemp('register')}/network.db"
            else:
                url = servers.new_database(request.getfixturevalue("postgres_url"), "register")
            opened[kind] = Database(url)
            opened[kind].upgrade(MIGRATIONS)
            request.addfinalizer(opened[kind].close)
        with opened[kind].write() as connection:
            for table in METADATA.sorted_tables:
                connection.execute(table.delete())
        return opened[kind]

    return of


@pytest.fixture(params=KINDS)
def register(request: pytest.FixtureRequest, databases: Callable[[str], Database]) -> RegisterStore:
    return MemoryRegister() if request.param == "memory" else SqlRegister(databases(request.param))


@pytest.fixture(params=KINDS)
def cells(request: pytest.FixtureRequest, databases: Callable[[str], Database]) -> CellStore:
    return MemoryCellStore() if request.param == "memory" else SqlCellStore(databases(request.param))


def test_the_first_key_is_kept(register: RegisterStore) -> None:
    assert register.registration("cel_1") is None
    assert register.bind(FIRST) == FIRST
    assert register.bind(replace(FIRST, cell_key="b" * 64)) == FIRST
    assert register.registration("cel_1") == FIRST
    bare = Registration("cel_2", "c" * 64, None, 6)
    assert register.bind(bare) == bare == register.registration("cel_2")


def test_a_registration_changes_only_as_it_was_read(register: RegisterStore) -> None:
    register.bind(FIRST)
    second = replace(FIRST, cell_key="b" * 64, bound_ms=9)
    assert register.amend(second, FIRST)
    assert not register.amend(replace(FIRST, revoked_ms=10), FIRST)
    assert register.registration("cel_1") == second
    register.forget(FIRST)
    assert register.registration("cel_1") == second
    register.forget(second)
    assert register.registration("cel_1") is None


def invite(digest: str, cell: str = "cel_1", expires_ms: int = 100) -> InviteRecord:
    return InviteRecord(digest * 64, cell, "rack", TERMS, "racks", expires_ms)


def test_an_invite_is_one_keys(register: RegisterStore) -> None:
    register.issue(invite("1"))
    assert register.redeem("2" * 64, "a" * 64, 5) is None
    assert register.redeem("1" * 64, "a" * 64, 100) is None
    assert register.redeem("1" * 64, "a" * 64, 99) == invite("1")
    assert register.redeem("1" * 64, "b" * 64, 5) is None
    assert register.redeem("1" * 64, "a" * 64, 5) == replace(invite("1"), cell_key="a" * 64)


def test_a_new_invite_voids_the_earlier_ones_of_that_cell(register: RegisterStore) -> None:
    for item in (invite("1"), invite("2", "cel_2"), invite("3")):
        register.issue(item)
    assert register.redeem("1" * 64, "a" * 64, 5) is None
    assert register.redeem("2" * 64, "a" * 64, 5) is not None
    assert register.redeem("3" * 64, "a" * 64, 5) is not None


def test_of_many_keys_at_once_one_is_answered(register: RegisterStore) -> None:
    register.issue(invite("1"))
    found: list[InviteRecord | None] = []
    threads = [
        threading.Thread(target=lambda key=key: found.append(register.redeem("1" * 64, key * 64, 5))) for key in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert sum(item is not None for item in found) == 1


def test_of_many_bindings_at_once_one_is_kept(register: RegisterStore) -> None:
    found: list[Registration] = []
    threads = [
        threading.Thread(target=lambda key=key: found.append(register.bind(replace(FIRST, cell_key=key * 64))))
        for key in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert set(found) == {register.registration("cel_1")}


def test_the_history_of_a_nodes_key_outlives_hellos(cells: CellStore) -> None:
    cell = CellRecord("cel_1", None, "op", "0" * 64, DataClass.P0, frozenset(), 5, tier=Tier.HOME, residency="DE")
    node = NodeRecord(
        *("nod_1", "cel_1", "1" * 64, 2, 1 << 30, 1, {}, 1 << 31, "home", "DE", Accelerator("T4", 1 << 34)),
        timetable={"windows": [[0, 60]], "zone": "UTC"},
        caps={"threads": 2},
        slots=3,
    )
    cells.greet(cell, [node])
    assert cells.cell("cel_1") == cell
    assert cells.node("nod_1") == node
    assert cells.node("nod_2") is None
    rotated = replace(node, node_key="2" * 64, former_key="1" * 64, former_until_ms=99)
    cells.amend(rotated)
    assert list(cells.nodes("cel_1")) == [rotated]
    revoked = replace(rotated, revoked_ms=50)
    cells.amend(revoked)
    said = replace(node, node="nod_9", node_key="2" * 64, slots=1)
    again = replace(revoked, slots=1)
    assert list(cells.greet(cell, [said])) == [again]
    assert cells.node("nod_1") == again
