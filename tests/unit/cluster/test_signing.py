"""Signatures of requests: the profile of RFC 9421 that we speak, its own test vector, and what is refused."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.clock import ManualClock
from bithive.keys import SigningKey, verify
from cluster.errors import SignatureRefused, SignatureReplayed, SignatureRequired
from cluster.signing import DIGEST, INPUT, SIGNATURE, Message, Signed, _base, check, content_digest, is_digest, sign
from cluster.signing_seen import Seen

KEY = SigningKey(b"\x09" * 32)
NONCE = "abcdefghijklmnop"


def message(**headers: str) -> Message:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Message("POST", "/network/v2/leases", "", fields)


def signed(item: Message, **changes: str) -> Message:
    fields = sign(item, KEY, 1_800_000_000, NONCE)
    return replace(item, headers={**item.headers, **{k.lower(): v for k, v in fields.items()}, **changes})


def test_the_signature_base_is_that_of_the_rfc() -> None:
    """RFC 9421, appendix B.2.6: the components and the parameters, to the byte, under the key given there."""
    fields = {"date": "Tue, 20 Apr 2021 02:07:55 GMT", "content-type": "application/json", "content-length": "18"}
    item = Message("POST", "/foo", "param=Value&Pet=dog", {**fields, "@authority": "example.com"})
    names = ("date", "@method", "@path", "@authority", "content-type", "content-length")
    parameters = (
        '("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473'
        ';keyid="test-key-ed25519"'
    )
    key = base64.urlsafe_b64decode("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs=").hex()
    signature = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    verify(key, _base(item, names, parameters), base64.b64decode(signature).hex())


def test_a_signed_request_reads_back() -> None:
    item = signed(message(bithive_protocol="2", content_digest=content_digest(b"{}")))
    assert check(item) == Signed(KEY.public_hex, 1_800_000_000, NONCE)


def test_whoever_signs_in_another_order_is_understood() -> None:
    item = message(bithive_protocol="2")
    names = ("bithive-protocol", "@query", "@path", "@method")
    quoted = " ".join(f'"{name}"' for name in names)
    parameters = f'({quoted});created=5;nonce="{NONCE}";keyid="{KEY.public_hex}";alg="ed25519"'
    signature = base64.b64encode(bytes.fromhex(KEY.sign(_base(item, names, parameters)))).decode()
    fields = {INPUT.lower(): f"bithive={parameters}", SIGNATURE.lower(): f"bithive=:{signature}:"}
    assert check(replace(item, headers={**item.headers, **fields})).created_s == 5


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/network/v2/cells/pulse"},
        {"query": "x=1"},
    ],
    ids=str,
)
def test_what_was_changed_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(SignatureRefused):
        check(replace(signed(message(bithive_protocol="2")), **change))


@pytest.mark.parametrize(
    "change",
    [
        {"bithive-protocol": "1"},
        {"content-digest": content_digest(b"x")},
        {"bithive-fencing-token": "7"},
        {"range": "bytes=5-"},
        {"bithive-receipt": "e30="},
    ],
    ids=str,
)
def test_a_field_that_was_changed_or_added_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(SignatureRefused):
        check(signed(message(bithive_protocol="2"), **change))


def test_nothing_signed_is_told_apart_from_badly_signed() -> None:
    with pytest.raises(SignatureRequired):
        check(message(bithive_protocol="2"))


@given(st.text(max_size=200), st.text(max_size=120))
def test_any_text_is_a_signature_or_refused(shown: str, signature: str) -> None:
    with pytest.raises(SignatureRefused):
        check(message(signature_input=shown, signature=signature))


@given(st.binary(max_size=100))
def test_digests(content: bytes) -> None:
    assert is_digest(content_digest(content))
    assert DIGEST == "Content-Digest"
    for wrong in ("", "sha-256=::", "sha-512=:AA==:", content_digest(content) + ", md5=:AA==:"):
        assert not is_digest(wrong)


def shown(created_s: int, nonce: str = NONCE, key: str = "a" * 64) -> Signed:
    return Signed(key, created_s, nonce)


def test_each_is_taken_once_and_within_its_minute() -> None:
    clock = ManualClock()
    seen, now_s = Seen(clock, age_s=60), clock.now_ms() // 1000
    seen.take(shown(now_s))
    seen.take(shown(now_s, key="b" * 64))
    seen.take(shown(now_s + 60, "another-nonce-16"))
    clock.advance_s(30)
    for again in (shown(now_s), shown(now_s + 60, "another-nonce-16"), shown(now_s + 100, "x" * 16)):
        with pytest.raises(SignatureReplayed) as caught:
            seen.take(again)
        assert caught.value.context["now_ms"] == clock.now_ms()
    clock.advance_s(200)
    with pytest.raises(SignatureReplayed):
        seen.take(shown(now_s))


@given(st.lists(st.tuples(st.integers(-70, 70), st.integers(0, 200)), min_size=1, max_size=30))
def test_no_signature_is_ever_taken_twice(steps: list[tuple[int, int]]) -> None:
    """Whatever its time and however long after: with three at most remembered, and over a restart."""
    clock, taken, kept = ManualClock(), set(), []
    seen = Seen(clock, age_s=60, count_max=3)
    for number, (away_s, pause_s) in enumerate(steps):
        kept.append(shown(clock.now_ms() // 1000 + away_s, f"nonce-{number:010}"))
        for one in kept:
            try:
                seen.take(one)
            except SignatureReplayed:
                continue
            assert one not in taken
            taken.add(one)
        clock.advance_s(pause_s)


def test_what_was_signed_before_the_start_is_not_taken() -> None:
    clock = ManualClock()
    before = shown(clock.now_ms() // 1000)
    clock.advance_s(3)
    with pytest.raises(SignatureReplayed):
        Seen(clock).take(before)
