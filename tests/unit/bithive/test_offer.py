import json

import pytest

from bithive.offer import BadOffer, DataClass, Offer, OfferKeys, Urgency

MEMBERS = {
    "offer_id": "off_" + "0" * 26,
    "institution": "ins_" + "0" * 26,
    "bundle": "intracranial_t1",
    "bundle_version": "1.0.0",
    "bundle_sha256": "a" * 64,
    "data_class": "P3",
    "urgency": "MEDIUM",
    "payload_size_bytes": 10,
    "payload_digest": "b" * 64,
    "voxels": 5,
    "work_units": 7,
    "memory_bytes": 1 << 31,
    "created_ms": 1_000,
    "deadline_ms": 2_000,
}


def test_round_trip_through_json():
    offer = Offer.from_json(json.loads(json.dumps(MEMBERS)))
    assert offer.to_json() == MEMBERS
    assert Offer.from_json(offer.to_json()) == offer
    assert (offer.data_class, offer.urgency) == (DataClass.P3, Urgency.MEDIUM)
    assert type(offer.to_json()["data_class"]) is str


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("offer_id", "1.2.840.113619.2.1"),
        ("offer_id", 5),
        ("offer_id", None),
        ("institution", "off_" + "0" * 26),
        ("bundle", ""),
        ("bundle", "x" * 65),
        ("bundle", "../../etc"),
        ("bundle", "naïve"),
        ("bundle", "a b"),
        ("bundle_version", "1.0\n"),
        ("bundle_sha256", "A" * 64),
        ("bundle_sha256", "a" * 63),
        ("payload_digest", ["a"] * 64),
        ("data_class", "P4"),
        ("urgency", "STAT"),
        ("urgency", {}),
        ("payload_size_bytes", 0),
        ("payload_size_bytes", -1),
        ("payload_size_bytes", 2**53),
        ("payload_size_bytes", 1.0),
        ("payload_size_bytes", True),
        ("voxels", "5"),
        ("work_units", None),
        ("memory_bytes", 0),
        ("memory_bytes", -1),
        ("memory_bytes", 2**53),
        ("memory_bytes", 1e9),
        ("memory_bytes", True),
        ("created_ms", 0),
        ("deadline_ms", 1_000),
        ("deadline_ms", 2**53),
        ("deadline_ms", "soon"),
    ],
)
def test_a_member_that_is_wrong(member, value):
    with pytest.raises(BadOffer):
        Offer.from_json({**MEMBERS, member: value})


@pytest.mark.parametrize("value", [None, 1, "x", [], list(MEMBERS), {}, {**MEMBERS, "patient": "x"}])
def test_what_is_no_offer(value):
    with pytest.raises(BadOffer):
        Offer.from_json(value)


@pytest.mark.parametrize("member", sorted(MEMBERS))
def test_every_member_is_needed(member):
    with pytest.raises(BadOffer):
        Offer.from_json({key: value for key, value in MEMBERS.items() if key != member})


def test_a_row_from_before_the_prediction_is_taken_to_need_no_memory():
    before = {key: value for key, value in MEMBERS.items() if key != "memory_bytes"}
    assert Offer.from_stored(before) == Offer.from_json({**MEMBERS, "memory_bytes": 1})
    assert Offer.from_stored(MEMBERS) == Offer.from_json(MEMBERS)


@pytest.mark.parametrize("value", [None, 1, "x", [], list(MEMBERS), {}, {**MEMBERS, "patient": "x"}])
def test_a_row_that_is_no_offer(value):
    with pytest.raises(BadOffer):
        Offer.from_stored(value)


def test_an_offer_cannot_change():
    with pytest.raises(AttributeError):
        Offer.from_json(MEMBERS).voxels = 1  # type: ignore[misc]


def test_keys_round_trip_and_never_show():
    keys = OfferKeys(b"p" * 32, b"d" * 32)
    assert OfferKeys.from_json(json.loads(json.dumps(keys.to_json()))) == keys
    assert "70" not in repr(keys)
    assert "p" * 4 not in f"{keys!r} {keys}"


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"payload_key": "00", "digest_key": "00"},
        {"payload_key": 1, "digest_key": 2},
        {"payload_key": "zz" * 32, "digest_key": "00" * 32},
        [],
    ],
)
def test_what_is_no_pair_of_keys(value):
    with pytest.raises(BadOffer):
        OfferKeys.from_json(value)


TRACE = "00-" + "5e" * 16 + "-" + "0a" * 8 + "-01"


def test_a_trace_is_carried_and_left_out_where_there_is_none():
    traced = Offer.from_json({**MEMBERS, "traceparent": TRACE})
    assert traced.to_json()["traceparent"] == TRACE
    assert traced.untraced == Offer.from_json(MEMBERS)
    assert "traceparent" not in traced.untraced.to_json()
    assert Offer.from_json(MEMBERS).untraced is not traced


@pytest.mark.parametrize(
    "text",
    [
        "x",
        TRACE.upper(),
        TRACE + " ",
        TRACE[:-2] + "02",
        "01" + TRACE[2:],
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
        "DOE^JANE",
        1,
        None,
    ],
)
def test_what_is_no_trace_is_refused(text):
    with pytest.raises(BadOffer):
        Offer.from_json({**MEMBERS, "traceparent": text})
