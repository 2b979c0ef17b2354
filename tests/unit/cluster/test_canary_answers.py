"""What is known beforehand: by a real bundle process, and by nobody where there is none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.offer import Offer, OfferKeys
from cluster.canaries import image_of, keys_of, offer_of
from cluster.canary_answers import BundleAnswers, NoAnswers, Unfit
from cluster.plan import Plan
from inference.findings import Findings
from inference.volume import Volume
from models.catalog import Catalog

CLOCK = ManualClock()
IDS = SeededIds(3, CLOCK)
SEED = b"\x05" * 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def answers(store: Path) -> Iterator[BundleAnswers]:
    plan = Plan(str(store), (), (), (), "auto", 1, 1, 2 << 30, "", nice=19)
    made = BundleAnswers(plan, CLOCK)
    yield made
    made.close()


def canary(store: Path) -> tuple[Offer, OfferKeys, bytes, tuple[int, ...]]:
    volume = image_of("lungs_ct", lambda _name: None, SEED)
    assert volume is not None
    offer = offer_of(IDS.new("off"), IDS.new("ins"), Catalog(store).bundle("lungs_ct"), volume, SEED, CLOCK.now_ms())
    return offer, keys_of(SEED), volume.to_bytes(), volume.array.shape


def test_an_answer_is_what_a_cell_would_send_and_the_same_again(answers: BundleAnswers, store: Path) -> None:
    offer, keys, payload, shape = canary(store)
    one, again = answers.answer(offer, keys, payload), answers.answer(offer, keys, payload)
    assert one is not None
    assert one == again
    found = Findings.from_bytes(one, (shape[0], shape[1], shape[2]))
    (volume,) = (item.value for item in found.measurements if item.key == "lungs_volume")
    assert 1500 < volume < 7000


def test_what_the_bundle_refuses_has_no_answer(answers: BundleAnswers, store: Path) -> None:
    offer, keys, payload, _ = canary(store)
    assert answers.answer(replace(offer, bundle_sha256="00" * 32), keys, payload) is None
    assert answers.answer(offer, keys, payload) is not None


def test_an_image_that_the_bundle_refuses_is_unfit(answers: BundleAnswers, store: Path) -> None:
    offer, keys, payload, _ = canary(store)
    from cluster.phantoms import trunk

    volume = trunk(SEED)
    air = Volume(np.full_like(volume.array, -1000), volume.affine, "HU")
    empty = offer_of(offer.offer_id, offer.institution, Catalog(store).bundle("lungs_ct"), air, SEED, CLOCK.now_ms())
    with pytest.raises(Unfit):
        answers.answer(empty, keys, air.to_bytes())
    assert answers.answer(offer, keys, payload) is not None


def test_the_process_ends_when_it_has_nothing_to_do(answers: BundleAnswers, store: Path) -> None:
    offer, keys, payload, _ = canary(store)
    assert answers.answer(offer, keys, payload) is not None
    process = answers._process
    assert process is not None
    answers.rest()
    assert process.alive
    CLOCK.advance_s(200)
    answers.rest()
    assert not process.alive
    assert answers.answer(offer, keys, payload) is not None


def test_a_machine_without_bundles_knows_nothing(store: Path) -> None:
    offer, keys, payload, _ = canary(store)
    NoAnswers().rest()
    assert NoAnswers().answer(offer, keys, payload) is None
