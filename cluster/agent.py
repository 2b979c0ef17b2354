"""The agent of a cell: it pulls Attempts, has them run, and hands in what comes of them.

One request for work waits at a time, for all the slots that are free. The agent may be killed at any time: the Lease then
runs out and another cell has its turn. When the network side is away it goes on with what it has, and asks again with
growing pauses.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.limits import CELL_BUNDLES_MAX, LONG_POLL_S_MAX
from bithive.log import get
from cluster.agent_attempt import Course, Kept
from cluster.agent_view import AgentView, AttemptView, Identity
from cluster.attesting import Attesting
from cluster.errors import CellUnknown, NetworkRefused, NetworkUnreachable
from cluster.heart import Heart
from cluster.network_port import NetworkSide
from cluster.protocol import Grant, Hello, NodeGreeting, NodeStanding, NodeState, Welcome
from cluster.protocol_lease import WorkRequest
from cluster.pulses import Pulses
from cluster.register_proof import prove
from cluster.runner import Runner
from cluster.slots import Slots

__all__ = ["Agent", "Identity"]

_BACKOFF_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_WATCH_S = 2.0


class Agent:
    """Pulls Attempts for one cell.

    Parameters
    ----------
    network
        The network side.
    runner
        What runs bundles.
    identity
        Who the cell is.
    clock
        Time.
    slots
        Attempts at once, in a cell of one Node.
    poll_s
        How long one request for work waits.
    watch_s
        How often it looks whether what the runner can run has changed, or how this machine stands.
    standing
        Whether this machine takes work now: cheap, from any thread. Always, when absent.
    kept
        Where Receipts are kept with the network side's answers.
    attesting
        Shows the network side which software this is, where somebody vouches for it.
    """

    def __init__(
        self,
        network: NetworkSide,
        runner: Runner,
        identity: Identity,
        clock: Clock,
        slots: int = 1,
        poll_s: float = LONG_POLL_S_MAX,
        watch_s: float = _WATCH_S,
        *,
        standing: Callable[[], NodeState] | None = None,
        kept: Kept | None = None,
        attesting: Attesting | None = None,
    ) -> None:
        self._network, self._runner, self._identity, self._clock = network, runner, identity, clock
        self._poll_s, self._watch_s, self._look = poll_s, watch_s, standing or (lambda: NodeState.UP)
        self._welcome: Welcome | None = None
        self._told: tuple[frozenset[str], tuple[NodeGreeting, ...]] = (frozenset(), ())
        self._slots = Slots(slots)
        self._pulses = Pulses(network, self._counted)
        self._serials = itertools.count(clock.now_ms())
        self._course = Course(network, runner, identity, clock, kept, attesting)
        self._attesting = attesting
        self._greeting, self._draining = threading.Lock(), threading.Event()
        self._busy, self._asking, self._connected = 0, False, False
        self._changed = threading.Condition()
        self._local = NodeState.UP
        self._threads = [
            threading.Thread(target=self._pull, name="pull", daemon=True),
            threading.Thread(target=self._watch, name="watch", daemon=True),
        ]

    def start(self) -> None:
        """Begin to pull, in threads of its own."""
        for thread in self._threads:
            thread.start()
        self._pulses.start()

    def drain(self, timeout_s: float) -> bool:
        """Take nothing more and wait for what runs; whether all of it ended in time."""
        self._draining.set()
        self.say(NodeState.DRAINING)
        with self._changed:
            ended = self._changed.wait_for(lambda: self._busy == 0 and not self._asking, timeout_s)
        if ended:
            self._pulses.stop()
        return ended

    def say(self, state: NodeState, node: str | None = None) -> None:
        """One Node (by its id), or every one, is in this state from now on: the network side is told at once."""
        if self._slots.say(state, node):
            self._wake()

    def leave(self) -> None:
        """Take nothing more, and tell the network side now that every Node is away; what runs goes on.

        Raises
        ------
        NetworkUnreachable, NetworkRefused
            It could not be told; it will find out by itself.
        """
        self._draining.set()
        self._slots.say(NodeState.AWAY)
        with self._changed:
            self._changed.notify_all()
        self._pulses.tell()

    def view(self) -> AgentView:
        """How the cell is now. From any thread."""
        welcome = self._welcome
        attempts = tuple(
            AttemptView(
                heart.grant.attempt_id,
                heart.grant.offer.bundle,
                heart.node_id,
                heart.stage,
                heart.fraction,
                heart.begun_ms,
            )
            for heart in self._pulses.hearts()
        )
        nodes = self._slots.view(self._standing({}))
        return AgentView(welcome.cell if welcome else "", self._connected, nodes, attempts)

    def greet(self) -> Welcome:
        """Introduce the cell, unless that was done and it can still run what it said, on the same Nodes."""
        with self._greeting:
            bundles = tuple(self._runner.bundles())[:CELL_BUNDLES_MAX]
            nodes = tuple(self._proven(node) for node in self._runner.nodes())
            if self._welcome is None or self._told != (frozenset(bundles), nodes):
                identity = self._identity
                hello = Hello(identity.cell_key, identity.operator, identity.data_class_max, nodes, bundles)
                known = self._welcome is not None
                welcome = self._network.hello(hello)
                self._slots.know(welcome.nodes, nodes)
                self._welcome, self._told = welcome, (frozenset(bundles), nodes)
                self._pulses.period_s = welcome.heartbeat_s
                self._course.admitted(welcome.terms)
                if self._attesting is not None:
                    self._attesting.greeted()
                get().info("cell.greeted" if known else "cell.connected", cell=welcome.cell, count=len(bundles))
            if self._attesting is not None:
                self._attesting.keep(self._welcome.cell)
            return self._welcome

    def tick(self) -> bool:
        """Ask for work once, and see through what there was; whether there was any.

        Raises
        ------
        NetworkUnreachable, NetworkRefused
            Before there was any.
        """
        welcome, grants = self._ask()
        for grant, heart in grants:
            self._see_through(welcome, grant, heart)
        return bool(grants)

    def _ask(self) -> tuple[Welcome, list[tuple[Grant, Heart]]]:
        with self._changed:
            self._asking = True
        taken: list[tuple[Grant, Heart]] = []
        try:
            welcome = self.greet()
            serial, nodes = self._counted()
            request = WorkRequest(welcome.cell, nodes, self._poll_s, serial)
            grants = self._network.work(request) if request.free else ()
            with self._changed:
                taken = [(grant, self._taken(welcome, grant)) for grant in grants]
        except CellUnknown:
            self._forget()
        finally:
            with self._changed:
                self._asking = False
                self._changed.notify_all()
        return welcome, taken

    def _taken(self, welcome: Welcome, grant: Grant) -> Heart:
        heart = Heart(grant, self._course.nodes_of(welcome, grant), self._clock, self._pulses.news)
        self._slots.take(heart.node_id)
        self._busy += 1
        self._pulses.add(heart)
        return heart

    def _see_through(self, welcome: Welcome, grant: Grant, heart: Heart) -> None:
        place = heart.node_id
        try:
            self._course.run(welcome, grant, heart)
        except Exception as error:  # noqa: BLE001 - the agent must outlive whatever one Attempt does
            get().error("slot.failed", exc_info=error)
        finally:
            self._pulses.remove(heart)
            self._slots.give(place)
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _pull(self) -> None:
        failures = 0
        while not self._draining.is_set():
            try:
                if not self._room():
                    continue
                welcome, grants = self._ask()
                self._connected, failures = True, 0
                for grant, heart in grants:
                    begin = threading.Thread(
                        target=self._see_through, args=(welcome, grant, heart), name=grant.attempt_id, daemon=True
                    )
                    begin.start()
            except (NetworkUnreachable, NetworkRefused) as error:
                self._forget()
                self._connected = False
                if failures == 0:
                    get().warning("network.lost", code=getattr(error, "answer", error.code))
                self._draining.wait(jittered(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]))
                failures += 1
            except Exception as error:  # noqa: BLE001 - without this thread there is no cell
                get().error("slot.failed", exc_info=error)
                self._draining.wait(jittered(_BACKOFF_S[-1]))

    def _room(self) -> bool:
        """Whether a request for work makes sense now; waits a moment where it does not."""
        if self._welcome is None:
            return True
        with self._changed:
            if any(said.free for said in self._standing({}) if said.state is NodeState.UP):
                return True
            self._changed.wait(self._watch_s)
            return False

    def _watch(self) -> None:
        """Say hello again when what can be run has changed, and tell when this machine stands otherwise."""
        while not self._draining.wait(self._watch_s):
            try:
                local = self._look()
                if local is not self._local:
                    self._local = local
                    self._wake()
                if self._welcome is not None:
                    self.greet()
            except BitHiveError:
                continue  # the pulling thread asks too, and says so when nobody answers
            except Exception as error:  # noqa: BLE001 - as for pulling
                get().error("slot.failed", exc_info=error)

    def _counted(self) -> tuple[int, tuple[NodeStanding, ...]]:
        """How the Nodes stand, and the number of this look: one with a higher number looked later."""
        serial = next(self._serials)
        by_node = getattr(self._runner, "warm_by_node", None)
        warm = {key: tuple(bundles) for key, bundles in by_node().items()} if by_node else {}
        return serial, self._standing(warm or {"": tuple(self._runner.warm())})

    def _standing(self, warm: dict[str, tuple[str, ...]]) -> tuple[NodeStanding, ...]:
        keys = [key.public_hex for key in self._identity.node_keys]
        return self._slots.standing(self._look(), keys, warm)

    def _wake(self) -> None:
        """Tell the network side now how the Nodes stand: after its answer it gives nothing to one that is not up."""
        with self._changed:
            self._changed.notify_all()
        with suppress(BitHiveError):  # it is told again with whatever is asked next
            self._pulses.tell()

    def _proven(self, node: NodeGreeting) -> NodeGreeting:
        """The Node with its proof, where its key is on this machine and it brings none itself."""
        if node.proof:
            return node
        key = next((key for key in self._identity.node_keys if key.public_hex == node.node_key), None)
        return node if key is None else replace(node, proof=prove(key, self._identity.cell_key))

    def _forget(self) -> None:
        with self._greeting:
            self._welcome = None


def jittered(seconds: float) -> float:
    """Half of a pause to all of it, by chance: cells that lost one hub together do not come back together."""
    return seconds * (0.5 + secrets.randbelow(1000) / 2000)
