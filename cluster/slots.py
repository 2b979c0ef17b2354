"""Which Node of a cell has room: how many Attempts each runs, and whether it takes work."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence

from cluster.agent_view import NodeView
from cluster.protocol import NodeGreeting, NodeStanding, NodeState

_TAKES_LESS = (NodeState.UP, NodeState.PAUSED, NodeState.DRAINING, NodeState.AWAY)


class Slots:
    """The room of a cell.

    Parameters
    ----------
    slots
        Attempts at once of a cell of one Node. Of several, each says itself how many it takes.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._nodes: dict[str, NodeGreeting] = {}
        self._states: dict[str, NodeState] = {}
        self._busy: Counter[str] = Counter()
        self._lock = threading.Lock()

    def know(self, ids: dict[str, str], nodes: Iterable[NodeGreeting]) -> None:
        """These are the Nodes, with their ids by key; one without an id was not taken."""
        with self._lock:
            self._nodes = {ids[node.node_key]: node for node in nodes if node.node_key in ids}

    def say(self, state: NodeState, node: str | None = None) -> bool:
        """One Node, or every one, is in this state until something else is said; whether that is news."""
        with self._lock:
            news = self._states.get(node or "") is not state
            self._states[node or ""] = state
            return news

    def take(self, node: str) -> None:
        """A Node has one Attempt more."""
        with self._lock:
            self._busy[node] += 1

    def give(self, node: str) -> None:
        """A Node has one Attempt less."""
        with self._lock:
            self._busy[node] -= 1

    def standing(
        self, local: NodeState, local_keys: Sequence[str], warm: dict[str, tuple[str, ...]]
    ) -> tuple[NodeStanding, ...]:
        """How every Node stands.

        Parameters
        ----------
        local, local_keys
            The state of this machine, and the keys of its Nodes; where none is known to be here, it holds for all.
        warm
            What each has loaded, by key; by `""` what all have.
        """
        with self._lock:
            here = {name for name, node in self._nodes.items() if node.node_key in local_keys} or set(self._nodes)
            return tuple(
                NodeStanding(
                    name,
                    self._state(name, local if name in here else NodeState.UP),
                    max(0, self._room(node) - self._busy[name]),
                    warm.get(node.node_key, warm.get("", ())),
                )
                for name, node in self._nodes.items()
            )

    def view(self, standing: Iterable[NodeStanding]) -> tuple[NodeView, ...]:
        """The same for people."""
        with self._lock:
            return tuple(
                NodeView(said.node, node.node_key, said.state, self._room(node), self._busy[said.node])
                for said in standing
                if (node := self._nodes.get(said.node)) is not None
            )

    def _room(self, node: NodeGreeting) -> int:
        return self._slots if len(self._nodes) == 1 else node.slots

    def _state(self, name: str, local: NodeState) -> NodeState:
        said = (self._states.get("", NodeState.UP), self._states.get(name, NodeState.UP), local)
        return max(said, key=_TAKES_LESS.index)
