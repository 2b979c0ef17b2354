"""What the network side signs of a Receipt."""

import json
from dataclasses import fields, replace

import pytest

from bithive.errors import BadSignature
from bithive.keys import SigningKey
from cluster.counter import ACCEPTED, GENESIS, BadCounterReceipt, CounterReceipt

KEY, OTHER = SigningKey(b"n" * 32), SigningKey(b"o" * 32)
COUNTER = CounterReceipt(
    "nod_1", 1, GENESIS, "ab" * 32, "att_1", "cel_1", "nod_1", 5, 9, 4, 120, ACCEPTED, KEY.public_hex
).sign(KEY)


def test_round_trip() -> None:
    read = CounterReceipt.from_json(json.loads(json.dumps(COUNTER.to_json())))
    assert read == COUNTER
    read.check_signature(KEY.public_hex)
    assert read.accepted
    assert read.digest == replace(COUNTER, signature="").digest


@pytest.mark.parametrize("name", [field.name for field in fields(CounterReceipt)])
def test_every_member_is_signed(name: str) -> None:
    value = getattr(COUNTER, name)
    changed = replace(COUNTER, **{name: value + 1 if isinstance(value, int) else "cd" * 32})
    with pytest.raises(BadSignature):
        changed.check_signature(KEY.public_hex)


def test_another_network_side_is_another() -> None:
    theirs = replace(COUNTER, network_key=OTHER.public_hex).sign(OTHER)
    theirs.check_signature(OTHER.public_hex)
    with pytest.raises(BadSignature):
        theirs.check_signature(KEY.public_hex)


_GOOD = COUNTER.to_json()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {**_GOOD, "patient": "x"},
        {key: value for key, value in _GOOD.items() if key != "previous"},
        {**_GOOD, "sequence": True},
        {**_GOOD, "sequence": -1},
        {**_GOOD, "work_units": 2**53},
        {**_GOOD, "verdict": "x" * 201},
        {**_GOOD, "cell": "cel\n1"},
        {**_GOOD, "interval_ms": "4"},
    ],
)
def test_what_is_none(value: object) -> None:
    with pytest.raises(BadCounterReceipt):
        CounterReceipt.from_json(value)
