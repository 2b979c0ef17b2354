import hashlib
import json
from dataclasses import fields, replace

import pytest

from bithive.canonical import canonical
from bithive.errors import BadSignature
from bithive.keys import SigningKey
from bithive.receipt import INSIDE, BadReceipt, Method, Receipt

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


SINCE_2 = ("tf32", "bf16")
SINCE_3 = ("gpu", "gpu_memory_bytes", "sealed_input_bytes", "sealed_output_bytes", "meter")
ABSENT = {1: SINCE_2 + SINCE_3, 2: SINCE_3}


def before(version):
    """What a node signed when that version was today's, as it was stored, and the name that it has for ever."""
    absent = {*ABSENT[version], "signature"}
    members = {name: value for name, value in UNSIGNED.to_json().items() if name not in absent}
    signed = b"bithive.receipt.v%d\x00" % version + canonical(members)
    return {**members, "signature": KEY.sign(signed)}, hashlib.sha256(signed).hexdigest()


@pytest.mark.parametrize("version", [1, 2])
def test_a_row_from_before_keeps_its_signature_and_its_name(version):
    row, name = before(version)
    read = Receipt.from_stored(json.loads(json.dumps(row)))
    read.check_signature()
    assert (read.version, read.digest) == (version, name)
    assert read.to_json() == row
    assert Receipt.from_stored(read.to_json()) == read
    assert (read.gpu, read.gpu_memory_bytes, read.sealed_input_bytes, read.meter) == ("", 0, 0, INSIDE)
    assert (read.tf32, read.bf16) == ((True, True) if version == 2 else (False, False))
    with pytest.raises(BadSignature):
        replace(read, wall_ms=8).check_signature()


def test_what_a_node_signed_before_is_read_byte_for_byte():
    """Rows as the releases before this one wrote them: fixed here, so that no later change can move them."""
    digests = {
        1: "c0d85da9b93352bf",
        2: "51333ed3cf58ceb4",
    }
    assert {version: before(version)[1][:16] for version in (1, 2)} == digests


def test_over_the_network_a_cell_of_the_last_release_is_understood():
    row, name = before(2)
    read = Receipt.from_wire(row)
    read.check_signature()
    assert read.digest == name
    assert Receipt.from_wire(SIGNED.to_json()) == SIGNED
    with pytest.raises(BadReceipt):
        Receipt.from_json(row)


def test_over_the_network_version_1_is_no_receipt():
    row, _ = before(1)
    for read in (Receipt.from_json, Receipt.from_wire):
        with pytest.raises(BadReceipt):
            read(row)


def test_a_row_of_today_is_read_as_it_is():
    assert Receipt.from_stored(SIGNED.to_json()) == SIGNED
    for name in SINCE_2 + SINCE_3:
        with pytest.raises(BadReceipt):
            Receipt.from_stored({key: value for key, value in SIGNED.to_json().items() if key != name})


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"patient": "x"}])
def test_a_row_that_is_no_receipt(value):
    with pytest.raises(BadReceipt):
        Receipt.from_stored(value)


@pytest.mark.parametrize("version", [1, 2])
def test_no_version_passes_for_another(version):
    row, _ = before(version)
    told = {name: UNSIGNED.to_json()[name] for name in ABSENT[version]}
    with pytest.raises(BadSignature):
        Receipt.from_json({**row, **told}).check_signature()
    cut = {key: value for key, value in SIGNED.to_json().items() if key not in ABSENT[version]}
    with pytest.raises(BadSignature):
        Receipt.from_stored(cut).check_signature()


def test_another_nodes_key_does_not_hold():
    stranger = SigningKey(b"1" * 32)
    with pytest.raises(BadSignature):
        replace(SIGNED, node_key=stranger.public_hex).check_signature()
    with pytest.raises(AssertionError):
        UNSIGNED.sign(stranger)


def test_a_signature_for_something_else_does_not_hold():
    members = UNSIGNED.signed_bytes().removeprefix(b"bithive.receipt.v3\x00")
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
