"""Bounds that a contributor sets."""

from dataclasses import replace

import pytest

from cluster.caps import Caps
from cluster.errors import BadCaps


def test_written_and_read_they_are_the_same() -> None:
    for caps in (Caps(), Caps(4, 2**33, 5_000, 10**7, True)):
        assert Caps.from_json(caps.to_json()) == caps


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", -1),
        ("threads", 1025),
        ("memory_bytes", -1),
        ("memory_bytes", 2**53),
        ("gpu_fraction_bp", 10_001),
        ("gpu_fraction_bp", -1),
        ("bandwidth_bps", 1),
        ("bandwidth_bps", 2**53),
    ],
)
def test_out_of_range_is_refused(name: str, value: int) -> None:
    with pytest.raises(BadCaps):
        replace(Caps(), **{name: value})


@pytest.mark.parametrize("value", [None, {}, [], Caps().to_json() | {"more": 1}, Caps().to_json() | {"threads": True}])
def test_hostile_messages_are_refused(value: object) -> None:
    with pytest.raises(BadCaps):
        Caps.from_json(value)
    for name in Caps().to_json():
        with pytest.raises(BadCaps):
            Caps.from_json(Caps().to_json() | {name: "1"})


def test_what_one_of_several_attempts_may_take() -> None:
    assert Caps().threads_of(8, 2) == 4 and Caps(threads=4).threads_of(8, 2) == 2
    assert Caps(threads=64).threads_of(8, 2) == 4 and Caps(threads=1).threads_of(8, 4) == 1
    assert Caps().slot_memory_bytes(3) == 0 and Caps(memory_bytes=9).slot_memory_bytes(3) == 3


def test_in_words() -> None:
    assert Caps().words() == [
        "all threads",
        "memory as the machine can spare",
        "100 % of each GPU",
        "all bandwidth",
    ]
    assert Caps(2, 2**32, 0, 10_000_000, True).words() == [
        "2 threads",
        "4.0 GiB",
        "no GPU",
        "10 Mbit/s",
        "pauses while the machine is used",
    ]
