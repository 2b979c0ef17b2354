import json
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bithive.limits import FINDINGS_ITEMS_MAX
from inference.errors import BadFindings
from inference.findings import MAGIC, Findings, Mask, Measurement, Score, bounding_box

SHAPE = (20, 30, 40)


def findings():
    array = np.zeros(SHAPE, bool)
    array[3:9, 4:9, 5:12] = True
    array[4, 5, 6] = False
    return Findings((Mask("a", array),), (Measurement("v", 3.5, "mL", "a"),), (Score("s", 0.1),))


def container(masks=(), measurements=(), scores=(), tail=b"", **extra):
    header = {"masks": list(masks), "measurements": list(measurements), "scores": list(scores)} | extra
    text = json.dumps(header).encode()
    start = struct.pack("<8sI", MAGIC, len(text)) + text
    return start + b" " * (-len(start) % 64) + tail


def row(box=((0, 2), (0, 2), (0, 2)), shape=(2, 2, 2), size=None, bits=b"\xff", **changes):
    packed = zlib.compress(bits)
    plain = {
        "key": "m",
        "shape": list(shape),
        "box": [list(pair) for pair in box],
        "size_bytes": len(packed) if size is None else size,
    }
    return plain | changes, packed


def test_they_come_back_as_they_were():
    given_findings = findings()
    read = Findings.from_bytes(given_findings.to_bytes(), SHAPE)
    assert np.array_equal(read.mask("a").array, given_findings.mask("a").array)
    assert read.measurements == given_findings.measurements
    assert read.scores == given_findings.scores
    assert read.to_bytes() == given_findings.to_bytes()
    assert read.measurement("v").value == 3.5
    assert read.measurement("w") is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.tuples(*[st.integers(1, 9)] * 3), st.floats(0, 1))
def test_any_mask_comes_back(seed, shape, share):
    array = np.random.default_rng(seed).random(shape) < share
    read = Findings.from_bytes(Findings((Mask("m", array),)).to_bytes(), shape)
    assert np.array_equal(read.masks[0].array, array)


def test_nothing_found_is_findings_too():
    empty = Findings((Mask("m", np.zeros(SHAPE, bool)),))
    assert not Findings.from_bytes(empty.to_bytes(), SHAPE).masks[0].array.any()
    assert Findings.from_bytes(Findings().to_bytes(), (1, 1, 1)).masks == ()


def test_bounding_box():
    array = np.zeros(SHAPE, bool)
    assert bounding_box(array) == ((0, 0), (0, 0), (0, 0))
    array[2, 3, 4] = array[19, 29, 39] = True
    assert bounding_box(array) == ((2, 20), (3, 30), (4, 40))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000))
def test_each_truncation_is_refused(length):
    content = findings().to_bytes()
    if length < len(content):
        with pytest.raises(BadFindings):
            Findings.from_bytes(content[:length], SHAPE)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_reads_as_findings(place, value):
    content = bytearray(findings().to_bytes())
    content[place % len(content)] = value
    try:
        read = Findings.from_bytes(content, SHAPE)
    except BadFindings:
        return
    assert all(mask.array.shape <= SHAPE for mask in read.masks)


def masks(*rows):
    return container([plain for plain, _ in rows], tail=b"".join(packed for _, packed in rows))


GOOD, PACKED = row()


@pytest.mark.parametrize(
    "content",
    [
        findings().to_bytes() + b"\0",
        masks(row(shape=(21, 2, 2))),
        masks(row(shape=(0, 2, 2), box=((0, 0), (0, 2), (0, 2)))),
        masks(row(box=((0, 3), (0, 2), (0, 2)))),
        masks(row(box=((1, 0), (0, 2), (0, 2)))),
        masks(row(box=((-1, 2), (0, 2), (0, 2)))),
        masks(row(box=((0, 2), (0, 2)))),
        masks(row(bits=b"\xff\xff")),
        masks(row(bits=b"")),
        masks(row(box=((0, 1), (0, 1), (0, 2)), bits=b"\xff")),
        masks(row(bits=b"\xff" * 10**6)),
        masks(row(size=0)),
        masks(row(size=10**6)),
        masks(row(key="M")),
        masks(row(key="../m")),
        masks(row(key=1)),
        masks(row(shape=[2, 2])),
        masks(row(extra=1)),
        masks(row(), row()),
        container([GOOD], tail=b"\0" * len(PACKED)),
        container([GOOD], tail=PACKED[:-1] + b"\1"),
        container([GOOD] * (FINDINGS_ITEMS_MAX + 1), tail=PACKED * (FINDINGS_ITEMS_MAX + 1)),
        container({"a": 1}),
        container(measurements=[{"key": "v", "value": 1, "unit": "mL", "mask": "absent"}]),
        container(measurements=[{"key": "v", "value": "1", "unit": "mL", "mask": None}]),
        container(measurements=[{"key": "v", "value": True, "unit": "mL", "mask": None}]),
        container(measurements=[{"key": "v", "value": 10**400, "unit": "mL", "mask": None}]),
        container(measurements=[{"key": "v", "value": 1, "unit": "a unit\n", "mask": None}]),
        container(measurements=[{"key": "v", "value": 1, "unit": 7, "mask": None}]),
        container(measurements=[{"key": "v", "value": 1, "unit": "mL"}]),
        container(scores=[{"key": "s", "value": None}]),
        container(scores=[{"key": "s", "value": 1}] * 2),
        container(scores=[7]),
        container(extra=[]),
    ],
)
def test_hostile_containers_are_refused(content):
    with pytest.raises(BadFindings):
        Findings.from_bytes(content, SHAPE)


def test_a_bomb_allocates_next_to_nothing():
    bomb = zlib.compress(b"\xff" * 2**26, 9)
    plain, _ = row(box=((0, 1), (0, 1), (0, 8)), shape=(1, 1, 8), size=len(bomb))
    wide, packed = row(box=((0, 4000),) * 3, shape=(4000, 4000, 4000))
    tracemalloc.start()
    for content in (container([plain], tail=bomb), container([wide], tail=packed)):
        with pytest.raises(BadFindings):
            Findings.from_bytes(content, (4000, 4000, 4000))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_nothing_else_is_findings():
    array = np.zeros(SHAPE, bool)
    for make in (
        lambda: Mask("m", array.astype(np.uint8)),
        lambda: Mask("m", array[0]),
        lambda: Measurement("v", float("nan"), "mL"),
        lambda: Score("s", float("inf")),
        lambda: Findings((Mask("m", array), Mask("m", array))),
        lambda: Findings(measurements=(Measurement("v", 1.0, "mL", "absent"),)),
    ):
        with pytest.raises(BadFindings):
            make()
