"""A payload that comes in pieces, breaks off, and goes on or begins anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.envelope import PAYLOAD, BadEnvelope, Opener, seal
from cluster.download import Download

KEY, PLAIN = b"k" * 32, bytes(range(256)) * 40
SEALED = b"".join(seal(KEY, PAYLOAD, PLAIN))


def download() -> Download:
    return Download(lambda: Opener(KEY, PAYLOAD, len(PLAIN)))


@given(st.lists(st.tuples(st.integers(0, 6000), st.sampled_from("ab"), st.booleans()), max_size=8))
def test_whatever_breaks_the_whole_comes(breaks: list[tuple[int, str, bool]]) -> None:
    """Each answer goes on where the last ended or begins anew, of the same content or another, and breaks off."""
    one = download()
    for length, tag, anew in breaks:
        first = 0 if anew or tag != one.tag else one.received_bytes
        one.begin(first, tag)
        piece = SEALED[first : first + length]
        one.take(piece)
        assert one.received_bytes == first + len(piece)
    one.begin(one.received_bytes, one.tag)
    one.take(SEALED[one.received_bytes :])
    assert one.finish() == PLAIN


def test_another_content_begins_anew() -> None:
    one = download()
    one.begin(0, "a")
    one.take(SEALED[:500])
    one.begin(500, "b")
    assert one.received_bytes == 0
    one.begin(0, "b")
    one.take(SEALED)
    assert one.finish() == PLAIN


def test_a_content_that_stays_short_does_not_open() -> None:
    one = download()
    one.begin(0, "a")
    one.take(SEALED[:-1])
    with pytest.raises(BadEnvelope):
        one.finish()
