"""The two state machines of the network side, over their full products."""

import itertools

import pytest

from bithive.errors import IllegalTransition
from cluster import attempt, offers
from cluster.attempt import LIVE, AttemptEvent, AttemptState
from cluster.offers import KEYED, UNFINISHED, OfferEvent, OfferState


@pytest.mark.parametrize(("state", "event"), list(itertools.product(AttemptState, AttemptEvent)))
def test_every_pair_of_an_attempt_is_in_the_table_or_refused(state: AttemptState, event: AttemptEvent) -> None:
    if state in LIVE:
        expected = {
            AttemptEvent.HEARTBEAT: AttemptState.RUNNING,
            AttemptEvent.ACCEPT: AttemptState.ACCEPTED,
            AttemptEvent.EXPIRE: AttemptState.EXPIRED,
            AttemptEvent.FAIL: AttemptState.FAILED,
            AttemptEvent.REFUSE: AttemptState.REFUSED,
            AttemptEvent.WITHDRAW: AttemptState.WITHDRAWN,
        }
        assert attempt.after(state, event) is expected[event]
    else:
        with pytest.raises(IllegalTransition):
            attempt.after(state, event)


OFFERS = {
    OfferState.AWAITING_PAYLOAD: {
        OfferEvent.STORE_PAYLOAD: OfferState.OPEN,
        OfferEvent.EXHAUST: OfferState.EXHAUSTED,
        OfferEvent.WITHDRAW: OfferState.WITHDRAWN,
    },
    OfferState.OPEN: {
        OfferEvent.LOSE_PAYLOAD: OfferState.AWAITING_PAYLOAD,
        OfferEvent.LEASE: OfferState.LEASED,
        OfferEvent.EXHAUST: OfferState.EXHAUSTED,
        OfferEvent.WITHDRAW: OfferState.WITHDRAWN,
    },
    OfferState.LEASED: {
        OfferEvent.LOSE_PAYLOAD: OfferState.AWAITING_PAYLOAD,
        OfferEvent.REQUEUE: OfferState.OPEN,
        OfferEvent.ACCEPT: OfferState.ACCEPTED,
        OfferEvent.EXHAUST: OfferState.EXHAUSTED,
        OfferEvent.WITHDRAW: OfferState.WITHDRAWN,
    },
    OfferState.ACCEPTED: {
        OfferEvent.WITHDRAW: OfferState.ACKNOWLEDGED,
        OfferEvent.ACKNOWLEDGE: OfferState.ACKNOWLEDGED,
    },
    **{
        state: {OfferEvent.WITHDRAW: state, OfferEvent.ACKNOWLEDGE: state}
        for state in (OfferState.EXHAUSTED, OfferState.WITHDRAWN, OfferState.ACKNOWLEDGED)
    },
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(OfferState, OfferEvent)))
def test_every_pair_of_an_offer_is_in_the_table_or_refused(state: OfferState, event: OfferEvent) -> None:
    if event in OFFERS[state]:
        assert offers.after(state, event) is OFFERS[state][event]
    else:
        with pytest.raises(IllegalTransition):
            offers.after(state, event)


def test_what_has_ended_never_goes_back() -> None:
    ended = set(OfferState) - set(KEYED)
    assert all(target in ended for (state, _), target in offers.TRANSITIONS.items() if state in ended)
    assert set(UNFINISHED) < set(KEYED)
    assert not any(state not in LIVE for state, _ in attempt.TRANSITIONS)
