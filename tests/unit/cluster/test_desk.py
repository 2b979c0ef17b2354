"""Reading again when somebody else was faster, and what is whose."""

from pathlib import Path

import pytest

from cluster.desk import WORK
from cluster.errors import AttemptAbsent, BrokerBusy, CellUnknown, OfferAbsent
from cluster.store import Change, MemoryStore, Stale
from tests.common.network import Scene, make_offer, put_offer, scene


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def contended(monkeypatch: pytest.MonkeyPatch, times: int) -> list[Change]:
    """The next commits find that somebody was faster."""
    refused: list[Change] = []
    commit = MemoryStore.commit

    def late(self: MemoryStore, change: Change) -> None:
        if len(refused) < times:
            refused.append(change)
            raise Stale
        commit(self, change)

    monkeypatch.setattr(MemoryStore, "commit", late)
    return refused


def test_a_step_is_decided_anew_when_somebody_was_faster(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.offer()
    refused = contended(monkeypatch, 3)
    assert stage.cell.lease().fencing_token == 1
    assert len(refused) == 3


def test_it_is_not_tried_for_ever(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.offer()
    contended(monkeypatch, 10_000)
    with pytest.raises(BrokerBusy):
        stage.broker.lease(stage.cell.cell)


def test_the_bell_rings_for_cells_and_for_the_institution(stage: Scene) -> None:
    put_offer(stage.broker, make_offer(stage.ids, stage.clock, stage.institution))
    assert stage.broker.bell.count(WORK) == 1
    assert stage.broker.bell.count(stage.institution) == 1
    stage.cell.lease()
    assert stage.broker.bell.count(WORK) == 1
    assert stage.broker.bell.count(stage.institution) == 2


def test_what_is_not_there_is_absent(stage: Scene) -> None:
    with pytest.raises(OfferAbsent):
        stage.broker.withdraw(stage.institution, stage.ids.new("off"))
    with pytest.raises(AttemptAbsent):
        stage.broker.payload(stage.cell.cell, stage.ids.new("att"), 1)
    with pytest.raises(CellUnknown):
        stage.broker.lease(stage.ids.new("cel"))
