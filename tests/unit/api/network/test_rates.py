"""What a contributor is told before it starts: bytes that come and go, and what work was paid with lately."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from api.network.rates import _rates
from api.services import Services
from bithive.clock import ManualClock, SystemClock
from bithive.ids import SeededIds
from bithive.limits import PROBE_BYTES_MAX
from cluster.bandwidth import measure
from cluster.errors import NetworkUnreachable
from cluster.presence import Presence
from economy.economy import Economy
from economy.store import MemoryStore
from tests.common.economy import Network
from tests.common.network_server import Hub

ROOT = "/network/v2"


@pytest.fixture
def client(hub: Hub) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {hub.tokens['other']}", "BitHive-Protocol": "2"}
    with httpx2.Client(base_url=hub.url + ROOT, headers=headers, trust_env=False) as client:
        yield client


def test_bytes_come_and_go_as_many_as_asked(client: httpx2.Client) -> None:
    first, second = (client.get("/probe/4096") for _ in range(2))
    assert len(first.content) == len(second.content) == 4096 and first.content != second.content
    assert client.post("/probe", content=b"x" * 5000).json() == {"size_bytes": 5000}
    found = measure(client, SystemClock(), 1 << 20)
    assert found.down_bps > 0 and found.up_bps > 0 and found.round_trip_ms > 0 and "Mbit/s" in found.words


@pytest.mark.parametrize("size", ["0", "-1", str(PROBE_BYTES_MAX + 1), "x"])
def test_not_more_than_a_probe(client: httpx2.Client, size: str) -> None:
    assert client.get(f"/probe/{size}").status_code in (400, 404, 422)
    assert client.post("/probe", content=bytes(PROBE_BYTES_MAX + 1)).status_code == 413


def test_only_a_cell_that_has_joined(hub: Hub) -> None:
    for who, status in (("institution", 403), ("nobody", 401)):
        headers = {"Authorization": f"Bearer {hub.tokens.get(who, who)}", "BitHive-Protocol": "2"}
        for path in ("/probe/1", "/rates"):
            assert httpx2.get(hub.url + ROOT + path, headers=headers).status_code == status


def test_a_hub_that_is_away_is_said_so() -> None:
    with httpx2.Client(base_url="http://127.0.0.1:1", trust_env=False) as client, pytest.raises(NetworkUnreachable):
        measure(client, SystemClock())


def services(economy: Economy, clock: ManualClock) -> Services:
    broker = SimpleNamespace(presence=Presence())
    return cast("Services", SimpleNamespace(clock=clock, ledger=economy.ledger, broker=broker))


def test_what_the_work_of_the_last_week_was_paid_with(tmp_path: Path) -> None:
    clock = ManualClock()
    economy: Any = Economy.on(MemoryStore(), tmp_path, clock, SeededIds(1, clock), 86_400)
    network = Network(clock)
    assert _rates(services(economy, clock)).to_json() == {
        "asset": "BTT",
        "hours": 1,
        "pool": 0,
        "work_units": 0,
        "nodes": 0,
    }
    for _ in range(3):
        economy.booking.take(network.accepted(network.ids.new("off"), 1000))
    clock.advance_s(86_400)
    economy.epochs.close()
    found = _rates(services(economy, clock))
    assert found.hours == 24 and found.work_units >= 3000 and found.pool > 0
    clock.advance_s(8 * 86_400)
    assert _rates(services(economy, clock)).pool == 0, "older than a week"
