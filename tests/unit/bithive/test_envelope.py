import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive import envelope
from bithive.envelope import FRAME_BYTES, PAYLOAD, BadEnvelope, Opener, open_all, seal, sealed_size_bytes

KEY = bytes(range(32))


@pytest.fixture
def small_frames(monkeypatch):
    monkeypatch.setattr(envelope, "FRAME_BYTES", 16)


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES])
def test_round_trip(size):
    content = bytes(size)
    sealed = b"".join(seal(KEY, PAYLOAD, content))
    assert len(sealed) == sealed_size_bytes(size)
    assert open_all(KEY, PAYLOAD, size, [sealed]) == content


@given(st.binary(max_size=200), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_any_cut_of_the_stream(content, step, purpose):
    sealed = b"".join(seal(KEY, purpose, content))
    chunks = [sealed[at : at + step] for at in range(0, len(sealed), step)]
    assert open_all(KEY, purpose, len(content), chunks) == content


def frames(content: bytes, purpose: int = 1, key: bytes = KEY) -> list[bytes]:
    return list(seal(key, purpose, content))


HOSTILE = {
    "first frame lost": lambda f: f[1:],
    "last frame lost": lambda f: f[:-1],
    "frame lost": lambda f: [f[0], *f[2:]],
    "frame repeated": lambda f: [f[0], f[0], *f[1:]],
    "frames swapped": lambda f: [f[1], f[0], *f[2:]],
    "last frame first": lambda f: [f[-1], *f[:-1]],
    "last frame twice": lambda f: [*f, f[-1]],
    "nothing": lambda _: [],
    "a byte more": lambda f: [*f, b"\x00"],
    "cut in a frame": lambda f: [*f[:-1], f[-1][:-1]],
    "cut in a length": lambda f: [*f, b"\x00\x00"],
    "a bit flipped": lambda f: [f[0][:10] + bytes([f[0][10] ^ 1]) + f[0][11:], *f[1:]],
    "the tag flipped": lambda f: [f[0][:-1] + bytes([f[0][-1] ^ 1]), *f[1:]],
    "frame of another purpose": lambda f: [frames(CONTENT, purpose=2)[0], *f[1:]],
    "frame under another key": lambda f: [frames(CONTENT, key=bytes(32))[0], *f[1:]],
    "a length of four gigabytes": lambda f: [b"\xff\xff\xff\xff", *f],
    "a length of nothing": lambda f: [struct.pack(">I", 0), *f],
}
CONTENT = bytes(range(60))


@pytest.mark.usefixtures("small_frames")
@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_a_stream_that_was_touched(case):
    assert open_all(KEY, 1, len(CONTENT), frames(CONTENT)) == CONTENT
    with pytest.raises(BadEnvelope):
        open_all(KEY, 1, len(CONTENT), HOSTILE[case](frames(CONTENT)))


@pytest.mark.usefixtures("small_frames")
@pytest.mark.parametrize("size", [0, 15, 16, 17, 32, 48, 59, 61, 64, 1000])
def test_another_size_than_announced(size):
    with pytest.raises(BadEnvelope):
        open_all(KEY, 1, size, frames(CONTENT))


@pytest.mark.usefixtures("small_frames")
def test_cut_at_a_frame_with_the_size_to_match():
    with pytest.raises(BadEnvelope):
        open_all(KEY, 1, 32, frames(CONTENT)[:2])


def test_a_negative_size_is_refused():
    with pytest.raises(BadEnvelope):
        Opener(KEY, 1, -1)


def test_a_purpose_too_large_is_our_bug():
    with pytest.raises(AssertionError):
        list(seal(KEY, 2**32, b""))


def test_each_nonce_is_used_once():
    nonces = [envelope._nonce(purpose, number) for purpose in range(20) for number in range(20)]
    assert len(set(nonces)) == 400
    assert {len(nonce) for nonce in nonces} == {12}


def test_memory_is_the_content_and_a_few_frames():
    size = 8 * FRAME_BYTES
    sealed = list(seal(KEY, PAYLOAD, bytes(size)))
    tracemalloc.start()
    try:
        open_all(KEY, PAYLOAD, size, iter(sealed))
        assert tracemalloc.get_traced_memory()[1] < size + 5 * FRAME_BYTES
    finally:
        tracemalloc.stop()
