"""The stores of the network side under one contract: memory, SQLite, PostgreSQL."""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, MetaData, Table, insert, update

from bithive.canonical import canonical
from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from bithive.keys import SigningKey
from bithive.offer import DataClass, Urgency
from bithive.outbox import Event
from cluster import moves, tables_sql
from cluster.attempt import Attempt, AttemptEvent, after
from cluster.cell_record import CellRecord, NodeRecord, Strike
from cluster.cell_store import CellStore, MemoryCellStore
from cluster.cell_store_sql import SqlCellStore
from cluster.filters import why_not
from cluster.metadata_sql import METADATA
from cluster.moves import Durations
from cluster.network_sql import MIGRATIONS
from cluster.offers import OfferRecord, OfferState
from cluster.protocol import Grant
from cluster.store import Change, MemoryStore, Notice, Stale, Store
from cluster.store_sql import SqlStore
from tests.common import servers
from tests.common.network import SHA256, HandCell, make_offer

KINDS = ("memory", "sqlite", "postgresql")


@pytest.fixture(scope="module")
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Database]:
    opened: dict[str, Database] = {}

    def of(kind: str) -> Database:
        if kind not in opened:
            if kind == "sqlite":
                url = f"sqlite:///{tmp_path_factory.mktemp('network')}/network.db"
            else:
                url = servers.new_database(request.getfixturevalue("postgres_url"), "network")
            opened[kind] = Database(url)
            opened[kind].upgrade(MIGRATIONS)
            request.addfinalizer(opened[kind].close)
        return opened[kind]

    return of


def _emptied(database: Database) -> Database:
    with database.write() as connection:
        for table in METADATA.sorted_tables:
            connection.execute(table.delete())
    return database


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, databases: Callable[[str], Database]) -> Store:
    return MemoryStore() if request.param == "memory" else SqlStore(_emptied(databases(request.param)))


@pytest.fixture(params=KINDS)
def cells(request: pytest.FixtureRequest, databases: Callable[[str], Database]) -> CellStore:
    return MemoryCellStore() if request.param == "memory" else SqlCellStore(_emptied(databases(request.param)))


@pytest.fixture
def institution(ids: SeededIds) -> str:
    return ids.new("ins")


@pytest.fixture
def record(clock: ManualClock, ids: SeededIds, institution: str) -> Callable[..., OfferRecord]:
    def build(**changes: object) -> OfferRecord:
        made = make_offer(ids, clock, institution, **changes)
        return OfferRecord(made.offer, made.keys, "0" * 64, made.sealed_bytes, clock.now_ms(), clock.now_ms())

    return build


@pytest.fixture
def opened(clock: ManualClock, store: Store, record: Callable[..., OfferRecord]) -> Callable[..., OfferRecord]:
    def build(**changes: object) -> OfferRecord:
        new = record(**changes)
        store.commit(Change(new))
        store.commit(moves.opened(new, clock.now_ms()))
        found = store.offer(new.offer.offer_id)
        assert found is not None
        return found

    return build


def lease(store: Store, record: OfferRecord, ids: SeededIds, clock: ManualClock) -> Attempt:
    change = moves.leased(record, ids.new("att"), "cel_1", clock.now_ms(), Durations())
    store.commit(change)
    assert change.attempt is not None
    return change.attempt


def test_records_come_back_as_they_were(
    store: Store, opened: Callable[..., OfferRecord], ids: SeededIds, clock: ManualClock
) -> None:
    record = opened(urgency=Urgency.HIGH, data_class=DataClass.P1)
    assert record.state is OfferState.OPEN
    attempt = lease(store, record, ids, clock)
    assert store.attempt(attempt.attempt_id) == attempt
    leased = store.offer(record.offer.offer_id)
    assert leased is not None
    assert leased == moves.leased(record, attempt.attempt_id, "cel_1", clock.now_ms(), Durations()).offer
    assert leased.keys == record.keys
    store.commit(moves.withdrawn(leased, attempt, clock.now_ms()))
    gone = store.offer(record.offer.offer_id)
    assert gone is not None
    assert gone.keys is None
    assert store.offer("off_absent") is None
    assert store.attempt("att_absent") is None


def test_the_queue_is_in_order(store: Store, opened: Callable[..., OfferRecord], clock: ManualClock) -> None:
    now_ms = clock.now_ms()
    records = [
        opened(urgency=urgency, deadline_ms=now_ms + deadline)
        for urgency in (Urgency.LOW, Urgency.HIGH, Urgency.MEDIUM)
        for deadline in (9_000_000, 5_000_000, 7_000_000)
    ]
    found = list(store.waiting(now_ms))
    assert found == sorted(records, key=lambda item: item.rank)
    assert list(store.waiting(now_ms, 4, 3)) == found[4:7]
    assert list(store.waiting(now_ms - 1)) == []


def test_a_change_from_an_old_revision_is_stale_and_leaves_nothing(
    store: Store, opened: Callable[..., OfferRecord], ids: SeededIds, clock: ManualClock, institution: str
) -> None:
    record = opened()
    attempt = lease(store, record, ids, clock)
    before = len(store.notices(institution, 0))
    with pytest.raises(Stale):
        lease(store, record, ids, clock)
    with pytest.raises(Stale):
        store.commit(Change(record))
    leased = store.offer(record.offer.offer_id)
    assert leased is not None
    ended = moves.expired(leased, attempt, clock.now_ms(), Durations())
    assert ended.attempt is not None
    store.commit(replace(ended, offer=None))
    with pytest.raises(Stale):
        store.commit(replace(ended, events=(Event("offer.closed", "x", {}),)))
    assert store.offer(record.offer.offer_id) == leased
    assert len(store.notices(institution, 0)) == before + 1
    assert [event.topic for event in store.outbox.waiting()] == ["offer.opened"]


def test_of_many_who_lease_at_once_one_wins(
    store: Store, opened: Callable[..., OfferRecord], ids: SeededIds, clock: ManualClock
) -> None:
    record, won, barrier = opened(), [], threading.Barrier(6)
    attempts = [ids.new("att") for _ in range(6)]

    def run(attempt_id: str) -> None:
        barrier.wait()
        try:
            store.commit(moves.leased(record, attempt_id, "cel_1", clock.now_ms(), Durations()))
        except Stale:
            return
        won.append(attempt_id)

    threads = [threading.Thread(target=run, args=(attempt_id,)) for attempt_id in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    found = store.offer(record.offer.offer_id)
    assert found is not None
    assert found.attempt_id == won[0]
    assert [item for item in attempts if store.attempt(item) is not None] == won


def test_what_is_due(
    store: Store,
    opened: Callable[..., OfferRecord],
    ids: SeededIds,
    clock: ManualClock,
    record: Callable[..., OfferRecord],
) -> None:
    now_ms = clock.now_ms()
    leased, waiting, awaiting = opened(), opened(deadline_ms=now_ms + 1000), record(deadline_ms=now_ms + 500)
    store.commit(Change(awaiting))
    attempt = lease(store, leased, ids, clock)
    assert store.due(now_ms).attempts == ()
    assert store.due(now_ms).offers == ()
    assert store.due(now_ms + 1000).offers == (awaiting, waiting)
    assert store.due(attempt.expires_ms - 1).attempts == ()
    assert store.due(attempt.expires_ms).attempts == (attempt,)
    beat = replace(attempt, state=after(attempt.state, AttemptEvent.HEARTBEAT), revision=2, expires_ms=now_ms + 99_000)
    store.commit(Change(None, beat))
    assert store.due(attempt.expires_ms).attempts == ()
    assert store.due(now_ms + 99_000, 1).offers == (awaiting,)


def test_unfinished_offers_are_counted_by_institution(
    store: Store, opened: Callable[..., OfferRecord], ids: SeededIds, clock: ManualClock, institution: str
) -> None:
    first, second, _third = opened(), opened(), opened()
    attempt = lease(store, first, ids, clock)
    assert store.unfinished(institution) == 3
    leased = store.offer(first.offer.offer_id)
    assert leased is not None
    store.commit(moves.withdrawn(leased, attempt, clock.now_ms()))
    store.commit(moves.overdue(second, clock.now_ms()))
    assert store.unfinished(institution) == 1
    assert store.unfinished(ids.new("ins")) == 0


def test_notices_are_in_order_and_by_institution(store: Store, ids: SeededIds, institution: str) -> None:
    other = ids.new("ins")
    for number in range(6):
        notice = Notice(institution if number % 2 else other, f"off_{number}", "offer.opened", number, {"n": number})
        store.commit(Change(notices=(notice,)))
    found = store.notices(institution, 0)
    assert [notice.body["n"] for notice in found] == [1, 3, 5]
    assert [notice.seq for notice in found] == sorted(notice.seq for notice in found)
    assert list(store.notices(institution, found[0].seq)) == list(found[1:])
    assert list(store.notices(institution, found[0].seq, 1)) == list(found[1:2])
    assert list(store.notices(institution, 10**9)) == []


def test_no_notice_appears_behind_a_reader(store: Store, institution: str) -> None:
    read: list[int] = []
    writing = [
        threading.Thread(
            target=lambda: [
                store.commit(Change(notices=(Notice(institution, "off_1", "offer.opened", 0),))) for _ in range(20)
            ]
        )
        for _ in range(4)
    ]
    for thread in writing:
        thread.start()
    while any(thread.is_alive() for thread in writing) or store.notices(institution, read[-1] if read else 0):
        read += [notice.seq for notice in store.notices(institution, read[-1] if read else 0)]
    assert len(read) == 80
    assert read == sorted(read)


def test_events_of_a_change_reach_the_outbox_once(store: Store, opened: Callable[..., OfferRecord]) -> None:
    record = opened()
    events = store.outbox.waiting()
    assert [(event.topic, event.key) for event in events] == [("offer.opened", record.offer.offer_id)]
    store.outbox.taken(events[0].seq)
    assert store.outbox.waiting() == []
    store.commit(Change(events=(replace(events[0], seq=0),)))
    assert store.outbox.waiting() == []


def test_a_cell_is_greeted(cells: CellStore) -> None:
    bundles = frozenset({"a" * 64, "b" * 64})
    cell = CellRecord("cel_1", "ins_1", "operator", "0" * 64, DataClass.P2, bundles, 5, memory_bytes=1 << 40)
    nodes = [NodeRecord(f"nod_{n}", "cel_1", str(n) * 64, 2, 1 << 40, 0, {"tier": "home"}, 1 << 41) for n in range(3)]
    assert cells.cell("cel_1") is None
    assert list(cells.greet(cell, nodes)) == nodes
    assert cells.cell("cel_1") == cell
    assert list(cells.nodes("cel_1")) == nodes
    cells.vet("cel_1", True)
    renamed = [replace(node, node=f"nod_9{n}", threads=4) for n, node in enumerate(nodes[:1])]
    later = replace(cell, operator="other", institution=None, data_class_max=DataClass.P0, seen_ms=9)
    assert list(cells.greet(later, renamed)) == [replace(nodes[0], threads=4)]
    assert cells.cell("cel_1") == replace(later, vetted=True)
    cells.attest("cel_1", "c" * 64, 7)
    cells.greet(later, [])
    assert cells.cell("cel_1") == replace(later, vetted=True, attested_ms=7, box_key="c" * 64)
    cells.attest("cel_1", "", 0)
    assert cells.cell("cel_1") == replace(later, vetted=True)
    assert [node.threads for node in cells.nodes("cel_1")] == [4, 2, 2]
    assert cells.nodes("cel_2") == []


def test_two_cells_may_have_a_node_of_the_same_key(cells: CellStore) -> None:
    for name in ("cel_1", "cel_2"):
        cell = CellRecord(name, None, "operator", "0" * 64, DataClass.P0, frozenset(), 5)
        cells.greet(cell, [NodeRecord(f"nod_{name}", name, "f" * 64, 1, 1)])
    assert [node.node for node in cells.nodes("cel_2")] == ["nod_cel_2"]


def test_the_same_hello_from_many_threads_is_one_cell(cells: CellStore) -> None:
    def greet(number: int) -> None:
        cell = CellRecord("cel_1", None, "operator", "0" * 64, DataClass.P0, frozenset(), number)
        found.append(cells.greet(cell, [NodeRecord(f"nod_{number}", "cel_1", "f" * 64, 1, 1)])[0].node)

    found: list[str] = []
    threads = [threading.Thread(target=greet, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_strikes_stay(cells: CellStore) -> None:
    strikes = [Strike(f"att_{n}", "cel_1", "nod_1", "digest-differs", n) for n in range(3)]
    for strike in strikes:
        cells.strike(strike)
    assert list(cells.strikes("cel_1")) == strikes
    assert list(cells.strikes("cel_2")) == []


@pytest.fixture(params=KINDS[1:])
def migrated(request: pytest.FixtureRequest, databases: Callable[[str], Database]) -> Database:
    return databases(request.param)


def test_the_migrated_schema_is_the_declared_one(migrated: Database) -> None:
    assert tables_sql.OFFERS.metadata is METADATA
    with migrated.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    migrated.upgrade(MIGRATIONS)


def test_a_state_folder_from_before_is_read(tmp_path: Path, clock: ManualClock, ids: SeededIds) -> None:
    """Version 1 of the schema, with Offers without `memory_bytes` and a Receipt without `tf32` and `bf16`."""
    database = Database(f"sqlite:///{tmp_path}/network.db")
    _upgrade_to(database, "0001")
    institution, cell = ids.new("ins"), HandCell.__new__(HandCell)
    cell.key, cell.cell, cell.node = SigningKey(b"7" * 32), ids.new("cel"), ids.new("nod")
    made = make_offer(ids, clock, institution)
    waiting = OfferRecord(made.offer, made.keys, "0" * 64, made.sealed_bytes, clock.now_ms(), clock.now_ms())
    with database.write() as connection:
        for name, memory_bytes in (("nod_1", 5), ("nod_2", 7)):
            connection.execute(insert(_columns("nodes", -1)).values(name_values(cell.cell, name, memory_bytes)))
        connection.execute(insert(_columns("cells", -1)).values(cell_values(cell.cell)))
    database.upgrade(MIGRATIONS)
    store, cells = SqlStore(database), SqlCellStore(database)
    store.commit(Change(waiting))
    store.commit(moves.opened(waiting, clock.now_ms()))
    opened = store.offer(made.offer.offer_id)
    assert opened is not None
    leased = lease(store, opened, ids, clock)
    grant = Grant(leased.attempt_id, 1, leased.expires_ms, made.offer, made.keys)
    receipt = cell.receipt(grant, made.payload, b"x").to_json()
    since = ("tf32", "bf16", "gpu", "gpu_memory_bytes", "sealed_input_bytes", "sealed_output_bytes", "meter")
    before = {name: value for name, value in receipt.items() if name not in (*since, "signature")}
    signed = b"bithive.receipt.v1\x00" + canonical(before)
    offer = {name: value for name, value in made.offer.to_json().items() if name != "memory_bytes"}
    with database.write() as connection:
        connection.execute(update(tables_sql.OFFERS).values(body=json.dumps(offer)))
        row = json.dumps({**before, "signature": cell.key.sign(signed)})
        connection.execute(update(tables_sql.ATTEMPTS).values(receipt=row, state="ACCEPTED"))
    read, attempt = store.offer(made.offer.offer_id), store.attempt(leased.attempt_id)
    assert read is not None and attempt is not None and attempt.receipt is not None
    assert read.offer == replace(made.offer, memory_bytes=1)
    attempt.receipt.check_signature()
    assert attempt.receipt.digest == hashlib.sha256(signed).hexdigest()
    known = cells.cell(cell.cell)
    assert known is not None
    assert known.memory_bytes == 7
    assert why_not(replace(known, institution=institution, bundles=frozenset({SHA256})), read.offer) is None
    assert [node.machine_memory_bytes for node in cells.nodes(cell.cell)] == [0, 0]
    database.close()


def _upgrade_to(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _columns(name: str, last: int) -> Table:
    """A table as it was: without its newest column."""
    now = METADATA.tables[name]
    return Table(name, MetaData(), *(Column(column.name, column.type) for column in list(now.columns)[:last]))


def name_values(cell: str, node: str, memory_bytes: int) -> dict[str, object]:
    values = {"node": node, "cell": cell, "node_key": node, "threads": 2, "memory_bytes": memory_bytes, "gpus": 0}
    return {**values, "labels": "{}"}


def cell_values(cell: str) -> dict[str, object]:
    values = {"cell": cell, "institution": None, "operator": "o", "cell_key": "0" * 64, "data_class_max": "P3"}
    return {**values, "vetted": False, "bundles": "[]", "seen_ms": 1}


def test_destroyed_keys_are_not_in_the_file(tmp_path: Path, clock: ManualClock, ids: SeededIds) -> None:
    database = Database(f"sqlite:///{tmp_path}/network.db")
    database.upgrade(MIGRATIONS)
    store = SqlStore(database)
    made = make_offer(ids, clock, ids.new("ins"))
    record = OfferRecord(made.offer, made.keys, "0" * 64, made.sealed_bytes, 1, 1)
    store.commit(Change(record))
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert made.keys.payload_key in (tmp_path / "network.db").read_bytes()
    store.commit(moves.withdrawn(record, None, 2))
    database.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made.keys.payload_key not in content
    assert made.keys.digest_key not in content
