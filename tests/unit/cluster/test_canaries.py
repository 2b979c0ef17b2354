"""How a canary is made: the same from the same seed, unlike any other, and of the form of anybody's public work."""

from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.errors import IllegalTransition
from bithive.ids import SeededIds
from bithive.keys import keyed_digest
from bithive.offer import ANYBODY, DataClass, Offer, Urgency
from cluster.canaries import MAKERS, STAGES, Canary, Kind, Stage, image_of, keys_of, offer_of
from models.catalog import Catalog

CLOCK = ManualClock()
IDS = SeededIds(4, CLOCK)
ONE, OTHER = b"\x01" * 32, b"\x02" * 32


def made(seed: bytes = ONE) -> Offer:
    volume = image_of("lungs_ct", lambda _name: None, seed)
    assert volume is not None
    bundle = Catalog(Path("absent")).bundle("lungs_ct")
    return offer_of("off_00000000000000000000000001", IDS.new("ins"), bundle, volume, seed, CLOCK.now_ms())


def test_everything_follows_from_the_seed() -> None:
    first, again, other = made(), made(), made(OTHER)
    assert first.payload_digest == again.payload_digest != other.payload_digest
    assert keys_of(ONE) == keys_of(ONE) != keys_of(OTHER)
    volume = image_of("lungs_ct", lambda _name: None, ONE)
    assert volume is not None
    assert first.payload_digest == keyed_digest(keys_of(ONE).digest_key, volume.to_bytes())


def test_it_is_public_work_for_anybody() -> None:
    offer = made()
    assert (offer.data_class, offer.urgency, offer.audience) == (DataClass.P0, Urgency.LOW, (ANYBODY,))
    assert offer.work_units > 0
    assert Offer.from_json(offer.to_json()) == offer


def test_without_the_public_image_there_is_none() -> None:
    assert image_of("intracranial_t1", lambda _name: None, ONE) is None
    assert image_of("no_such_bundle", lambda _name: None, ONE) is None


def test_every_bundle_that_is_tested_is_one_of_ours() -> None:
    assert set(MAKERS) <= set(Catalog(Path("absent")).built_in())


@pytest.mark.parametrize("before", list(Stage))
@pytest.mark.parametrize("after", list(Stage))
def test_the_whole_product_of_stages(before: Stage, after: Stage) -> None:
    canary = Canary("off_1", Kind.CANARY, ONE.hex(), {}, "", 0, stage=before)
    if after in STAGES[before]:
        assert canary.at(after).stage is after
    else:
        with pytest.raises(IllegalTransition):
            canary.at(after)


def test_it_does_not_show_its_seed() -> None:
    assert ONE.hex() not in repr(Canary("off_1", Kind.CANARY, ONE.hex(), {}, "", 0))
