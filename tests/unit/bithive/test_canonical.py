import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.canonical import canonical, digest

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_round_trip_and_idempotence(value):
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text


def test_order_of_members_does_not_matter():
    assert (
        canonical({"b": 1, "a": [True, None]}) == canonical({"a": [True, None], "b": 1}) == b'{"a":[true,null],"b":1}'
    )


def test_not_escaped_but_utf8():
    assert canonical("é\u2028\x1f") == '"é\u2028\\u001f"'.encode()


def test_digest_is_that_of_the_bytes():
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize("value", [1.0, float("nan"), b"x", {1: 2}, {"é": 1}, {1, 2}, [object()], {"a": {"b": 0.5}}])
def test_what_has_no_canonical_form(value):
    with pytest.raises(TypeError):
        canonical(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), [2**60]])
def test_integers_beyond_what_every_reader_keeps(value):
    with pytest.raises(ValueError, match="2\\^53"):
        canonical(value)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match="surrogates"):
        canonical("\ud800")


def test_nesting_has_an_end():
    value: list = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        canonical(value)
