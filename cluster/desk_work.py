"""What a whole cell asks at once: work for all of its Nodes, and one sign of life for all of its Attempts (version 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from bithive.limits import GRANTS_MAX
from cluster.cell_record import CellRecord, NodeRecord
from cluster.desk import WORK
from cluster.desk_cell import CellDesk
from cluster.errors import AttemptAbsent, LeaseLost
from cluster.filters import why_not
from cluster.order import choose
from cluster.protocol import Grant
from cluster.protocol_lease import Pulse, Renewed, WorkRequest
from cluster.protocol_node import NodeStanding, NodeState


class WorkDesk(CellDesk):
    """Leases by the handful."""

    def stand(self, cell: str, nodes: Iterable[NodeStanding], *, anew: bool = False, serial: int = 0) -> int:
        """Note how a cell's Nodes stand; the turn that a request for work waits in. See `Presence.stand`.

        Raises
        ------
        CellUnknown
            It has not said hello.
        """
        self._cell(cell)
        now_ms = self._clock.now_ms()
        own = {node.node for node in self.cells.nodes(cell)}
        known = [standing for standing in nodes if standing.node in own]
        before = self.presence.turn(cell)
        turn = self.presence.stand(cell, known, anew=anew, serial=serial)
        if not turn:
            return turn
        states = {standing.node: standing.state for standing in known}
        for attendant in self.attendants:
            attendant(cell, states, now_ms)
        if turn != before:
            self.bell.ring(WORK)
        return turn

    def work(self, request: WorkRequest, turn: int) -> tuple[Grant, ...] | None:
        """As many Offers as the cell would begin at once, now its own for a while.

        Parameters
        ----------
        request
            What it asked. How its Nodes stand now is what it said since.
        turn
            From `stand`, when the request came.

        Returns
        -------
        tuple or None
            None when the request is over, since the cell has changed its mind or asked again; empty for no work yet.
        """
        cell = request.cell
        record = self._cell(cell)
        if self.presence.turn(cell) != turn:
            return None
        standing = self.presence.standing(cell)
        free = {
            said.node: said.free
            for said in request.nodes
            if said.free and said.node in standing and standing[said.node].state is NodeState.UP
        }
        nodes = {node.node: node for node in self.cells.nodes(cell) if node.node in free and not node.revoked_ms}
        grants: list[Grant] = []
        while len(grants) < GRANTS_MAX:
            live = [node for node in nodes.values() if free[node.node]]
            grant = self._settle(partial(self._one, record, live, standing, free)) if live else None
            if grant is None:
                break
            free[grant.nodes[0]] -= 1
            grants.append(grant)
        return tuple(grants)

    def _one(
        self, record: CellRecord, live: list[NodeRecord], standing: Mapping[str, NodeStanding], free: dict[str, int]
    ) -> Grant | None:
        now_ms = self._clock.now_ms()
        warm = frozenset(bundle for node in live for bundle in standing[node.node].warm)
        chosen = choose(self._waiting(now_ms, record), record, warm, now_ms, live)
        if chosen is None:
            return None
        able = [node.node for node in live if why_not(record, chosen.offer, node, now_ms) is None]
        able.sort(key=lambda node: (chosen.offer.bundle_sha256 not in standing[node].warm, -free[node]))
        return self._grant(chosen, record, now_ms, tuple(able))

    def pulse(self, cell: str, pulse: Pulse) -> Renewed:
        """A sign of life of all Nodes and Attempts of a cell.

        Raises
        ------
        CellUnknown
            It has not said hello.
        BadMessage
            A Node is not of this cell; what was told before it counts.
        """
        self.stand(cell, pulse.nodes, serial=pulse.serial)
        expires_ms: dict[str, int] = {}
        lost: dict[str, str] = {}
        for attempt_id, beat in pulse.beats.items():
            try:
                expires_ms[attempt_id] = self.heartbeat(cell, attempt_id, beat)
            except (LeaseLost, AttemptAbsent) as error:
                lost[attempt_id] = error.code
        return Renewed(expires_ms, lost)
