from __future__ import annotations

import pytest

from bithive.database_sql import Database
from economy.check import check
from economy.economy import Economy
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from tests.common.economy import Network


@pytest.fixture(params=["memory", "sqlite"])
def economy(request, tmp_path, clock, ids):
    """The whole economy, checked when the test ends."""
    store = MemoryStore() if request.param == "memory" else SqlStore(Database(f"sqlite:///{tmp_path}/ledger.db"))
    opened = Economy.on(store, tmp_path / "keys", clock, ids, epoch_s=3600)
    yield opened
    if not opened.ledger._closed:
        assert check(opened.ledger.store).findings == []
    opened.close()


@pytest.fixture
def network(clock):
    return Network(clock)


@pytest.fixture
def offer(network):
    return network.ids.new("off")
