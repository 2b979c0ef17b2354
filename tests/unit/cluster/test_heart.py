"""Heartbeats renew, tell news soon, and learn that a Lease is lost."""

import threading
from pathlib import Path

import pytest

from bithive.clock import SystemClock
from bithive.ids import RandomIds
from cluster.broker import Broker, Durations
from cluster.errors import LeaseLost, NetworkUnreachable
from cluster.heart import Heart
from cluster.protocol import Grant, Heartbeat
from cluster.spool import Spool
from cluster.store import MemoryStore
from tests.common.network import DirectNetwork, HandCell, make_offer, put_offer


class Stage:
    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        ids = RandomIds(self.clock)
        self.broker = Broker(MemoryStore(), self.clock, ids, Spool(folder), durations=Durations(lease_s=0.4))
        self.institution = ids.new("ins")
        self.cell = HandCell(self.broker, ids, self.institution)
        put_offer(self.broker, make_offer(ids, self.clock, self.institution))
        self.grant = self.cell.lease()

    def heart(self, network: DirectNetwork | None = None, period_s: float = 0.05) -> Heart:
        return Heart(network or self.cell.network, self.grant, self.cell.node, period_s)

    def expires_ms(self) -> int:
        attempt = self.broker.store.attempt(self.grant.attempt_id)
        assert attempt is not None
        return attempt.expires_ms

    def stages(self) -> list[str]:
        return [notice.body["stage"] for notice in self.broker.notices(self.institution, 0) if "stage" in notice.body]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_lease_lasts_as_long_as_the_heart_beats(stage: Stage) -> None:
    with stage.heart():
        threading.Event().wait(0.6)
        assert stage.expires_ms() > stage.clock.now_ms()
    threading.Event().wait(0.6)
    assert stage.expires_ms() < stage.clock.now_ms()


def test_a_new_stage_is_told_without_waiting_for_the_next_beat(stage: Stage) -> None:
    with stage.heart(period_s=30) as heart:
        heart.tell("preparing", 0.1)
        threading.Event().wait(0.3)
        heart.tell("segmenting", 7.0)
        threading.Event().wait(0.3)
    assert stage.stages() == ["preparing", "segmenting"]


def test_stages_that_pass_in_a_moment_are_not_told(stage: Stage) -> None:
    with stage.heart(period_s=30) as heart:
        for name in ("loading", "preparing", "segmenting", "measuring"):
            heart.tell(name, 0.5)
    threading.Event().wait(0.2)
    assert stage.stages() == []


def test_a_lost_lease_stops_the_work(stage: Stage) -> None:
    with stage.heart() as heart:
        stage.broker.withdraw(stage.institution, stage.grant.offer.offer_id)
        heart.pause(5)
        assert heart.lost
        with pytest.raises(LeaseLost):
            heart.tell("measuring", 0.9)


class Away(DirectNetwork):
    """A network side that is away."""

    def heartbeat(self, attempt_id: str, beat: Heartbeat) -> int:
        raise NetworkUnreachable

    def lease(self, cell: str, warm: object, wait_s: float) -> Grant | None:
        raise NetworkUnreachable


def test_a_network_that_is_away_is_no_reason_to_stop(stage: Stage) -> None:
    with stage.heart(Away(stage.broker, stage.cell.cell, stage.institution)) as heart:
        threading.Event().wait(0.3)
        heart.tell("measuring", 0.9)
        assert not heart.lost
