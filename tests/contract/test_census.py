"""The census on SQLite and PostgreSQL: the same counts and lists from the same network."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from bithive.offer import DataClass, Urgency
from cluster import census
from cluster.broker import Broker
from cluster.cell_record import NodeRecord, Strike
from cluster.cell_store_sql import SqlCellStore
from cluster.census import EndLine, OfferLine, StrikeLine, Whose
from cluster.census_sql import SqlCensus
from cluster.errors import ReceiptRefused
from cluster.labels import Tier
from cluster.metadata_sql import METADATA
from cluster.moves import Durations
from cluster.network_sql import MIGRATIONS
from cluster.protocol_node import Accelerator
from cluster.spool import Spool
from cluster.store_sql import SqlStore
from tests.common import servers
from tests.common.network import HandCell, make_offer, put_offer

ALL = Whose(everything=True)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('census')}/network.db"
    else:
        url = servers.new_database(request.getfixturevalue("postgres_url"), "census")
    made = Database(url)
    made.upgrade(MIGRATIONS)
    yield made
    made.close()


class Site:
    """A broker on the database, two cells, and its census."""

    def __init__(self, database: Database, folder: Path) -> None:
        with database.write() as connection:
            for table in METADATA.sorted_tables:
                connection.execute(table.delete())
        self.clock = ManualClock()
        self.ids = SeededIds(5, self.clock)
        self.census: census.Census = SqlCensus(database)
        store, cells = SqlStore(database), SqlCellStore(database)
        durations = Durations(retry_pause_s=0.0)
        self.broker = Broker(store, self.clock, self.ids, Spool(folder), cells=cells, durations=durations)
        self.institution, self.other = self.ids.new("ins"), self.ids.new("ins")
        self.own = HandCell(self.broker, self.ids, self.institution, seed=1)
        self.clock.advance_s(1)
        self.foreign = HandCell(self.broker, self.ids, None, seed=2)

    def offer(self, **changes: object) -> bytes:
        made = make_offer(self.ids, self.clock, self.institution, **{"data_class": DataClass.P0, **changes})
        put_offer(self.broker, made)
        return made.payload

    def run(self, cell: HandCell, **lies: object) -> None:
        payload = self.offer()
        grant = cell.lease()
        self.clock.advance_s(2)
        try:
            cell.finish(grant, payload, **lies)
        except ReceiptRefused:
            self.broker.withdraw(self.institution, grant.offer.offer_id)


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return Site(database, tmp_path)


def test_who_sees_which_cells(site: Site) -> None:
    def seen(whose: Whose, limit: int = 100) -> tuple[list[str], int]:
        lines, total = site.census.cells(whose, limit)
        return [line.cell for line in lines], total

    assert seen(ALL) == ([site.foreign.cell, site.own.cell], 2)
    assert seen(ALL, 1) == ([site.foreign.cell], 2)
    assert seen(Whose(institution=site.institution)) == ([site.own.cell], 1)
    assert seen(Whose(institution=site.other)) == ([], 0)
    assert seen(Whose(cell=site.foreign.cell)) == ([site.foreign.cell], 1)
    assert seen(Whose()) == ([], 0)


def test_a_node_is_found_with_its_cell_by_whom_it_may_be_seen(site: Site) -> None:
    for whose in (ALL, Whose(cell=site.foreign.cell)):
        found = site.census.node(whose, site.foreign.node)
        assert found is not None
        assert (found[0].cell, found[1].node) == (site.foreign.cell, site.foreign.node)
    for whose in (Whose(), Whose(cell=site.own.cell), Whose(institution=site.institution)):
        assert site.census.node(whose, site.foreign.node) is None
    assert site.census.node(ALL, "nod_x") is None


def test_what_cells_and_nodes_say_of_themselves(site: Site) -> None:
    record = site.broker.cells.cell(site.foreign.cell)
    assert record is not None
    node = site.broker.cells.node(site.foreign.node)
    assert isinstance(node, NodeRecord)
    told = replace(node, tier="home", residency="DE", gpus=2, accelerator=Accelerator("NVIDIA L4", 24 << 30), slots=3)
    site.broker.cells.greet(replace(record, tier=Tier.DATACENTER, residency="FR"), [told])
    site.broker.cells.vet(site.foreign.cell, vetted=True)
    site.broker.cells.amend(replace(told, revoked_ms=7))
    line = site.census.cells(Whose(cell=site.foreign.cell))[0][0]
    assert (line.tier, line.residency, line.vetted, line.institution) == ("datacenter", "FR", True, None)
    found = site.census.nodes([site.foreign.cell])[0]
    assert (found.tier, found.accelerator, found.gpus, found.slots, found.revoked_ms) == ("home", "NVIDIA L4", 2, 3, 7)
    assert found.memory_bytes == 8 << 30
    assert len(site.census.nodes(None)) == 2
    assert site.census.nodes([]) == []


def test_leases_are_the_live_ones_of_whom_they_concern(site: Site) -> None:
    site.offer(urgency=Urgency.HIGH)
    grant = site.foreign.lease()
    site.foreign.beat(grant, "segmenting", 0.5)
    site.run(site.own)
    for whose in (ALL, Whose(institution=site.institution), Whose(cell=site.foreign.cell)):
        (line,) = site.census.leases(whose)
        assert (line.attempt_id, line.cell, line.node) == (grant.attempt_id, site.foreign.cell, site.foreign.node)
        assert (line.stage, line.fraction, line.urgency, line.data_class) == ("segmenting", 0.5, "HIGH", "P0")
    for whose in (Whose(), Whose(institution=site.other), Whose(cell=site.own.cell)):
        assert site.census.leases(whose) == []


def test_the_attempts_of_a_node_the_newest_first(site: Site) -> None:
    for _ in range(3):
        site.run(site.own)
    found = site.census.node(ALL, site.own.node)
    assert found is not None
    lines = site.census.attempts(found[1], 2)
    assert len(lines) == 2
    assert lines[0].leased_ms > lines[1].leased_ms
    assert lines[0].state == "ACCEPTED"
    assert lines[0].wall_ms == 1
    assert len(lines[0].receipt_digest) == 64
    assert lines[0].work_units > 0


def test_how_attempts_ended_and_what_did_not_hold(site: Site) -> None:
    begun_ms = site.clock.now_ms()
    site.run(site.own)
    site.run(site.own)
    site.run(site.foreign, work_units=10**6)
    site.offer()
    lost = site.foreign.lease()
    site.clock.advance_s(60)
    site.broker.expire()
    ends = site.census.quality(None, begun_ms).ends
    assert {(line.cell, line.state, line.code): line.count for line in ends} == {
        (site.own.cell, "ACCEPTED", ""): 2,
        (site.foreign.cell, "REFUSED", "work-units-differ"): 1,
        (site.foreign.cell, "EXPIRED", "lease-expired"): 1,
    }
    assert [line.cell for line in site.census.quality([site.own.cell], begun_ms).ends] == [site.own.cell]
    assert site.census.quality(None, site.clock.now_ms() + 1).ends == ()
    strikes = site.census.quality([], 0).strikes
    assert strikes == ()
    site.broker.cells.strike(Strike("att_1", site.foreign.cell, "", "receipt-replayed", 77))
    found = {line.code: line for line in site.census.quality([site.foreign.cell], 0).strikes}
    assert found["receipt-replayed"] == StrikeLine(site.foreign.cell, "", "receipt-replayed", 1, 77)
    assert found["work-units-differ"].count == 1
    assert isinstance(ends[0], EndLine)
    assert lost.attempt_id


def test_what_waits(site: Site) -> None:
    site.offer(urgency=Urgency.HIGH)
    site.clock.advance_s(3)
    site.offer(urgency=Urgency.HIGH)
    site.offer(urgency=Urgency.LOW, data_class=DataClass.P3)
    site.own.lease()
    queue = site.census.queue()
    counts = {(line.state, line.urgency, line.data_class): line.count for line in queue.offers}
    assert counts == {("OPEN", "HIGH", "P0"): 1, ("OPEN", "LOW", "P3"): 1, ("LEASED", "HIGH", "P0"): 1}
    assert sum(line.sealed_bytes for line in queue.offers) > 0
    assert isinstance(queue.offers[0], OfferLine)
    assert queue.events == 3


def test_many_nodes_are_read_quickly(site: Site, timed: Callable[[], float]) -> None:
    record = site.broker.cells.cell(site.own.cell)
    assert record is not None
    nodes = [NodeRecord(site.ids.new("nod"), site.own.cell, f"{number:064x}", 8, 1 << 30) for number in range(200)]
    site.broker.cells.greet(record, nodes)
    timed()
    assert len(site.census.nodes([site.own.cell])) == 201
    site.census.quality([site.own.cell], 0)
    assert timed() < 2


@pytest.fixture
def timed() -> Callable[[], float]:
    import time

    last = [time.perf_counter()]

    def spent() -> float:
        now = time.perf_counter()
        spent_s, last[0] = now - last[0], now
        return spent_s

    return spent
