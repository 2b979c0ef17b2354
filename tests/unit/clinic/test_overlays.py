from dataclasses import replace

import numpy as np
import pytest

from clinic.overlays import SEGMENTATIONS, read_overlay
from clinic.writers import seg
from inference.findings import Findings, Mask
from tests.common.dicom_factory import make_series
from tests.common.written import SEGMENT, as_frames, context, ellipsoid, many, source_of

SHAPE = (10, 40, 31)
TILTED = {"modality": "CT", "positions": [(0, 0.3 * z, 2 * z) for z in range(SHAPE[0])]}


def archived(source, body):
    made = seg.write(body.segments, source, body.findings, body.context)
    assert made.sop_class in SEGMENTATIONS
    return read_overlay(made.content, source)


@pytest.mark.parametrize("count", [3, 25, 300])
def test_segments_come_back_as_one_array_of_numbers(count):
    source = source_of(make_series(SHAPE))
    body = many(source, count)
    there = np.flatnonzero(body.findings.labels.counts()[1:])
    body = replace(body, segments=tuple(body.segments[place] for place in there))
    overlay = archived(source, body)
    numbers = np.zeros(count + 1, overlay.array.dtype)
    numbers[there + 1] = np.arange(1, len(there) + 1)
    assert np.array_equal(overlay.array, numbers[body.findings.labels.array])
    assert overlay.array.dtype == (np.uint8 if len(there) < 256 else np.uint16)
    assert [segment.name for segment in overlay.segments] == [segment.label for segment in body.segments]
    for segment, declared in zip(overlay.segments, body.segments, strict=True):
        assert np.abs(np.array(segment.colour_rgb) - declared.colour_rgb).max() <= 3
    assert overlay.colours[1] == overlay.segments[0].colour_rgb


@pytest.mark.parametrize("count", [3, 25])
def test_of_a_tilted_source_the_overlay_lies_in_the_volume(count):
    source = source_of(make_series(SHAPE, (1, 1, 2), **TILTED))
    body = many(source, count)
    overlay = archived(source, body)
    assert overlay.array.shape == source.volume.array.shape != SHAPE
    for k in range(SHAPE[0]):
        assert np.array_equal(source.plane(overlay.array, k), source.plane(body.findings.labels.array, k))


@pytest.mark.parametrize("count", [3, 25])
def test_of_a_multi_frame_source_each_frame_finds_its_plane(count):
    source = source_of([as_frames(make_series(SHAPE))])
    body = many(source, count)
    assert np.array_equal(archived(source, body).array, body.findings.labels.array)


def test_where_segments_overlap_the_smaller_lies_on_top():
    source = source_of(make_series(SHAPE))
    small, large = ellipsoid(SHAPE, 0.2), ellipsoid(SHAPE, 0.8)
    for keys in (("a", "b"), ("b", "a")):
        outputs = [replace(SEGMENT, mask=key) for key in keys]
        findings = Findings((Mask("a", small), Mask("b", large)))
        overlay = read_overlay(seg.write(outputs, source, findings, context()).content, source)
        assert np.array_equal(overlay.array == keys.index("a") + 1, small)
        assert np.array_equal(overlay.array == keys.index("b") + 1, large & ~small)


@pytest.mark.parametrize("columns", [7, 9, 16])
def test_frames_whose_bits_end_inside_a_byte(columns):
    source = source_of(make_series((5, 3, columns)))
    mask = np.random.default_rng(columns).random((5, 3, columns)) > 0.5
    mask[2] = False
    content = seg.write([SEGMENT], source, Findings((Mask("intracranial", mask),)), context()).content
    assert np.array_equal(read_overlay(content, source).array, mask)
