"""One sign of life for all Attempts and Nodes of a cell, in a thread of its own: no work waits for the network."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bithive.errors import BitHiveError
from bithive.log import get
from cluster.heart import Heart
from cluster.network_port import NetworkSide
from cluster.protocol import NodeStanding
from cluster.protocol_lease import Pulse

_SETTLED_S = 0.1
_IDLE_S = 20.0


class Pulses:
    """Renews every Lease of a cell, and tells how its Nodes stand.

    A new stage is told once it has lasted a moment, so that work of a tenth of a second is not held up by news of
    itself. A cell without an Attempt is silent but for changes: its request for work shows that it is there.

    Parameters
    ----------
    network
        The network side.
    standing
        How the Nodes stand now, with the serial number of that look; none before the cell is known.
    """

    def __init__(self, network: NetworkSide, standing: Callable[[], tuple[int, tuple[NodeStanding, ...]]]) -> None:
        self._network, self._standing = network, standing
        self._hearts: dict[str, Heart] = {}
        self._lock, self._telling = threading.Lock(), threading.Lock()
        self._news, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulses", daemon=True)
        self.period_s = _IDLE_S

    def start(self) -> None:
        """Begin, unless it has begun."""
        with self._lock:
            if self._thread.ident is None:
                self._thread.start()

    def stop(self) -> None:
        """End; does not wait."""
        self._ended.set()
        self._news.set()

    def add(self, heart: Heart) -> None:
        """An Attempt has begun."""
        with self._lock:
            self._hearts[heart.grant.attempt_id] = heart
        self.start()

    def remove(self, heart: Heart) -> None:
        """An Attempt has ended."""
        with self._lock:
            self._hearts.pop(heart.grant.attempt_id, None)

    def hearts(self) -> list[Heart]:
        """Every Attempt that runs, the oldest first."""
        with self._lock:
            return list(self._hearts.values())

    def news(self) -> None:
        """Something should be told soon."""
        self._news.set()

    def tell(self) -> None:
        """Tell now, and learn which Leases are over. Raises what the network side says."""
        hearts = {heart.grant.attempt_id: heart for heart in self.hearts()}
        serial, nodes = self._standing()
        if not nodes:
            return
        with self._telling:
            beats = {name: heart.beat() for name, heart in hearts.items()}
            renewed = self._network.pulse(Pulse(nodes, beats, serial))
        for attempt_id in renewed.lost:
            if attempt_id in hearts:
                hearts[attempt_id].lose()

    def _run(self) -> None:
        while not self._ended.is_set():
            if self._news.wait(self.period_s if self.hearts() else _IDLE_S):
                self._ended.wait(_SETTLED_S)
            told = self._news.is_set()
            self._news.clear()
            if self._ended.is_set() or not (told or self.hearts()):
                continue
            try:
                self.tell()
            except BitHiveError:
                continue  # unreachable, or a problem of its own: the next one may pass
            except Exception as error:  # noqa: BLE001 - Leases depend on this thread
                get().error("pulse.failed", exc_info=error)
