from __future__ import annotations

import os

import pytest

from api.errors import CellFailed
from api.hub_process import HubProcess
from bithive.clock import SystemClock
from bithive.errors import Unavailable
from tests.common.servers import free_port


def _hub(tmp_path, **more):
    more = {"BITHIVE_CELL__EMBEDDED": "false", **more}
    return HubProcess(tmp_path / "state", tmp_path / "models", free_port(), SystemClock(), more)


def test_it_starts_is_measured_and_stops(tmp_path):
    hub = _hub(tmp_path)
    hub.start(os.getpid())
    try:
        hub.wait_ready(60)
        assert hub.peak_memory_bytes() > 10 * 2**20
        with pytest.raises(CellFailed):
            hub.wait_ready(0.5, cells=1)
    finally:
        hub.stop()
    hub.stop()
    assert "hub.stopped" in hub.log_path.read_text()


def test_a_hub_that_ends_by_itself_is_said_with_its_last_words(tmp_path):
    hub = _hub(tmp_path, BITHIVE_SECRET="short")
    hub.start(os.getpid())
    with pytest.raises(Unavailable, match="secret-absent"):
        hub.wait_ready(60)
    hub.stop()
