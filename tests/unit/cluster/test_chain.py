"""Nothing can be taken out of a chain, put in, changed or turned round."""

from dataclasses import replace

import pytest

from bithive.keys import SigningKey
from cluster.chain import Head, fork, verify_chain
from cluster.counter import ACCEPTED, CounterReceipt

KEY, OTHER = SigningKey(b"n" * 32), SigningKey(b"o" * 32)


def chain(count: int, subject: str = "nod_1", key: SigningKey = KEY) -> list[CounterReceipt]:
    made, head = [], Head()
    for number in range(1, count + 1):
        verdict, units = (ACCEPTED, 10) if number % 3 else ("digest-differs", 0)
        counter = CounterReceipt(
            subject,
            number,
            head.digest,
            f"{number:064x}",
            f"att_{number}",
            "cel_1",
            subject,
            number,
            number + 2,
            2,
            units,
            verdict,
            key.public_hex,
        ).sign(key)
        head = Head(number, counter.digest)
        made.append(counter)
    return made


GOOD = chain(7)


def test_a_whole_chain_holds_and_sums_up() -> None:
    verified = verify_chain(GOOD, KEY.public_hex)
    assert verified.holds
    assert (verified.subject, verified.accepted, verified.refused, verified.work_units) == ("nod_1", 5, 2, 50)
    assert verified.head == Head(7, GOOD[-1].digest)
    assert verify_chain([], KEY.public_hex).head == Head()


def test_a_chain_goes_on_where_it_ended() -> None:
    first = verify_chain(GOOD[:4], KEY.public_hex)
    assert verify_chain(GOOD[4:], KEY.public_hex, first.head).holds
    assert not verify_chain(GOOD[4:], KEY.public_hex).holds


def _resigned(place: int, **changes: object) -> list[CounterReceipt]:
    """The network side itself rewrites one, with its own key."""
    changed = replace(GOOD[place], **changes, signature="").sign(KEY)
    return [*GOOD[:place], changed, *GOOD[place + 1 :]]


BROKEN = {
    "one is missing": ([*GOOD[:3], *GOOD[4:]], 5, "gap"),
    "the first is missing": (GOOD[1:], 2, "gap"),
    "one is there twice": ([*GOOD[:3], *GOOD[2:]], 3, "order"),
    "two are turned round": ([GOOD[0], GOOD[2], GOOD[1]], 3, "gap"),
    "one is changed": ([*GOOD[:3], replace(GOOD[3], work_units=99), *GOOD[4:]], 4, "signature"),
    "another key": (chain(2, key=OTHER), 1, "signature"),
    "another node's": ([GOOD[0], *chain(2, "nod_2")[1:]], 2, "subject"),
    "rewritten by the network side": (_resigned(3, work_units=1), 5, "link"),
    "taken back by the network side": (_resigned(0, verdict="digest-differs", work_units=0), 2, "link"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_where_it_breaks(how: str) -> None:
    counters, sequence, reason = BROKEN[how]
    verified = verify_chain(counters, KEY.public_hex)
    assert verified.broken is not None
    assert (verified.broken.sequence, verified.broken.reason) == (sequence, reason)
    assert not verified.holds


def test_two_stories_show_where_they_part() -> None:
    assert fork(GOOD, GOOD[2:]) is None
    assert fork(GOOD[:3], GOOD) is None
    assert fork(GOOD, _resigned(5, verdict="geometry-differs")) == 6
