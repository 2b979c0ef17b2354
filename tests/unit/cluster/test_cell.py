"""A cell that cannot start says why; one that runs is in tests/e2e/test_cell.py."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from bithive.errors import BadSettings
from bithive.settings import CellSettings, Settings
from cluster.cell import EXIT_DIED, run_cell
from cluster.errors import CellUnconfigured, RunnerDied
from cluster.runner import Runner


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
