"""How far one Attempt is, as its Node says it, and whether its Lease still holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from bithive.clock import Clock
from cluster.errors import LeaseLost
from cluster.protocol import Grant, Heartbeat
from cluster.stage_times import StageTimes


class Heart:
    """The state of one Attempt between the thread that runs it and the one that tells the network side.

    It is called with each stage and fraction, as a `Progress`.

    Parameters
    ----------
    grant
        The Lease.
    nodes
        Id of each Node that may run it, by key.
    clock
        Time.
    news
        Called when there is something that should be told soon.
    """

    def __init__(self, grant: Grant, nodes: Mapping[str, str], clock: Clock, news: Callable[[], None]) -> None:
        self.grant, self.begun_ms = grant, clock.now_ms()
        self.node_id = grant.nodes[0] if grant.nodes else next(iter(nodes.values()))
        self.times = StageTimes(clock)
        self._nodes, self._news = nodes, news
        self.stage, self.fraction = "downloading", 0.0
        self.times.enter(self.stage)
        self._lost = threading.Event()

    def __call__(self, stage: str, fraction: float) -> None:
        self.tell(stage, fraction)

    @property
    def lost(self) -> bool:
        """Whether the network side has said that the Lease is over."""
        return self._lost.is_set()

    def lose(self) -> None:
        """The network side has said that the Lease is over."""
        self._lost.set()

    def tell(self, stage: str, fraction: float) -> None:
        """Where the work is. Raises `LeaseLost` when there is no point in going on."""
        if self.lost:
            raise LeaseLost
        new = stage != self.stage
        self.stage, self.fraction = stage, min(1.0, max(0.0, fraction))
        if new:
            self.times.enter(stage)
            self._news()

    def node(self, node_key: str) -> None:
        """Which Node runs it, by its key, once that is known."""
        self.node_id = self._nodes.get(node_key, self.node_id)

    def pause(self, seconds: float) -> None:
        """Wait; shorter when the Lease is lost meanwhile."""
        self._lost.wait(seconds)

    def beat(self) -> Heartbeat:
        """What is told of it now."""
        return Heartbeat(self.grant.fencing_token, self.stage, round(self.fraction, 3), self.node_id)
