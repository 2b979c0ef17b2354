"""Leases by the handful: which Node each is meant for, and that nobody gets what is not for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bithive.offer import DataClass, Urgency
from cluster.desk_work import WorkDesk
from cluster.errors import CellUnknown
from cluster.protocol import Grant, Hello, NodeGreeting, NodeStanding, NodeState
from cluster.protocol_lease import Pulse, WorkRequest
from tests.common.network import SHA256, Scene, scene

OTHER = "cd" * 32


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def greet(stage: Scene, **nodes: NodeGreeting) -> dict[str, str]:
    """A cell of these Nodes; their ids."""
    hello = Hello(stage.cell.key.public_hex, "op", DataClass.P3, tuple(nodes.values()), (SHA256, OTHER))
    ids = stage.cell.network.hello(hello).nodes
    return {name: ids[node.node_key] for name, node in nodes.items()}


def node(digit: str, memory_bytes: int = 8 << 30, **more: str) -> NodeGreeting:
    return NodeGreeting(digit * 64, 2, memory_bytes, 0, {}, memory_bytes, **more)  # type: ignore[arg-type]


def ask(stage: Scene, *nodes: NodeStanding) -> tuple[Grant, ...]:
    return stage.cell.network.work(WorkRequest(stage.cell.cell, nodes))


def up(node: str, free: int = 1, *warm: str) -> NodeStanding:
    return NodeStanding(node, NodeState.UP, free, warm)


def test_each_is_meant_for_a_node_that_may_have_it(stage: Scene) -> None:
    ids = greet(stage, small=node("1", 1 << 30), large=node("2"))
    big = stage.offer(memory_bytes=4 << 30)
    (grant,) = ask(stage, up(ids["small"], 5), up(ids["large"]))
    assert (grant.offer, grant.nodes) == (big.offer, (ids["large"],))
    stage.offer(memory_bytes=4 << 30)
    assert ask(stage, up(ids["small"], 5)) == ()


def test_what_a_machine_says_of_itself_takes_away(stage: Scene) -> None:
    ids = greet(stage, desk=node("1", tier="home"), rack=node("2"))
    stage.offer(data_class=DataClass.P3)
    assert ask(stage, up(ids["desk"])) == ()
    (grant,) = ask(stage, up(ids["desk"]), up(ids["rack"]))
    assert grant.nodes == (ids["rack"],)


def test_a_payload_stays_in_its_country_node_by_node(stage: Scene) -> None:
    ids = greet(stage, here=node("1", residency="DE"), away=node("2", residency="US"))
    stage.offer(residency=("DE",))
    assert ask(stage, up(ids["away"])) == ()
    (grant,) = ask(stage, up(ids["away"]), up(ids["here"]))
    assert grant.nodes == (ids["here"],)


def test_the_warm_node_is_first_and_then_the_emptier(stage: Scene) -> None:
    ids = greet(stage, cold=node("1"), warm=node("2"), empty=node("3"))
    for _ in range(3):
        stage.offer()
    grants = ask(stage, up(ids["cold"], 1), up(ids["warm"], 1, SHA256), up(ids["empty"], 9))
    assert [grant.nodes[0] for grant in grants] == [ids["warm"], ids["empty"], ids["empty"]]
    assert set(grants[0].nodes) == set(ids.values())


def test_urgency_comes_first_over_all_nodes(stage: Scene) -> None:
    ids = greet(stage, one=node("1"), other=node("2"))
    low, high = stage.offer(urgency=Urgency.LOW), stage.offer(urgency=Urgency.HIGH)
    (grant,) = ask(stage, up(ids["one"]))
    assert grant.offer == high.offer
    (grant,) = ask(stage, up(ids["other"]))
    assert grant.offer == low.offer


def test_a_stranger_is_not_told_whose_it_is(stage: Scene) -> None:
    public = stage.offer(data_class=DataClass.P0)
    cell = stage.broker.cells.cell(stage.cell.cell)
    assert cell is not None
    stage.broker.cells.greet(replace(cell, institution=None), ())
    (grant,) = ask(stage, up(stage.cell.node))
    assert grant.offer.institution != stage.institution
    assert replace(grant.offer, institution=stage.institution) == public.offer


def test_a_revoked_node_gets_nothing(stage: Scene) -> None:
    ids = greet(stage, one=node("1"), other=node("2"))
    stage.broker.registrar.revoke_node(ids["one"])
    stage.offer()
    assert ask(stage, up(ids["one"], 3)) == ()
    (grant,) = ask(stage, up(ids["one"], 3), up(ids["other"]))
    assert grant.nodes == (ids["other"],)


def test_who_attends_hears_how_nodes_stand(stage: Scene) -> None:
    heard: list[tuple[str, dict[str, NodeState], int]] = []
    stage.broker.attendants.append(lambda cell, states, now_ms: heard.append((cell, dict(states), now_ms)))
    ask(stage, up(stage.cell.node), up("nod_nobodys"))
    stage.clock.advance_s(5)
    away = NodeStanding(stage.cell.node, NodeState.AWAY)
    stage.cell.network.pulse(Pulse((away,), {}))
    now_ms = stage.clock.now_ms()
    assert heard == [
        (stage.cell.cell, {stage.cell.node: NodeState.UP}, now_ms - 5000),
        (stage.cell.cell, {stage.cell.node: NodeState.AWAY}, now_ms),
    ]


def test_a_request_is_over_once_the_cell_says_otherwise(stage: Scene) -> None:
    desk: WorkDesk = stage.broker
    asked = WorkRequest(stage.cell.cell, (up(stage.cell.node),))
    turn = desk.stand(stage.cell.cell, asked.nodes, anew=True)
    assert desk.work(asked, turn) == ()
    desk.stand(stage.cell.cell, (up(stage.cell.node, 0, SHA256),))
    assert desk.work(asked, turn) == ()
    desk.stand(stage.cell.cell, (NodeStanding(stage.cell.node, NodeState.PAUSED),))
    stage.offer()
    assert desk.work(asked, turn) is None
    with pytest.raises(CellUnknown):
        desk.stand("cel_nobody", ())


def test_what_was_overtaken_on_its_way_changes_nothing(stage: Scene) -> None:
    """A request for work that left before the cell said that it drains, and comes after."""
    cell, node = stage.cell.cell, stage.cell.node
    stage.cell.network.pulse(Pulse((NodeStanding(node, NodeState.DRAINING),), {}, serial=8))
    stage.offer()
    late = WorkRequest(cell, (up(node),), serial=7)
    assert stage.cell.network.work(late) == ()
    assert stage.broker.presence.standing(cell)[node].state is NodeState.DRAINING
    stage.cell.greet()
    assert len(stage.cell.network.work(late)) == 1
