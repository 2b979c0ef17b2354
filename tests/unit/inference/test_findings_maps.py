"""Scalar maps and classifications in the container of Findings."""

import struct
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bithive.limits import FINDINGS_CLASSES_MAX, FINDINGS_MAPS_MAX, FINDINGS_MEASUREMENTS_MAX
from inference.errors import BadFindings
from inference.findings import Classification, Findings, Mask, Measurement, ScalarMap, Score, announced_shapes
from tests.unit.inference.test_findings import container

SHAPE = (9, 7, 8)


def scalar_map(shape=SHAPE, seed=3, key="saliency"):
    array = np.zeros(shape, np.float32)
    inner = tuple(slice(1, max(2, size - 1)) for size in shape)
    array[inner] = np.random.default_rng(seed).normal(size=array[inner].shape).astype(np.float32)
    return ScalarMap(key, array)


def classes(count=3, key="plane"):
    return tuple(Classification(key, frame, f"class_{frame % 2}", frame / count) for frame in range(count))


def map_row(box=((0, 2), (0, 2), (0, 2)), shape=(2, 2, 2), slabs=None, values=(0.5,) * 8, **changes):
    packed = [zlib.compress(slab) for slab in ([struct.pack(f"<{len(values)}f", *values)] if slabs is None else slabs)]
    plain = {"key": "m", "shape": list(shape), "box": [list(pair) for pair in box]}
    return plain | {"chunks": [len(chunk) for chunk in packed]} | changes, b"".join(packed)


def mapped(tail=b"", **changes):
    plain, packed = map_row(**changes)
    return container(maps=[plain], tail=packed + tail)


def classed(**changes):
    row = {"key": "plane", "frame": 1, "value": "head", "certainty": 0.5} | changes
    return container(classes=[row])


@pytest.mark.parametrize("shape", [(1, 5, 6), (4, 5, 6), (5, 5, 6), (13, 5, 6)])
def test_maps_come_back_bit_for_bit_whatever_their_slabs(shape):
    found = Findings(maps=(scalar_map(shape), scalar_map(shape, 4, "other")))
    content = found.to_bytes()
    read = Findings.from_bytes(content, shape)
    for one, other in zip(read.maps, found.maps, strict=True):
        assert one.array.dtype == np.float32
        assert np.array_equal(one.array, other.array)
    assert read.to_bytes() == content
    assert announced_shapes(content) == [shape, shape]
    assert read.map("other").key == "other"
    assert read.map("absent") is None


def test_a_map_of_zeros_and_one_of_another_order_in_memory_come_back():
    empty = ScalarMap("m", np.zeros(SHAPE, np.float32))
    assert not Findings.from_bytes(Findings(maps=(empty,)).to_bytes(), SHAPE).maps[0].array.any()
    turned = ScalarMap("m", np.asfortranarray(scalar_map().array))
    assert np.array_equal(Findings.from_bytes(Findings(maps=(turned,)).to_bytes(), SHAPE).maps[0].array, turned.array)


@pytest.mark.parametrize("steps", [0, 16])
def test_a_map_is_compressed_only_where_that_pays(steps):
    array = np.random.default_rng(1).random((1, 256, 256), dtype=np.float32)
    array = np.round(array * steps) / steps if steps else array
    found = Findings(maps=(ScalarMap("m", array.astype(np.float32)),))
    content = found.to_bytes()
    assert (len(content) < array.nbytes / 2) == bool(steps)
    assert len(content) < array.nbytes + 1024
    assert np.array_equal(Findings.from_bytes(content, array.shape).maps[0].array, found.maps[0].array)


def test_classifications_come_back_and_are_told_by_frame():
    found = Findings(classes=(*reversed(classes()), Classification("quality", 1, "good", 1.0)))
    read = Findings.from_bytes(found.to_bytes(), SHAPE)
    assert read.classes == found.classes
    assert [item.frame for item in read.classified("plane")] == [0, 1, 2]
    assert read.classified("absent") == ()
    assert read.to_bytes() == found.to_bytes()


def test_everything_together_comes_back():
    mask = Mask("a", np.ones(SHAPE, bool))
    measured = (Measurement("whole", 2.0, "1"), Measurement("part", 2.5, "%", "a"))
    found = Findings((mask,), measured, (Score("s", 0.25),), None, (scalar_map(),), classes())
    read = Findings.from_bytes(found.to_bytes(), SHAPE)
    assert (read.measurements, read.scores, read.classes) == (found.measurements, found.scores, found.classes)
    assert np.array_equal(read.masks[0].array, mask.array)
    assert np.array_equal(read.maps[0].array, found.maps[0].array)
    assert read.score("s").value == 0.25
    assert read.score("t") is None


def test_what_the_hostile_ones_are_made_of_is_read():
    assert float(Findings.from_bytes(mapped(), SHAPE).maps[0].array.sum()) == 4.0
    assert Findings.from_bytes(classed(), SHAPE).classes == (Classification("plane", 1, "head", 0.5),)


@pytest.mark.parametrize(
    "content",
    [
        mapped(tail=b"\0"),
        mapped()[:-1],
        mapped(values=(0.5,) * 7),
        mapped(values=(0.5,) * 9),
        mapped(values=(0.5,) * 7 + (float("nan"),)),
        mapped(values=(0.5,) * 7 + (float("inf"),)),
        mapped(slabs=[]),
        mapped(slabs=[b"\0" * 16] * 2),
        mapped(slabs=[b"\0" * 10**6]),
        mapped(shape=(10, 2, 2)),
        mapped(shape=(2, 2)),
        mapped(shape=(0, 2, 2), box=((0, 0), (0, 2), (0, 2))),
        mapped(box=((0, 3), (0, 2), (0, 2))),
        mapped(box=((1, 0), (0, 2), (0, 2))),
        mapped(box=((0, 0), (0, 0), (0, 0))),
        mapped(chunks=[0]),
        mapped(chunks=[-5]),
        mapped(chunks=[10**9]),
        mapped(chunks=[True]),
        mapped(chunks={"a": 1}),
        mapped(key="UPPER"),
        mapped(key=7),
        mapped(dtype="float64"),
        container(maps={}),
        container(maps=[7]),
        container(maps=[map_row()[0], map_row()[0]], tail=map_row()[1] * 2),
        container(maps=[map_row(key=f"m{number}")[0] for number in range(FINDINGS_MAPS_MAX + 1)]),
        container(maps=[map_row()[0]], tail=b"\0" * len(map_row()[1])),
        classed(frame=-1),
        classed(frame=SHAPE[0]),
        classed(frame=10**9),
        classed(frame=1.0),
        classed(frame=True),
        classed(frame="1"),
        classed(value="Head"),
        classed(value=3),
        classed(value=""),
        classed(certainty=1.001),
        classed(certainty=-0.1),
        classed(certainty="1"),
        classed(certainty=None),
        classed(key=""),
        classed(extra=1),
        container(classes=None),
        container(classes=[{"key": "p", "frame": 0, "value": "a", "certainty": 1}] * 2),
        container(
            classes=[{"key": "p", "frame": 0, "value": "a", "certainty": 1} for _ in range(FINDINGS_CLASSES_MAX + 1)]
        ),
    ],
)
def test_hostile_maps_and_classes_are_refused(content):
    with pytest.raises(BadFindings):
        Findings.from_bytes(content, SHAPE)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_certainty_that_is_no_number_is_refused(value):
    content = classed(certainty=0.5).replace(b"0.5", value.encode()[:3].ljust(3))
    with pytest.raises(BadFindings):
        Findings.from_bytes(content, SHAPE)


def test_a_map_that_expands_beyond_what_it_announces_is_not_allocated():
    huge = (1, 16_384, 16_384)
    bomb = zlib.compress(b"\0" * (1 << 20), 9)
    row, _ = map_row(shape=huge, box=((0, 1), (0, 16_384), (0, 16_384)), chunks=[len(bomb)])
    tracemalloc.start()
    with pytest.raises(BadFindings):
        Findings.from_bytes(container(maps=[row], tail=bomb), (1, 4_096, 4_096))
    many = [row | {"key": f"m{number}"} for number in range(3)]
    with pytest.raises(BadFindings):
        Findings.from_bytes(container(maps=many, tail=bomb * 3), huge)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 2))
def test_a_changed_or_missing_byte_is_refused_or_reads_as_findings(place, value, cut):
    content = bytearray(Findings(maps=(scalar_map(),), classes=classes()).to_bytes())
    content[place % len(content)] = value
    try:
        read = Findings.from_bytes(content[cut:], SHAPE)
    except BadFindings:
        return
    assert all(np.isfinite(item.array).all() and item.array.shape <= SHAPE for item in read.maps)
    assert all(item.frame < SHAPE[0] and 0 <= item.certainty <= 1 for item in read.classes)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2, 2), np.float64),
        np.zeros((0, 2, 2), np.float32),
        np.full((2, 2, 2), np.nan, np.float32),
        np.full((2, 2, 2), -np.inf, np.float32),
    ],
)
def test_what_is_no_map_is_refused(array):
    with pytest.raises(BadFindings):
        ScalarMap("m", array)


@pytest.mark.parametrize(
    "changes",
    [{"frame": -1}, {"frame": True}, {"frame": 2**31}, {"certainty": float("nan")}, {"certainty": 2}, {"value": "X"}],
)
def test_what_is_no_classification_is_refused(changes):
    with pytest.raises(BadFindings):
        replace(classes(1)[0], **changes)


def test_one_frame_has_one_class_of_a_kind_and_one_map_a_key():
    with pytest.raises(BadFindings):
        Findings(classes=classes(2) + classes(1))
    with pytest.raises(BadFindings):
        Findings(maps=(scalar_map(), scalar_map()))


def test_the_largest_numbers_are_read_and_one_more_is_refused():
    full = Findings(
        measurements=tuple(Measurement(f"{'m' * 58}{n:06}", n / 7, "mL") for n in range(FINDINGS_MEASUREMENTS_MAX)),
        classes=tuple(Classification("k" * 64, n, "v" * 64, n / 7919) for n in range(FINDINGS_CLASSES_MAX)),
    )
    read = Findings.from_bytes(full.to_bytes(), (FINDINGS_CLASSES_MAX, 1, 1))
    assert (read.classes, read.measurements) == (full.classes, full.measurements)
    with pytest.raises(BadFindings):
        replace(full, measurements=(*full.measurements, Measurement("one_more", 1.0, "mL")))
    with pytest.raises(BadFindings):
        replace(full, classes=(*full.classes, Classification("other", 0, "a", 1.0)))
