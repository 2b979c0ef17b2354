"""Which Node of a cell has room."""

from cluster.protocol import NodeGreeting, NodeState
from cluster.slots import Slots

HERE, THERE = "a" * 64, "b" * 64
IDS = {HERE: "nod_here", THERE: "nod_there"}


def node(key: str, slots: int = 1) -> NodeGreeting:
    return NodeGreeting(key, 2, 8 << 30, 0, {}, 8 << 30, slots=slots)


def free(slots: Slots, local: NodeState = NodeState.UP) -> dict[str, tuple[str, int]]:
    return {said.node: (str(said.state), said.free) for said in slots.standing(local, [HERE], {"": ()})}


def test_a_cell_of_one_node_has_as_many_as_it_was_told() -> None:
    slots = Slots(3)
    slots.know(IDS, [node(HERE)])
    slots.take("nod_here")
    assert free(slots) == {"nod_here": ("up", 2)}


def test_of_several_each_has_its_own() -> None:
    slots = Slots(9)
    slots.know(IDS, [node(HERE, 1), node(THERE, 2)])
    slots.take("nod_there")
    assert free(slots) == {"nod_here": ("up", 1), "nod_there": ("up", 1)}
    slots.give("nod_there")
    assert free(slots)["nod_there"] == ("up", 2)


def test_a_pause_of_this_machine_is_not_the_others() -> None:
    slots = Slots(1)
    slots.know(IDS, [node(HERE), node(THERE)])
    assert free(slots, NodeState.PAUSED) == {"nod_here": ("paused", 1), "nod_there": ("up", 1)}


def test_what_takes_less_counts() -> None:
    slots = Slots(1)
    slots.know(IDS, [node(HERE), node(THERE)])
    assert slots.say(NodeState.DRAINING, "nod_there")
    assert not slots.say(NodeState.DRAINING, "nod_there")
    assert slots.say(NodeState.PAUSED)
    assert {name: state for name, (state, _) in free(slots).items()} == {"nod_here": "paused", "nod_there": "draining"}
    slots.say(NodeState.UP)
    slots.say(NodeState.UP, "nod_there")
    assert {state for state, _ in free(slots).values()} == {"up"}


def test_a_node_that_was_not_taken_has_no_room() -> None:
    slots = Slots(1)
    slots.know({HERE: "nod_here"}, [node(HERE), node(THERE)])
    assert set(free(slots)) == {"nod_here"}
    assert [view.node_key for view in slots.view(slots.standing(NodeState.UP, [], {}))] == [HERE]


def test_warm_bundles_by_node_or_for_all() -> None:
    slots = Slots(1)
    slots.know(IDS, [node(HERE), node(THERE)])
    warm = {said.node: said.warm for said in slots.standing(NodeState.UP, [], {HERE: ("x",), "": ("y",)})}
    assert warm == {"nod_here": ("x",), "nod_there": ("y",)}
