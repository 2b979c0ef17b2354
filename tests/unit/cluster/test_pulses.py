"""One sign of life renews every Lease, tells news soon, and learns which Leases are lost."""

import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from bithive.clock import SystemClock
from bithive.ids import RandomIds
from cluster.broker import Broker, Durations
from cluster.errors import NetworkUnreachable
from cluster.heart import Heart
from cluster.protocol import NodeStanding, NodeState
from cluster.protocol_lease import Pulse, Renewed
from cluster.pulses import Pulses
from cluster.spool import Spool
from cluster.store import MemoryStore
from tests.common.network import DirectNetwork, HandCell, make_offer, put_offer
from tests.common.servers import wait_until


class Counting(DirectNetwork):
    """Counts pulses; away while told so."""

    count, away = 0, False

    def pulse(self, pulse: Pulse) -> Renewed:
        self.count += 1
        if self.away:
            raise NetworkUnreachable
        return super().pulse(pulse)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.ids = RandomIds(self.clock)
        self.broker = Broker(MemoryStore(), self.clock, self.ids, Spool(folder), durations=Durations(lease_s=0.4))
        self.institution = self.ids.new("ins")
        self.cell = HandCell(self.broker, self.ids, self.institution)
        self.network = Counting(self.broker, self.cell.cell, self.institution)
        self.pulses = Pulses(self.network, lambda: (0, (NodeStanding(self.cell.node, NodeState.UP, 1),)))

    def begin(self) -> Heart:
        put_offer(self.broker, make_offer(self.ids, self.clock, self.institution))
        nodes = {self.cell.key.public_hex: self.cell.node}
        heart = Heart(self.cell.lease(), nodes, self.clock, self.pulses.news)
        self.pulses.add(heart)
        return heart

    def left_ms(self, heart: Heart) -> int:
        attempt = self.broker.store.attempt(heart.grant.attempt_id)
        assert attempt is not None
        return attempt.expires_ms - self.clock.now_ms()

    def stages(self) -> list[str]:
        return [notice.body["stage"] for notice in self.broker.notices(self.institution, 0) if "stage" in notice.body]


@pytest.fixture
def stage(tmp_path: Path) -> Generator[Stage]:
    found = Stage(tmp_path)
    yield found
    found.pulses.stop()


def test_all_leases_last_as_long_as_their_attempts(stage: Stage) -> None:
    stage.pulses.period_s = 0.05
    one, other = stage.begin(), stage.begin()
    threading.Event().wait(0.6)
    assert stage.left_ms(one) > 0 < stage.left_ms(other)
    stage.pulses.remove(one)
    threading.Event().wait(0.5)
    assert stage.left_ms(one) < 0 < stage.left_ms(other)


def test_a_new_stage_is_told_without_waiting_and_a_passing_one_is_not(stage: Stage) -> None:
    stage.pulses.period_s = 30
    heart = stage.begin()
    for name in ("loading", "preparing", "segmenting"):
        heart.tell(name, 0.5)
    wait_until(lambda: stage.stages() != [], 5)
    assert stage.stages() == ["segmenting"]


def test_a_lost_lease_is_learnt(stage: Stage) -> None:
    stage.pulses.period_s = 0.05
    heart, other = stage.begin(), stage.begin()
    stage.broker.withdraw(stage.institution, heart.grant.offer.offer_id)
    heart.pause(5)
    assert heart.lost
    assert not other.lost


def test_a_network_that_is_away_is_no_reason_to_stop(stage: Stage) -> None:
    stage.network.away, stage.pulses.period_s = True, 0.02
    heart = stage.begin()
    wait_until(lambda: stage.network.count > 3, 5)
    assert not heart.lost


def test_a_cell_without_work_is_silent_but_for_news(stage: Stage) -> None:
    stage.pulses.period_s = 0.02
    stage.pulses.start()
    threading.Event().wait(0.2)
    assert stage.network.count == 0
    stage.pulses.news()
    wait_until(lambda: stage.network.count == 1, 5)
