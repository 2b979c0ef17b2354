from __future__ import annotations

import pytest

from api.commands.node_words import down_lines, gib, status_lines
from bithive.errors import BadInput
from cluster.caps import Caps
from cluster.timetable import Timetable

STATUS = {
    "state": "up",
    "why": "",
    "until_ms": None,
    "hub_url": "https://hub.example",
    "connected": True,
    "role": "single",
    "operator": "ada",
    "tier": "home",
    "cell": "cel_1",
    "now_ms": 10_000,
    "caps": Caps().to_json(),
    "timetable": Timetable().to_json(),
    "attempts": [],
}


def test_a_machine_that_runs_nothing():
    lines = list(status_lines(STATUS))
    assert lines[0] == "up: takes work"
    assert lines[1] == "single of ada, home; connected to https://hub.example as cel_1"
    assert lines[-2:] == ["hours: always", "runs nothing now"]


def test_a_machine_in_its_hours_and_at_work():
    attempt = {"bundle": "lungs_ct", "begun_ms": 4_000, "stage": "segmenting", "fraction": 0.25}
    told = STATUS | {
        "state": "draining",
        "why": "timetable",
        "until_ms": 1_795_392_000_000,
        "connected": False,
        "attempts": [attempt],
        "timetable": Timetable.parse("mon 18:00-08:00", "Europe/Berlin").to_json(),
    }
    lines = list(status_lines(told))
    assert "by its timetable, until 2026-11-23 00:00 UTC" in lines[0]
    assert "not connected" in lines[1] and "mon 18:00-08:00 (Europe/Berlin)" in lines[3]
    assert lines[4] == "runs lungs_ct for 6 s: segmenting, 25 %"


def test_a_machine_that_is_stopped():
    assert "join" in next(down_lines(None))
    joined = {"role": "member", "operator": "rack", "tier": "datacenter", "hub_url": ""}
    assert list(down_lines(joined))[1] == "member of rack, datacenter, no hub of its own"


def test_memory_is_in_gib():
    assert gib("1.5") == 3 * 2**29 and gib("0") == 0
    for text in ("much", "1e400", ""):
        with pytest.raises(BadInput):
            gib(text)
