"""Counter-receipts, findings seen before and who was there under one contract: memory, SQLite, PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from bithive.keys import SigningKey
from cluster import moves
from cluster.broker import Broker
from cluster.cell_record import Strike
from cluster.cell_store import CellStore, MemoryCellStore
from cluster.cell_store_sql import SqlCellStore
from cluster.chain import Head, verify_chain
from cluster.chain_store import MemoryChainStore, Noted
from cluster.chain_store_sql import SqlChainStore
from cluster.counter import ACCEPTED, CounterReceipt
from cluster.duplicates import REPEATED, Sighting
from cluster.metadata_sql import METADATA
from cluster.moves import Durations
from cluster.network_sql import MIGRATIONS
from cluster.offers import OfferRecord
from cluster.online_store import MemoryOnlineStore, Stretch
from cluster.online_store_sql import SqlOnlineStore
from cluster.spool import Spool
from cluster.store import Change, MemoryStore, Stale, Store
from cluster.store_sql import SqlStore
from cluster.tables_receipts_sql import COUNTER_RECEIPTS, STRETCHES
from tests.common import servers
from tests.common.network import HandCell, Scene, make_offer, put_offer, volume

KINDS = ("memory", "sqlite", "postgresql")
KEY = SigningKey(b"n" * 32)


@pytest.fixture(scope="module")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Database]]:
    opened: dict[str, Database] = {}

    def of(kind: str) -> Database:
        if kind not in opened:
            url = f"sqlite:///{tmp_path_factory.mktemp('receipts')}/network.db"
            if kind == "postgresql":
                url = servers.new_database(request.getfixturevalue("postgres_url"), "receipts")
            opened[kind] = Database(url)
            opened[kind].upgrade(MIGRATIONS)
        with opened[kind].write() as connection:
            for table in METADATA.sorted_tables:
                connection.execute(table.delete())
        return opened[kind]

    yield of
    for database in opened.values():
        database.close()


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, databases: Callable[[str], Database]) -> tuple[Store, CellStore]:
    if request.param == "memory":
        return MemoryStore(), MemoryCellStore()
    database = databases(request.param)
    return SqlStore(database), SqlCellStore(database)


@pytest.fixture
def store(stores: tuple[Store, CellStore]) -> Store:
    return stores[0]


def test_each_store_is_of_its_kind(store: Store) -> None:
    kinds = (MemoryChainStore, MemoryOnlineStore) if isinstance(store, MemoryStore) else (SqlChainStore, SqlOnlineStore)
    assert isinstance(store.chain, kinds[0])
    assert isinstance(store.online, kinds[1])
    assert COUNTER_RECEIPTS.metadata is STRETCHES.metadata is METADATA


def counter(head: Head, attempt_id: str, verdict: str = ACCEPTED, subject: str = "nod_1") -> CounterReceipt:
    return CounterReceipt(
        subject,
        head.sequence + 1,
        head.digest,
        "ab" * 32,
        attempt_id,
        "cel_1",
        subject,
        1,
        2 + head.sequence,
        1,
        5,
        verdict,
        KEY.public_hex,
    ).sign(KEY)


def test_a_chain_grows_by_one_at_a_time(store: Store) -> None:
    for number in range(5):
        store.commit(Change(noted=Noted(counter(store.chain.head("nod_1"), f"att_{number}"))))
    store.commit(Change(noted=Noted(counter(store.chain.head("nod_2"), "att_9", subject="nod_2"))))
    found = list(store.chain.counters("nod_1"))
    assert verify_chain(found, KEY.public_hex).accepted == 5
    assert list(store.chain.counters("nod_1", 2, 2)) == found[2:4]
    assert store.chain.head("nod_2").sequence == 1
    assert (store.chain.head("nod_3"), list(store.chain.counters("nod_3"))) == (Head(), [])


def test_the_same_place_twice_is_stale_and_leaves_nothing(store: Store) -> None:
    head = store.chain.head("nod_1")
    store.commit(Change(noted=Noted(counter(head, "att_1"))))
    with pytest.raises(Stale):
        store.commit(Change(noted=Noted(counter(head, "att_2"), sighting("a", "x"))))
    assert store.chain.twin(sighting("a", "y")) is None
    assert list(store.chain.of_attempt("att_2")) == []


def test_a_verdict_is_given_once(store: Store) -> None:
    store.commit(Change(noted=Noted(counter(store.chain.head("nod_1"), "att_1"))))
    with pytest.raises(Stale):
        store.commit(Change(noted=Noted(counter(store.chain.head("nod_1"), "att_1"))))
    store.commit(Change(noted=Noted(counter(store.chain.head("nod_1"), "att_1", "lease-lost"))))
    assert [item.verdict for item in store.chain.of_attempt("att_1")] == [ACCEPTED, "lease-lost"]


def test_many_at_once_make_one_chain(store: Store) -> None:
    def write(name: int) -> None:
        for number in range(6):
            while True:
                try:
                    store.commit(Change(noted=Noted(counter(store.chain.head("nod_1"), f"att_{name}_{number}"))))
                    break
                except Stale:
                    continue

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verified = verify_chain(store.chain.counters("nod_1"), KEY.public_hex)
    assert (verified.holds, verified.accepted) == (True, 24)


def sighting(findings: str, part: str, attempt_id: str = "att_1", period: int = 3, bundle: str = "b") -> Sighting:
    return Sighting(bundle * 64, findings * 64, part * 64, attempt_id, period, 5)


def test_findings_are_found_by_another_input_only(store: Store) -> None:
    first = sighting("a", "1")
    store.commit(Change(noted=Noted(sighting=first)))
    store.commit(Change(noted=Noted(sighting=replace(first, attempt_id="att_2", at_ms=9))))
    assert store.chain.twin(first) is None
    assert store.chain.twin(sighting("a", "2")) == first
    assert store.chain.twin(sighting("c", "2")) is None
    assert store.chain.twin(sighting("a", "2", bundle="d")) is None
    store.chain.forget(3)
    assert store.chain.twin(sighting("a", "2")) == first
    store.chain.forget(4)
    assert store.chain.twin(sighting("a", "2")) is None


def test_flagged_attempts_are_listed(store: Store, ids: SeededIds, clock: ManualClock) -> None:
    made = make_offer(ids, clock, ids.new("ins"))
    record = OfferRecord(made.offer, made.keys, "0" * 64, made.sealed_bytes, clock.now_ms(), clock.now_ms())
    store.commit(Change(record))
    store.commit(moves.opened(record, clock.now_ms()))
    opened = store.offer(made.offer.offer_id)
    assert opened is not None
    change = moves.leased(opened, ids.new("att"), "cel_1", clock.now_ms(), Durations())
    store.commit(change)
    assert change.attempt is not None
    flagged = replace(change.attempt, node="nod_1", flag=REPEATED, revision=2)
    store.commit(Change(others=(flagged,)))
    assert list(store.flagged("nod_1")) == [flagged]
    assert list(store.flagged("nod_2")) == []
    with pytest.raises(Stale):
        store.commit(Change(others=(flagged,)))


def test_stretches_and_watches_come_back(store: Store) -> None:
    first = Stretch("nod_1", "cel_1", 0, 5, "{}", 9, 0, ((5, 7), (8, 9)))
    second = replace(first, from_ms=3_600_000, spans=())
    store.online.save([first, second], (5, 9))
    changed = replace(first, spans=((5, 20),), heard_ms=20, left_ms=20)
    store.online.save([changed], (5, 20))
    store.online.save([], (30, 40))
    assert sorted(store.online.stretches(), key=lambda item: item.from_ms) == [changed, second]
    assert list(store.online.watches()) == [(5, 20), (30, 40)]
    store.online.drop([changed.key, ("nod_9", 1)], 25)
    assert list(store.online.stretches()) == [second]
    assert list(store.online.watches()) == [(30, 40)]


def test_a_strike_is_one_however_often_it_is_told(stores: tuple[Store, CellStore]) -> None:
    _, cells = stores
    for at_ms in (1, 2):
        cells.strike(Strike("att_1", "cel_1", "nod_1", "digest-differs", at_ms))
    cells.strike(Strike("att_1", "cel_1", "nod_1", "lease-lost", 3))
    assert [(strike.code, strike.at_ms) for strike in cells.strikes("cel_1")] == [
        ("digest-differs", 1),
        ("lease-lost", 3),
    ]


def test_the_whole_way_on_each_store(stores: tuple[Store, CellStore], tmp_path: Path) -> None:
    """Two inputs, one answer: both flagged, both in the chain; a hub that starts again goes on with it."""
    store, cells = stores
    clock = ManualClock()
    ids = SeededIds(1, clock)
    broker = Broker(store, clock, ids, Spool(tmp_path), cells=cells, network_key=KEY)
    institution = ids.new("ins")
    stage = Scene(clock, ids, broker, institution, HandCell(broker, ids, institution))
    copied = volume(1, (30, 30, 30)).to_bytes()
    for seed in (1, 2):
        made = stage.offer(image=volume(seed, (30, 30, 30)))
        grant = stage.cell.lease()
        clock.advance_s(1)
        stage.cell.finish(grant, made.payload, findings=stage.cell.findings(grant, copied))
    assert [item.flag for item in store.flagged(stage.cell.node)] == [REPEATED, REPEATED]
    again = Broker(store, clock, ids, Spool(tmp_path), cells=cells, network_key=KEY)
    stage.cell.broker = stage.cell.network.broker = again
    made = make_offer(ids, clock, institution, volume(3))
    put_offer(again, made)
    stage.cell.finish(stage.cell.lease(), made.payload)
    verified = verify_chain(again.counters(stage.cell.cell, stage.cell.node), KEY.public_hex)
    assert (verified.holds, verified.accepted) == (True, 3)
