"""The network's own work: made for contributed cells alone, offered once, and its answers kept."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bithive.limits import OFFER_DEADLINE_S
from bithive.offer import DataClass, Offer, OfferKeys, Urgency
from cluster.canaries import Canary, Kind, Stage
from cluster.canary_answers import Unfit
from cluster.canary_store import MemoryCanaryStore
from cluster.public_work import PublicWork, given_name, known_name
from models.bundle import Bundle
from models.catalog import Catalog
from tests.common.network import HandCell, Scene, scene

GIB = 1 << 30


class Known:
    """Whoever knows that every answer is this one."""

    def __init__(self, answer: bytes | None = b"known") -> None:
        self.given = answer
        self.asked: list[Offer] = []

    def answer(self, offer: Offer, keys: OfferKeys, payload: bytes) -> bytes | None:
        assert len(payload) == offer.payload_size_bytes
        assert len(keys.digest_key) == 32
        self.asked.append(offer)
        return self.given

    def rest(self) -> None:
        return


class Stage_:  # noqa: N801 - a stage for tests beside `canaries.Stage`
    def __init__(self, folder: Path, *, per_hour: float = 6.0, answers: Known | None = None) -> None:
        self.scene: Scene = scene(folder / "spool")
        self.store, self.answers, self.folder = MemoryCanaryStore(), answers or Known(), folder / "canaries"
        self.bundles: Mapping[str, Bundle] = {"lungs_ct": Catalog(folder / "models").bundle("lungs_ct")}
        self.work = self.again(per_hour)

    def again(self, per_hour: float = 6.0) -> PublicWork:
        """As after a restart."""
        return PublicWork(
            self.scene.broker,
            self.store,
            self.answers,
            self.scene.clock,
            self.scene.ids,
            bundles=lambda: self.bundles,
            samples=lambda _name: None,
            folder=self.folder,
            per_hour=per_hour,
        )

    def cell(self, institution: str | None = None, seed: int = 21) -> HandCell:
        made = HandCell(self.scene.broker, self.scene.ids, institution, seed=seed)
        made.greet(bundles=(self.bundles["lungs_ct"].sha256,), memory_bytes=4 * GIB)
        return made

    @property
    def all(self) -> list[Canary]:
        return list(self.store._canaries.values())


@pytest.fixture
def stage(tmp_path: Path) -> Stage_:
    return Stage_(tmp_path)


def test_without_a_contributed_cell_nothing_is_made(stage: Stage_) -> None:
    stage.work.tick()
    stage.cell(institution=stage.scene.ids.new("ins"))
    stage.work.tick()
    assert stage.all == []


def test_a_contributed_cell_is_given_one_at_once(stage: Stage_) -> None:
    home = stage.cell()
    stage.work.tick()
    (made,) = stage.all
    assert (made.kind, made.stage) == (Kind.CANARY, Stage.OPEN)
    assert made.known_digest == hashlib.sha256(b"known").hexdigest()
    assert (stage.folder / known_name(made.offer_id)).read_bytes() == b"known"
    grant = stage.scene.broker.lease(home.cell)
    assert grant is not None
    offer = grant.offer
    assert (offer.offer_id, offer.data_class, offer.urgency) == (made.offer_id, DataClass.P0, Urgency.LOW)
    assert offer.deadline_ms - offer.created_ms == OFFER_DEADLINE_S * 1000


def test_an_institutions_own_cell_gets_none(stage: Stage_) -> None:
    stage.cell()
    own = stage.cell(institution=stage.scene.ids.new("ins"), seed=22)
    stage.work.tick()
    assert len(stage.all) == 1
    assert stage.scene.broker.lease(own.cell) is None


def test_not_more_at_once_than_cells_nor_more_in_an_hour(stage: Stage_) -> None:
    home = stage.cell()
    for _ in range(5):
        stage.work.tick()
    assert len(stage.all) == 1
    made = 0
    for _ in range(130):
        stage.scene.clock.advance_s(60)
        home.greet(bundles=(stage.bundles["lungs_ct"].sha256,), memory_bytes=4 * GIB)
        for canary in stage.store.unfinished():
            stage.store.keep(canary.at(Stage.ENDED))
        stage.work.tick()
        made = len(stage.all)
    assert 11 <= made <= 14


def test_what_is_answered_is_kept_and_the_networks_copy_destroyed(stage: Stage_) -> None:
    home = stage.cell()
    stage.work.tick()
    (made,) = stage.all
    finish(stage, home)
    stage.work.tick()
    after = stage.store.canary(made.offer_id)
    assert after is not None
    assert after.stage is Stage.ANSWERED
    given = (stage.folder / given_name(made.offer_id)).read_bytes()
    assert after.given_digest == hashlib.sha256(given).hexdigest()
    record = stage.scene.broker.store.offer(made.offer_id)
    assert record is not None
    assert record.keys is None
    assert stage.store.unfinished() == []


def test_a_crash_between_making_and_offering_changes_nothing(stage: Stage_) -> None:
    stage.cell()
    stage.work.tick()
    (made,) = stage.all
    stage.store.keep(replace(made, stage=Stage.READY))
    stage.again().tick()
    (after,) = stage.all
    assert after == made
    assert stage.scene.broker.store.unfinished(stage.work.institution) == 1


def test_news_is_taken_once_also_after_a_restart(stage: Stage_) -> None:
    home = stage.cell()
    stage.work.tick()
    finish(stage, home)
    stage.work.tick()
    before = stage.all
    stage.again(per_hour=0).tick()
    assert stage.all == before


def test_an_unknown_answer_makes_a_benchmark(tmp_path: Path) -> None:
    stage = Stage_(tmp_path, answers=Known(None))
    stage.cell()
    stage.work.tick()
    (made,) = stage.all
    assert (made.kind, made.known_digest) == (Kind.BENCHMARK, "")
    assert not list(stage.folder.glob("*"))


class Refusing(Known):
    """A machine whose bundle refuses every image."""

    def answer(self, offer: Offer, keys: OfferKeys, payload: bytes) -> bytes | None:
        super().answer(offer, keys, payload)
        raise Unfit


def test_an_image_that_the_bundle_refuses_tests_nobody(tmp_path: Path) -> None:
    stage = Stage_(tmp_path, answers=Refusing())
    stage.cell()
    for _ in range(3):
        stage.work.tick()
    assert stage.all == []
    assert len(stage.answers.asked) == 1, "it is not tried again at once"


def test_one_that_nobody_does_ends_at_its_deadline(stage: Stage_) -> None:
    stage.cell()
    stage.work.tick()
    stage.scene.clock.advance_s(OFFER_DEADLINE_S + 1)
    stage.scene.broker.expire()
    stage.again(per_hour=0).tick()
    (made,) = stage.all
    assert (made.stage, made.reason) == (Stage.ENDED, "deadline-passed")


def test_a_payload_that_was_lost_is_sent_again(stage: Stage_) -> None:
    home = stage.cell()
    stage.work.tick()
    (made,) = stage.all
    stage.scene.broker.spool.delete(f"{made.offer_id}.payload")
    stage.scene.broker.recover()
    stage.work.tick()
    grant = stage.scene.broker.lease(home.cell)
    assert grant is not None
    assert stage.scene.broker.payload(home.cell, grant.attempt_id, grant.fencing_token).exists()


def test_none_at_all_when_it_is_switched_off(tmp_path: Path) -> None:
    stage = Stage_(tmp_path, per_hour=0)
    stage.cell()
    stage.work.tick()
    assert stage.all == []


def finish(stage: Stage_, home: HandCell) -> None:
    """See one through as a cell of its bundle would."""
    grant = stage.scene.broker.lease(home.cell)
    assert grant is not None
    canary = stage.store.canary(grant.offer.offer_id)
    assert canary is not None
    from cluster.canaries import image_of

    volume = image_of("lungs_ct", lambda _name: None, bytes.fromhex(canary.seed))
    assert volume is not None
    home.finish(grant, volume.to_bytes(), peak_memory_bytes=64 << 20)
