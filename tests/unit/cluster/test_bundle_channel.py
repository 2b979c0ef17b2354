"""What a replica and its bundle process say to each other, when the other one is not to be trusted."""

import json
import os
import socket
from collections.abc import Generator

import pytest

from bithive.limits import BUNDLE_MESSAGE_BYTES_MAX
from cluster.bundle_channel import (
    Channel,
    fraction,
    mapped,
    memory_file,
    sealed_content,
    size,
    word,
    write_all,
)
from cluster.errors import RunnerDied

Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Generator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Channel(ours), theirs


def test_messages_keep_apart_and_in_order(pair: Pair) -> None:
    channel, theirs = pair
    other = Channel(theirs)
    other.send({"stage": "a", "fraction": 0.5})
    other.send({"finished": 7})
    assert channel.receive(1.0) == {"stage": "a", "fraction": 0.5}
    assert channel.receive(0.0) == {"finished": 7}
    assert channel.receive(0.0) is None
    assert channel.receive(0.01) is None


@pytest.mark.parametrize(
    "said",
    [b"x", b"[]", b'"a"', b"7", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 20_000, b'{"a":"' + b"x" * 131_100],
    ids=lambda said: repr(said[:12]),
)
def test_what_is_no_message_is_the_end(pair: Pair, said: bytes) -> None:
    channel, theirs = pair
    theirs.send(said)
    with pytest.raises(RunnerDied):
        channel.receive(1.0)


def test_nobody_there_is_the_end(pair: Pair) -> None:
    channel, theirs = pair
    theirs.close()
    with pytest.raises(RunnerDied):
        channel.receive(1.0)
    with pytest.raises(RunnerDied):
        channel.send({})
    with pytest.raises(RunnerDied):
        channel.receive_files(1)


def test_files_are_taken_only_by_who_asks_for_them(pair: Pair) -> None:
    channel, theirs = pair
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted without opening another
    socket.send_fds(theirs, [b"{}"], [0, 0, 0])
    assert channel.receive(1.0) == {}
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    sealed = memory_file(b"payload")
    channel.send({"order": "go"}, (sealed,))
    message, files = Channel(theirs).receive_files(2)
    assert message == {"order": "go"}
    assert bytes(mapped(files[0])) == b"payload"
    for file in (sealed, *files):
        os.close(file)


@pytest.mark.parametrize("value", [None, 7, "", "Upper", "a b", "x" * 65, "a\n", ["a"], "1a"], ids=repr)
def test_a_word_is_a_short_word(value: object) -> None:
    with pytest.raises(RunnerDied):
        word({"stage": value}, "stage")
    assert word({"stage": "out-of-memory"}, "stage") == "out-of-memory"


@pytest.mark.parametrize("value", [None, "0.5", True, float("nan"), float("inf"), [0.5]], ids=repr)
def test_a_share_is_a_number(value: object) -> None:
    with pytest.raises(RunnerDied):
        fraction({"fraction": value}, "fraction")
    assert [fraction({"fraction": item}, "fraction") for item in (-3, 0.25, 1, 10**300)] == [0.0, 0.25, 1.0, 1.0]


@pytest.mark.parametrize("value", [None, 0, -1, 11, True, 1.0, "7"], ids=repr)
def test_a_size_is_a_size(value: object) -> None:
    with pytest.raises(RunnerDied):
        size({"finished": value}, "finished", 10)
    assert size({"finished": 10}, "finished", 10) == 10


def test_a_payload_is_sealed_for_good() -> None:
    file = memory_file(memoryview(b"payload" * 1000))
    for attempt in (
        lambda: os.pwrite(file, b"x", 0),
        lambda: os.ftruncate(file, 1),
        lambda: os.pwrite(file, b"x", 7000),
    ):
        with pytest.raises(PermissionError):
            attempt()
    assert len(mapped(file)) == 7000
    os.close(file)


def test_findings_are_read_when_nobody_can_write_them_any_more() -> None:
    file = memory_file()
    write_all(file, b"findings")
    assert sealed_content(file, 8) == b"findings"
    with pytest.raises(PermissionError):
        os.pwrite(file, b"x", 0)
    os.close(file)


@pytest.mark.parametrize("announced", [7, 9, 0])
def test_findings_of_another_size_than_said_are_none(announced: int) -> None:
    file = memory_file()
    write_all(file, b"findings")
    with pytest.raises(RunnerDied):
        sealed_content(file, announced)
    os.close(file)


def test_what_is_said_is_short() -> None:
    assert len(json.dumps({"calibrated": "x" * 60_000})) < BUNDLE_MESSAGE_BYTES_MAX
