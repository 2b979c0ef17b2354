"""An Offer's keys open for the one attested cell and Attempt that they were wrapped for."""

from dataclasses import replace

import pytest

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from bithive.offer import DataClass, OfferKeys
from cluster.cell_record import CellRecord
from cluster.key_release import BadWrappedKeys, BoxKey, KeyWithheld, WrappedKeys, must_wrap, released, wrap
from tests.common.network import make_offer

CLOCK = ManualClock()
IDS = SeededIds(9, CLOCK)
KEYS = OfferKeys(IDS.token(), IDS.token())
BOX, OTHER = BoxKey(b"\x01" * 32), BoxKey(b"\x02" * 32)
OFFER, ATTEMPT = IDS.new("off"), IDS.new("att")


def wrapped() -> WrappedKeys:
    return WrappedKeys.from_json(wrap(KEYS, BOX.public_hex, OFFER, ATTEMPT, IDS).to_json())


def test_they_open_for_whom_they_were_wrapped() -> None:
    assert BOX.open(wrapped(), OFFER, ATTEMPT) == KEYS


def test_they_never_look_the_same_and_never_show() -> None:
    one, other = wrapped(), wrapped()
    assert one.sealed != other.sealed
    assert KEYS.payload_key.hex() not in str(one.to_json())
    assert one.sealed not in repr(one)


@pytest.mark.parametrize(("offer", "attempt"), [(IDS.new("off"), ATTEMPT), (OFFER, IDS.new("att"))])
def test_they_open_for_no_other_offer_or_attempt(offer: str, attempt: str) -> None:
    with pytest.raises(BadWrappedKeys):
        BOX.open(wrapped(), offer, attempt)


def test_they_open_for_no_other_cell() -> None:
    with pytest.raises(BadWrappedKeys):
        OTHER.open(wrapped(), OFFER, ATTEMPT)
    with pytest.raises(BadWrappedKeys):
        OTHER.open(replace(wrapped(), box_key=OTHER.public_hex), OFFER, ATTEMPT)


def test_any_changed_byte_is_noticed() -> None:
    whole = wrapped()
    for place in range(0, len(whole.sealed), 2):
        byte = f"{int(whole.sealed[place : place + 2], 16) ^ 1:02x}"
        with pytest.raises(BadWrappedKeys):
            BOX.open(replace(whole, sealed=whole.sealed[:place] + byte + whole.sealed[place + 2 :]), OFFER, ATTEMPT)
    with pytest.raises(BadWrappedKeys):
        BOX.open(replace(whole, sender_key=OTHER.public_hex), OFFER, ATTEMPT)


@pytest.mark.parametrize("public", ["00" * 32, "01" + "00" * 31, "ed" + "ff" * 30 + "7f"])
def test_a_key_of_low_order_is_refused(public: str) -> None:
    with pytest.raises(BadWrappedKeys):
        wrap(KEYS, public, OFFER, ATTEMPT, IDS)


@pytest.mark.parametrize("change", [{"sealed": ""}, {"sealed": "zz" * 80}, {"box_key": 1}, {"more": ""}])
def test_what_is_malformed_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadWrappedKeys):
        WrappedKeys.from_json(wrapped().to_json() | change)


def test_without_evidence_that_counts_nothing_is_released() -> None:
    offer = make_offer(IDS, CLOCK, IDS.new("ins"), data_class=DataClass.P2).offer
    now_ms = CLOCK.now_ms()
    cell = CellRecord("cel_x", None, "o", "0" * 64, DataClass.P3, frozenset(), 0)
    ended = replace(cell, attested_ms=now_ms, box_key=BOX.public_hex)
    for other in (cell, ended, replace(cell, attested_ms=now_ms + 1)):
        with pytest.raises(KeyWithheld):
            released(offer, KEYS, ATTEMPT, other, now_ms, IDS)
    given = released(offer, KEYS, ATTEMPT, replace(ended, attested_ms=now_ms + 1), now_ms, IDS)
    assert BOX.open(given, offer.offer_id, ATTEMPT) == KEYS


@pytest.mark.parametrize("data_class", list(DataClass))
def test_only_p2_of_others_is_wrapped(data_class: DataClass) -> None:
    offer = make_offer(IDS, CLOCK, IDS.new("ins"), data_class=data_class).offer
    cell = CellRecord("cel_x", offer.institution, "o", "0" * 64, DataClass.P3, frozenset(), 0)
    assert not must_wrap(offer, cell)
    assert must_wrap(offer, replace(cell, institution=None)) == (data_class is DataClass.P2)
