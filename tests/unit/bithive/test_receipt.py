import hashlib
import json
from dataclasses import fields, replace

import pytest

from bithive.canonical import canonical
from bithive.errors import BadSignature
from bithive.keys import SigningKey
from bithive.receipt import BadReceipt, Method, Receipt

KEY = SigningKey(bytes(32))
_VALUES = {"str": "text", "int": 7, "bool": True}
UNSIGNED = Receipt(
    **{**{field.name: _VALUES[field.type] for field in fields(Receipt)}, "node_key": KEY.public_hex, "signature": ""}
)
SIGNED = UNSIGNED.sign(KEY)


def other(value):
    return {str: value + "x" if isinstance(value, str) else None, int: 8, bool: False}[type(value)]


def test_round_trip_through_json():
    read = Receipt.from_json(json.loads(json.dumps(SIGNED.to_json())))
    assert read == SIGNED
    read.check_signature()


def test_the_digest_is_that_of_what_is_signed():
    assert SIGNED.digest == UNSIGNED.digest == replace(SIGNED, signature="00").digest
    assert len(SIGNED.digest) == 64


@pytest.mark.parametrize("name", [field.name for field in fields(Receipt) if field.name != "node_key"])
def test_each_member_is_signed(name):
    with pytest.raises(BadSignature):
        replace(SIGNED, **{name: other(getattr(SIGNED, name))}).check_signature()
    if name != "signature":
        assert replace(SIGNED, **{name: other(getattr(SIGNED, name))}).digest != SIGNED.digest


def test_the_method_is_what_can_change_the_numbers():
    assert SIGNED.method == Method("text", "text", "text", "text", 7, True, True, True)
    for name in Method._fields:
        assert replace(SIGNED, **{name: other(getattr(SIGNED, name))}).method != SIGNED.method
    for name in {field.name for field in fields(Receipt)} - set(Method._fields):
        assert replace(SIGNED, **{name: other(getattr(SIGNED, name))}).method == SIGNED.method


def version_1():
    """What a node signed before it told TF32 and bfloat16, as it was stored."""
    members = {name: value for name, value in UNSIGNED.to_json().items() if name not in ("tf32", "bf16", "signature")}
    signed = b"bithive.receipt.v1\x00" + canonical(members)
    return {**members, "signature": KEY.sign(signed)}, hashlib.sha256(signed).hexdigest()


def test_a_row_of_version_1_keeps_its_signature_and_its_name():
    row, name = version_1()
    read = Receipt.from_stored(json.loads(json.dumps(row)))
    read.check_signature()
    assert read.digest == name
    assert read.to_json() == row
    assert Receipt.from_stored(read.to_json()) == read
    assert (read.tf32, read.bf16) == (False, False)
    with pytest.raises(BadSignature):
        replace(read, wall_ms=8).check_signature()


def test_over_the_network_version_1_is_no_receipt():
    row, _ = version_1()
    with pytest.raises(BadReceipt):
        Receipt.from_json(row)


def test_a_row_of_today_is_read_as_it_is():
    assert Receipt.from_stored(SIGNED.to_json()) == SIGNED
    for name in ("tf32", "bf16"):
        with pytest.raises(BadReceipt):
            Receipt.from_stored({key: value for key, value in SIGNED.to_json().items() if key != name})


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"patient": "x"}])
def test_a_row_that_is_no_receipt(value):
    with pytest.raises(BadReceipt):
        Receipt.from_stored(value)


def test_version_1_cannot_be_passed_off_as_today_nor_the_other_way():
    row, _ = version_1()
    with pytest.raises(BadSignature):
        Receipt.from_json({**row, "tf32": False, "bf16": False}).check_signature()
    cut = {key: value for key, value in SIGNED.to_json().items() if key not in ("tf32", "bf16")}
    with pytest.raises(BadSignature):
        Receipt.from_stored(cut).check_signature()


def test_another_nodes_key_does_not_hold():
    stranger = SigningKey(b"1" * 32)
    with pytest.raises(BadSignature):
        replace(SIGNED, node_key=stranger.public_hex).check_signature()
    with pytest.raises(AssertionError):
        UNSIGNED.sign(stranger)


def test_a_signature_for_something_else_does_not_hold():
    members = UNSIGNED.signed_bytes().removeprefix(b"bithive.receipt.v2\x00")
    with pytest.raises(BadSignature):
        replace(UNSIGNED, signature=KEY.sign(members)).check_signature()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wall_ms", -1),
        ("wall_ms", 2**53),
        ("wall_ms", 1.0),
        ("wall_ms", True),
        ("wall_ms", "1"),
        ("wall_ms", None),
        ("deterministic", 1),
        ("deterministic", None),
        ("engine", 1),
        ("engine", "x" * 201),
        ("engine", "\ud800"),
        ("engine", "naïve"),
        ("engine", "two\nlines"),
        ("engine", "\x00"),
        ("engine", ["x"]),
        ("node_key", {}),
        ("signature", "é"),
    ],
)
def test_a_member_that_is_wrong(name, value):
    with pytest.raises(BadReceipt):
        Receipt.from_json({**SIGNED.to_json(), name: value})


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {**SIGNED.to_json(), "patient": "x"}, list(SIGNED.to_json())])
def test_what_is_no_receipt(value):
    with pytest.raises(BadReceipt):
        Receipt.from_json(value)


@pytest.mark.parametrize("name", [field.name for field in fields(Receipt)])
def test_every_member_is_needed(name):
    with pytest.raises(BadReceipt):
        Receipt.from_json({key: value for key, value in SIGNED.to_json().items() if key != name})


def test_whatever_is_read_can_be_checked_without_another_error():
    hostile = {**SIGNED.to_json(), "node_key": "not hexadecimal", "signature": "~"}
    with pytest.raises(BadSignature):
        Receipt.from_json(hostile).check_signature()
