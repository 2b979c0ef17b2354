"""The heartbeats of one Attempt, in a thread of their own: the work never waits for the network."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from bithive.errors import BitHiveError
from cluster.errors import AttemptAbsent, LeaseLost
from cluster.network_http import NetworkSide
from cluster.protocol import Grant, Heartbeat

_SETTLED_S = 0.1


class Heart:
    """Renews one Lease until the block ends.

    Parameters
    ----------
    network
        The network side.
    grant
        The Lease.
    node
        The Node that runs.
    period_s
        Pause between heartbeats; a new stage is told once it has lasted a moment, so that work of a tenth of a second
        is not held up by news of itself.
    """

    def __init__(self, network: NetworkSide, grant: Grant, node: str, period_s: float) -> None:
        self._network, self._grant, self._node, self._period_s = network, grant, node, period_s
        self._stage, self._fraction = "downloading", 0.0
        self._lost, self._ended = threading.Event(), threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._ended.set()
        self._news.set()

    @property
    def lost(self) -> bool:
        """Whether the network side has said that the Lease is over."""
        return self._lost.is_set()

    def tell(self, stage: str, fraction: float) -> None:
        """Where the work is. Raises `LeaseLost` when there is no point in going on."""
        if self.lost:
            raise LeaseLost
        news = stage != self._stage
        self._stage, self._fraction = stage, min(1.0, max(0.0, fraction))
        if news:
            self._news.set()

    def pause(self, seconds: float) -> None:
        """Wait; shorter when the Lease is lost meanwhile."""
        self._lost.wait(seconds)

    def _beat(self) -> None:
        while True:
            if self._news.wait(self._period_s):
                self._ended.wait(_SETTLED_S)
            self._news.clear()
            if self._ended.is_set():
                return
            beat = Heartbeat(self._grant.fencing_token, self._stage, round(self._fraction, 3), self._node)
            try:
                self._network.heartbeat(self._grant.attempt_id, beat)
            except (LeaseLost, AttemptAbsent):
                self._lost.set()
                return
            except BitHiveError:
                continue  # unreachable, or a problem of its own: the next one may pass
