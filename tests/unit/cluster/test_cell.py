"""A cell that cannot start says why; one that runs is in tests/e2e/test_cell.py."""

import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bithive.clock import SystemClock
from bithive.errors import BadSettings
from bithive.keys import SigningKey
from bithive.settings import CellSettings, Settings
from cluster.cell import EXIT_DIED, _Cell, _watch, run_cell
from cluster.dialler import Dialler
from cluster.errors import CellUnconfigured, RunnerDied
from cluster.profile import Profile
from cluster.runner import LocalRunner, Runner
from cluster.station import Station


def settings(folder: Path, **cell: object) -> Settings:
    return Settings(state=folder, cell=CellSettings(**cell))  # type: ignore[arg-type]


def test_without_address_or_token_it_does_not_start(tmp_path: Path) -> None:
    for cell in ({}, {"hub_url": "http://127.0.0.1:1"}, {"token": SecretStr("x")}):
        with pytest.raises(CellUnconfigured):
            run_cell(settings(tmp_path, **cell))
    assert issubclass(CellUnconfigured, BadSettings)


def test_without_a_runner_it_ends_for_its_supervisor(tmp_path: Path) -> None:
    def dead(_settings: Settings) -> Runner:
        raise RunnerDied

    known = {"hub_url": "http://127.0.0.1:1", "token": SecretStr("x")}
    assert run_cell(settings(tmp_path, **known), dead) == EXIT_DIED


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[_Cell]:
    """A cell that is watched; its process is this one, whose network is everybody's."""
    monkeypatch.setattr("cluster.cell._WATCH_S", 0.01)
    told = settings(tmp_path, hub_url="http://127.0.0.1:1", token=SecretStr("x"))
    profile, dialler = Profile.of(told), Dialler([("127.0.0.1", 1)])
    station = Station(told, profile, SystemClock())
    yield _Cell(told, profile, station, threading.Event(), None, dialler)
    station.close()
    dialler.close()


def runner(folder: Path) -> Runner:
    return LocalRunner([], SigningKey.load_or_create(folder / "node.key"), SystemClock())


def test_a_cell_whose_wall_is_open_ends(cell: _Cell, tmp_path: Path) -> None:
    assert not _watch(cell, runner(tmp_path))


def test_a_cell_whose_dialler_dies_ends(cell: _Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.cell._LOOKS_PER_WALL", 10**9)
    assert cell.dialler is not None
    os.kill(cell.dialler.pid, signal.SIGKILL)
    assert not _watch(cell, runner(tmp_path))


def test_a_cell_that_is_told_to_end_has_not_died(cell: _Cell, tmp_path: Path) -> None:
    cell.ended.set()
    assert _watch(cell, runner(tmp_path))
