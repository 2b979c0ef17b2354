"""What one Attempt says of itself, and that it stops when its Lease is lost."""

from pathlib import Path

import pytest

from cluster.errors import LeaseLost
from cluster.heart import Heart
from tests.common.network import Scene, scene


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def heart(stage: Scene, news: list[str], nodes: dict[str, str] | None = None) -> Heart:
    stage.offer()
    nodes = nodes or {stage.cell.key.public_hex: stage.cell.node}
    return Heart(stage.cell.lease(), nodes, stage.clock, lambda: news.append("news"))


def test_only_a_new_stage_is_news(stage: Scene) -> None:
    news: list[str] = []
    one = heart(stage, news)
    one("preparing", 0.1)
    one("preparing", 0.2)
    one("segmenting", 7.0)
    assert news == ["news", "news"]
    beat = one.beat()
    assert (beat.stage, beat.fraction, beat.node) == ("segmenting", 1.0, stage.cell.node)


def test_the_node_that_runs_is_told_once_it_is_known(stage: Scene) -> None:
    one = heart(stage, [], {"a" * 64: "nod_a", "b" * 64: "nod_b"})
    assert one.beat().node == "nod_a"
    one.node("b" * 64)
    assert one.beat().node == "nod_b"
    one.node("c" * 64)
    assert one.beat().node == "nod_b"


def test_a_lost_lease_stops_the_work(stage: Scene) -> None:
    one = heart(stage, [])
    one.tell("preparing", 0.1)
    one.lose()
    one.pause(60)
    assert one.lost
    with pytest.raises(LeaseLost):
        one.tell("measuring", 0.9)


def test_where_the_time_goes_is_counted(stage: Scene) -> None:
    one = heart(stage, [])
    one.tell("loading", 0.0)
    stage.clock.advance_s(2)
    one.tell("segmenting", 0.5)
    stage.clock.advance_s(1)
    assert "loading=2000" in one.times.text()
    assert "segmenting=1000" in one.times.text()
