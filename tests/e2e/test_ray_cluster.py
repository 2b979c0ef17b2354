"""A real Ray cluster of three machines on this one, each with keys and a store of its own, two of them joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.common.ray_cells import performed

pytestmark = [pytest.mark.heavy, pytest.mark.soak, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return performed("three_machines", tmp_path_factory.mktemp("cell"))


def test_three_machines_are_three_nodes(found: dict[str, Any]) -> None:
    assert found["nodes"] == 3
    assert found["proven"], "each has proved its key to the cell's"
    assert len(found["labels"]) == 3


def test_slots_share_the_graphics_processors(found: dict[str, Any]) -> None:
    assert found["gpus"] == ["0", "0", "1"], "three slots on two of them, a half each"


def test_the_node_is_known_and_only_those_that_may_run_it_do(found: dict[str, Any]) -> None:
    assert found["named"]
    assert found["everywhere"] == 3
    assert found["wrong"] == [], "each Receipt is of the Node that was told beforehand"


def test_the_gcs_dies_and_nothing_is_lost(found: dict[str, Any]) -> None:
    assert found["gcs"]["failures"] == {}
    assert found["gcs"]["healthy"]


def test_a_bundle_process_dies_alone(found: dict[str, Any]) -> None:
    assert set(found["bundle_process"]["failures"]) <= {"runner-died"}
    assert sum(found["bundle_process"]["failures"].values()) <= 1


def test_a_drained_machine_loses_nothing_and_gets_nothing(found: dict[str, Any]) -> None:
    drained = found["drained"]
    assert (drained["code"], drained["failures"], drained["after"]) == (0, {}, 0)


def test_nothing_outlives_the_cell(found: dict[str, Any]) -> None:
    assert found["left"] == []


def test_a_raylet_dies_on_a_member_and_on_the_head(tmp_path: Path) -> None:
    found = performed("raylets_killed", tmp_path)
    for name in ("plain", "head"):
        assert set(found[name]["failures"]) <= {"runner-died"}
        print(f"raylet of {name} killed: back after {found[name]['back_s']} s, {found[name]['failures']}")
    assert found["wrong"] == []
    assert found["healthy"]
