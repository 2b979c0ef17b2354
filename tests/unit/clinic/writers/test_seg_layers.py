from dataclasses import replace

import numpy as np
import pytest

from clinic.writers.seg_layers import Layers, present
from inference.findings import Findings, LabelMap, Mask
from tests.common.dicom_factory import make_series
from tests.common.written import SEGMENT, ellipsoid, many, source_of

SHAPE = (6, 9, 8)


@pytest.fixture(scope="module")
def source():
    return source_of(make_series(SHAPE))


def outputs(*keys):
    return [replace(SEGMENT, mask=key) for key in keys]


def labelled(keys=("a", "b", "c")) -> Findings:
    array = np.zeros(SHAPE, np.uint8)
    array[1, 2:4, 2:4], array[2, 2:4, 2:4], array[4, 5, 6] = 1, 2, 3
    return Findings(labels=LabelMap(array, keys))


def test_a_label_map_in_its_own_order_is_taken_as_it_stands(source):
    findings = labelled()
    layers = Layers.of(outputs("a", "b", "c"), findings)
    assert np.shares_memory(layers.plane(source, 1), findings.labels.array)
    assert layers.in_planes(source) == [(), (1,), (2,), (), (3,), ()]
    assert not layers.overlap(source)


def test_numbers_follow_the_outputs_and_not_the_labels(source):
    layers = Layers.of(outputs("c", "a"), labelled())
    assert layers.in_planes(source) == [(), (2,), (), (), (1,), ()]
    assert layers.plane(source, 4)[5, 6] == 1
    assert layers.bits(source, 2, 1).sum() == 4
    assert not layers.plane(source, 2).any(), "what is no segment is background"


def test_masks_and_labels_are_layers_of_one_object(source):
    mask = np.zeros(SHAPE, np.bool_)
    mask[4, 0, 0] = True
    findings = replace(labelled(), masks=(Mask("m", mask),))
    layers = Layers.of(outputs("a", "m", "b", "c"), findings)
    assert layers.in_planes(source) == [(), (1,), (3,), (), (2, 4), ()]
    assert (layers.plane(source, 4)[0, 0], layers.plane(source, 4)[5, 6]) == (2, 4)
    assert not layers.overlap(source)
    mask[4, 5, 6] = True
    assert layers.overlap(source)
    with pytest.raises(KeyError):
        layers.bits(source, 5, 0)


def test_more_than_255_segments_take_two_bytes(source):
    body = many(source, 300)
    layers = Layers.of(body.segments, body.findings)
    assert layers.dtype == np.uint16
    there = body.findings.labels.counts()[1:]
    seen = {number for numbers in layers.in_planes(source) for number in numbers}
    assert seen == {number for number, count in enumerate(there, start=1) if count}


def test_what_is_written_has_to_be_found(source):
    with pytest.raises(AssertionError):
        Layers.of(outputs("a", "z"), labelled())


def test_what_has_a_voxel_is_present():
    empty, filled = np.zeros(SHAPE, np.bool_), ellipsoid(SHAPE)
    findings = replace(labelled(("a", "b", "c")), masks=(Mask("m", filled), Mask("n", empty)))
    findings.labels.array[1] = 0
    assert present(findings) == {"b", "c", "m"}
    assert present(Findings()) == frozenset()
