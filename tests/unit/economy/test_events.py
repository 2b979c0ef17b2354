from __future__ import annotations

import pytest

from economy.events import AttemptAccepted, BadEvent, OfferClosed, OfferOpened


def test_members_beyond_the_known_are_left_behind(network, offer):
    event = OfferOpened.read(network.opened(offer).body | {"patient_name": "ROE^JANE"})
    assert event.offer_id == offer
    assert not hasattr(event, "patient_name")


@pytest.mark.parametrize("verb", ["opened", "accepted", "closed"])
def test_each_member_is_needed_and_checked(network, offer, verb):
    reader = {"opened": OfferOpened, "accepted": AttemptAccepted, "closed": OfferClosed}[verb]
    body = getattr(network, verb)(offer).body
    assert reader.read(body).offer_id == offer
    for name in body:
        with pytest.raises(BadEvent):
            reader.read({key: value for key, value in body.items() if key != name})
        for wrong in (None, "", [], {}, "a b\n", -1, 2**60, True, 1.5, "x" * 300):
            if name == "operator" and wrong == "a b\n":
                continue
            with pytest.raises(BadEvent):
                reader.read(body | {name: wrong})
    for body in (None, [], "text"):
        with pytest.raises(BadEvent):
            reader.read(body)
