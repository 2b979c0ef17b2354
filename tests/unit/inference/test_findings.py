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
from inference.findings import MAGIC, Findings, LabelMap, Mask, Measurement, Score, announced_shapes, bounding_box

SHAPE = (20, 30, 40)


def findings():
    array = np.zeros(SHAPE, bool)
    array[3:9, 4:9, 5:12] = True
    array[4, 5, 6] = False
    return Findings((Mask("a", array),), (Measurement("v", 3.5, "mL", "a"),), (Score("s", 0.1),))


def container(masks=(), measurements=(), scores=(), tail=b"", **extra):
    listed = {"masks": list(masks), "measurements": list(measurements), "scores": list(scores)}
    header = listed | {"labels": None, "maps": [], "classes": []} | extra
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


def label_row(box=((0, 2), (0, 2), (0, 2)), shape=(2, 2, 2), dtype="uint8", keys=("a", "b"), slabs=None, **changes):
    packed = [zlib.compress(slab) for slab in ([bytes((0, 1, 2, 0, 0, 0, 0, 1))] if slabs is None else slabs)]
    plain = {
        "shape": list(shape),
        "box": [list(pair) for pair in box],
        "dtype": dtype,
        "keys": keys if isinstance(keys, str) else list(keys),
        "chunks": [len(chunk) for chunk in packed],
    }
    return plain | changes, b"".join(packed)


def labelled(*args, tail=b"", **changes):
    plain, packed = label_row(*args, **changes)
    return container(labels=plain, tail=packed + tail)


def label_map(shape=(70, 9, 8), dtype=np.uint8, seed=7):
    array = np.zeros(shape, dtype)
    array[3:-2, 1:-1, 2:] = np.random.default_rng(seed).integers(0, 4, (shape[0] - 5, shape[1] - 2, shape[2] - 2))
    return LabelMap(array, ("a", "b", "c"))


def test_what_the_hostile_ones_are_made_of_is_read():
    assert Findings.from_bytes(masks(row()), SHAPE).masks[0].array.all()
    read = Findings.from_bytes(labelled(), SHAPE)
    assert read.labels.array.reshape(-1).tolist() == [0, 1, 2, 0, 0, 0, 0, 1]
    assert Findings.from_bytes(labelled(dtype="uint16", slabs=[b"\2\0" * 8]), SHAPE).labels.array.tolist()[0][0][0] == 2


@pytest.mark.parametrize(
    "content",
    [
        labelled(tail=b"\0"),
        labelled()[:-1],
        labelled(shape=(21, 2, 2)),
        labelled(shape=(0, 2, 2), box=((0, 0), (0, 2), (0, 2))),
        labelled(shape=[2, 2]),
        labelled(box=((0, 3), (0, 2), (0, 2))),
        labelled(box=((1, 0), (0, 2), (0, 2))),
        labelled(box=((0, 2), (0, 2))),
        labelled(box=((0, 2), (0, 2), (0, 1))),
        labelled(box=((0, 0), (0, 0), (0, 0))),
        labelled(dtype="int8"),
        labelled(dtype="uint32"),
        labelled(dtype=">u2"),
        labelled(dtype=["uint8"]),
        labelled(dtype="uint16"),
        labelled(keys=()),
        labelled(keys=("a",)),
        labelled(keys=("a", "a")),
        labelled(keys=("a", "B")),
        labelled(keys=("a", 1)),
        labelled(keys="ab"),
        labelled(keys=[f"k{number}" for number in range(FINDINGS_ITEMS_MAX + 1)]),
        labelled(slabs=[]),
        labelled(slabs=[b"\0" * 7]),
        labelled(slabs=[b"\0" * 9]),
        labelled(slabs=[b"\0" * 10**6]),
        labelled(slabs=[b"\0" * 4] * 2),
        labelled(slabs=[b"\3" * 8]),
        labelled(chunks=[0]),
        labelled(chunks=[-1]),
        labelled(chunks=[True]),
        labelled(chunks=[10**6]),
        labelled(chunks={"a": 1}),
        labelled(chunks=[1] * 600),
        labelled(extra=1),
        container(labels=[], tail=label_row()[1]),
        container(labels=label_row()[0], tail=b"\0" * len(label_row()[1])),
        container([GOOD | {"key": "a"}], labels=label_row()[0], tail=PACKED + label_row()[1]),
        container([GOOD], labels=label_row()[0], tail=label_row()[1] + PACKED),
        container(
            labels=label_row()[0],
            tail=label_row()[1],
            measurements=[{"key": "v", "value": 1, "unit": "mL", "mask": "absent"}],
        ),
        container([GOOD | {"size_bytes": len(PACKED) + 1}], tail=PACKED),
    ],
)
def test_hostile_label_maps_are_refused(content):
    with pytest.raises(BadFindings):
        Findings.from_bytes(content, SHAPE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", [6, 37, 69, 70])
def test_a_label_map_comes_back_whatever_its_slabs(dtype, planes):
    labels = label_map((planes, 9, 8), dtype)
    found = Findings((Mask("m", labels.array == 9),), (Measurement("v", 1.0, "mL", "b"),), (), labels)
    content = found.to_bytes()
    read = Findings.from_bytes(content, labels.array.shape)
    assert read.labels.array.dtype == dtype
    assert np.array_equal(read.labels.array, labels.array)
    assert read.labels.keys == ("a", "b", "c")
    assert read.structures == ("m", "a", "b", "c")
    assert read.to_bytes() == content
    assert announced_shapes(content) == [labels.array.shape] * 2


def test_a_label_map_of_another_order_in_memory_comes_back():
    labels = LabelMap(np.asfortranarray(label_map().array), ("a", "b", "c"))
    read = Findings.from_bytes(Findings(labels=labels).to_bytes(), labels.array.shape)
    assert np.array_equal(read.labels.array, labels.array)


def test_no_label_is_findings_too():
    labels = LabelMap(np.zeros(SHAPE, np.uint8), ("a",))
    read = Findings.from_bytes(Findings(labels=labels).to_bytes(), SHAPE)
    assert not read.labels.array.any()
    assert read.labels.counts().tolist() == [20 * 30 * 40, 0]


def test_structures_are_taken_out_of_a_label_map():
    labels = label_map()
    found = Findings((Mask("m", labels.array == 9),), labels=labels)
    assert labels.counts().tolist() == np.bincount(labels.array.reshape(-1), minlength=4).tolist()
    assert [labels.number(key) for key in ("a", "c", "m")] == [1, 3, 0]
    assert np.array_equal(found.mask("b").array, labels.array == 2)
    assert np.array_equal(found.plane("b", 30), labels.array[30] == 2)
    assert not found.plane("m", 30).any()
    assert found.mask("x") is None
    with pytest.raises(KeyError):
        found.plane("x", 0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 1))
def test_a_changed_or_missing_byte_of_a_label_map_is_refused_or_reads_as_findings(place, value, cut):
    labels = label_map()
    content = bytearray(Findings(labels=labels).to_bytes())
    content[place % len(content)] = value
    try:
        read = Findings.from_bytes(content[cut:], labels.array.shape)
    except BadFindings:
        return
    assert read.labels is None or int(read.labels.array.max()) <= 3


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
    labels = {
        "shape": [1, 1, 8],
        "box": [[0, 1], [0, 1], [0, 8]],
        "dtype": "uint8",
        "keys": ["a"],
        "chunks": [len(bomb)],
    }
    tall = labels | {"shape": [4000] * 3, "box": [[0, 4000]] * 3, "chunks": [len(packed)] + [1] * 124}
    contents = (
        container([plain], tail=bomb),
        container([wide], tail=packed),
        container(labels=labels, tail=bomb),
        container(labels=tall, tail=packed + b"\0" * 124),
    )
    tracemalloc.start()
    for content in contents:
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
        lambda: LabelMap(array, ("a",)),
        lambda: LabelMap(array[0].astype(np.uint8), ("a",)),
        lambda: LabelMap(array.astype(np.int16), ("a",)),
        lambda: LabelMap(array.astype(np.uint8), ()),
        lambda: LabelMap(array.astype(np.uint8) + 2, ("a",)),
        lambda: LabelMap(array.astype(np.uint8), ("a", "a")),
        lambda: Findings((Mask("m", array),), labels=LabelMap(array.astype(np.uint8), ("m",))),
        lambda: Score("s", float("inf")),
        lambda: Findings((Mask("m", array), Mask("m", array))),
        lambda: Findings(measurements=(Measurement("v", 1.0, "mL", "absent"),)),
    ):
        with pytest.raises(BadFindings):
            make()
