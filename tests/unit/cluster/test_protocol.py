"""Messages read back what they wrote, and refuse everything else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.errors import BadInput
from bithive.limits import RECEIPT_BYTES_MAX
from bithive.offer import DataClass
from bithive.receipt import BadReceipt
from cluster.attempt import STAGES
from cluster.errors import BadMessage
from cluster.key_release import BadWrappedKeys, BoxKey, wrap
from cluster.protocol import Grant, Heartbeat, Hello, NodeGreeting, Welcome, decode_receipt, encode_receipt
from tests.common.network import SHA256, scene

NODE = NodeGreeting("0" * 64, 2, 1 << 40, 1, {"tier": "home", "residency": "eu"})
HELLO = Hello("a" * 64, "operator", DataClass.P1, (NODE, NODE), (SHA256,))


def test_messages_read_back(tmp_path: Path) -> None:
    stage = scene(tmp_path)
    made = stage.offer()
    grant = stage.cell.lease()
    beat = Heartbeat(1, "segmenting", 0.5, "nod_1")
    welcome = Welcome("cel_1", {"0" * 64: "nod_1"}, 3.0, 15.0)
    for message in (HELLO, grant, beat, welcome):
        assert type(message).from_json(json.loads(json.dumps(message.to_json()))) == message
    receipt = stage.cell.receipt(grant, made.payload, b"x")
    assert decode_receipt(encode_receipt(receipt)) == receipt
    assert len(encode_receipt(receipt)) < RECEIPT_BYTES_MAX // 2


def test_wrapped_keys_travel_in_version_2_alone(tmp_path: Path) -> None:
    stage = scene(tmp_path)
    stage.offer()
    plain = stage.cell.lease()
    sealed = wrap(plain.keys, BoxKey(b"\x01" * 32).public_hex, plain.offer.offer_id, plain.attempt_id, stage.ids)
    grant = replace(plain, released=sealed)
    message = json.loads(json.dumps(grant.to_json("2")))
    assert "keys" not in message
    assert Grant.from_json(message, "2") == grant
    assert (plain.wrapped, grant.wrapped) == (None, sealed)
    for wrong in ({**message, "keys": plain.keys.to_json()}, {**message, "wrapped": None}):
        with pytest.raises(BadInput):
            Grant.from_json(wrong, "2")
    with pytest.raises(BadMessage):
        Grant.from_json(message)
    for read in (lambda: grant.keys, grant.to_json):
        with pytest.raises(BadWrappedKeys):
            read()


WRONG: list[dict[str, Any]] = [
    {"protocol": 2},
    {"protocol": "1"},
    {"cell_key": "A" * 64},
    {"cell_key": "a" * 63},
    {"operator": ""},
    {"operator": "x" * 65},
    {"operator": "a\nb"},
    {"operator": None},
    {"data_class_max": "P4"},
    {"data_class_max": ["P0"]},
    {"nodes": []},
    {"nodes": [{}]},
    {"nodes": None},
    {"nodes": [NODE.labels]},
    {"bundles": ["x"]},
    {"bundles": "x"},
    {"more": 1},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_a_malformed_hello_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        Hello.from_json({**HELLO.to_json(), **change})


@pytest.mark.parametrize(
    "change",
    [{"threads": True}, {"threads": -1}, {"memory_bytes": 1.5}, {"gpus": 2**60}, {"labels": {"x": 1}}],
    ids=str,
)
def test_a_malformed_node_is_refused(change: dict[str, Any]) -> None:
    node = {**HELLO.to_json()["nodes"][0], **change}
    with pytest.raises(BadMessage):
        Hello.from_json({**HELLO.to_json(), "nodes": [node]})


def test_too_many_are_refused() -> None:
    whole = HELLO.to_json()
    for change in (
        {"nodes": whole["nodes"] * 200},
        {"bundles": [SHA256] * 1001},
        {"nodes": [{**whole["nodes"][0], "labels": {str(number): "x" for number in range(33)}}]},
    ):
        with pytest.raises(BadMessage):
            Hello.from_json({**whole, **change})


@pytest.mark.parametrize("stage", [*STAGES, "thinking", "", None, 3])
@pytest.mark.parametrize("fraction", [0, 1, 0.5, -0.1, 1.1, float("nan"), float("inf"), True, "1", None])
def test_a_heartbeat_has_a_word_and_a_fraction(stage: Any, fraction: Any) -> None:
    message = {"fencing_token": 1, "stage": stage, "fraction": fraction, "node": "nod_1"}
    if stage in STAGES and fraction in (0, 1, 0.5) and fraction is not True:
        assert Heartbeat.from_json(message).fraction == fraction
    else:
        with pytest.raises(BadMessage):
            Heartbeat.from_json(message)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(anything)
def test_anything_at_all_is_refused_by_a_code(value: Any) -> None:
    for kind in (Hello, Grant, Heartbeat, Welcome):
        with pytest.raises(BadInput):
            kind.from_json(value)


@given(st.text(max_size=200))
def test_any_header_is_a_receipt_or_refused(header: str) -> None:
    with pytest.raises(BadReceipt):
        decode_receipt(header)
