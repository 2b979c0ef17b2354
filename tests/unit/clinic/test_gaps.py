import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bithive.errors import Refused
from clinic.gaps import step_mm


def attributes(thick=(), numbers=()):
    found = [{} for _ in range(max(len(thick), len(numbers)))]
    for item, thickness in zip(found, thick, strict=False):
        item["00180050"] = {"vr": "DS", "Value": [thickness]}
    for item, number in zip(found, numbers, strict=False):
        item["00200013"] = {"vr": "IS", "Value": [number]}
    return found


def judged(depths, thick=(), numbers=()):
    stated = attributes(thick, numbers) or [{}] * len(depths)
    try:
        step = step_mm(np.array(depths, float), stated)
    except Refused as refusal:
        return refusal.code
    return None if step is None else round(step, 3)


def run(*steps):
    return np.concatenate(([0.0], np.cumsum(steps)))


FOUR_SEVEN = run(*[4.002] * 5, 1.081, *[6.999] * 5)
POSTERIOR_FOSSA = run(*[5] * 6, 7.5, *[10] * 5)


@pytest.mark.parametrize(
    ("depths", "thick", "numbers", "expected"),
    [
        # even, and rounded
        (run(2, 2, 2), (), (), None),
        (np.round(np.arange(30) * 0.6667, 2), (), (), None),
        # a protocol of two thicknesses, overlapping or edge to edge
        (FOUR_SEVEN, [4] * 6 + [7] * 6, (), 4.002),
        (POSTERIOR_FOSSA, [5] * 7 + [10] * 6, range(13), 5),
        (POSTERIOR_FOSSA, [5] * 7 + [10] * 6, (), 5),
        # the same with nothing but consecutive numbers to show for it
        (POSTERIOR_FOSSA, (), range(13), 5),
        (POSTERIOR_FOSSA, (), (), "uneven-spacing"),
        # thick slices reconstructed at 1 mm, then at 2 mm: no tissue unseen
        (run(*[1] * 5, *[2] * 5), [2] * 11, (), 1),
        # half of an interleaved series has arrived: thin slices, a number skipped at each gap, or both
        (run(*[1] * 5, *[2] * 5), [1] * 11, (), "missing-slices"),
        (run(*[1] * 5, *[2] * 5), [2] * 11, [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16], "missing-slices"),
        # one lost slice: thin, overlapping, with a gap between slices, in the coarse zone, last but one
        (run(1, 1, 2, 1, 1), [1] * 6, (), "missing-slices"),
        (run(1, 1, 2, 1, 1), [2] * 6, (), "missing-slices"),
        (run(2, 2, 4, 2, 2), [3] * 6, (), "missing-slices"),
        (run(4.8, 4.8, 9.6, 4.8), [4] * 5, (), "missing-slices"),
        (run(*[4] * 5, *[7] * 3, 14, *[7] * 3), [4] * 5 + [7] * 8, (), "missing-slices"),
        (run(1, 1, 1, 2), [1] * 5, (), "missing-slices"),
        # two lost at two places
        (run(1, 2, 1, 3, 1, 1), [1] * 7, (), "missing-slices"),
        # distances that wander a little
        (run(5, 5.3, 4.8, 5.1, 4.9), [5] * 6, (), 5.02),
        # that wander too far, or have a hole of no whole number of slices
        (run(1, 1, 1.4, 1, 1), [1] * 6, (), "uneven-spacing"),
        (run(1, 1, 1, 1.5, 1.5, 1.5), [1] * 7, (), "uneven-spacing"),
        (run(5, 5.02, 0.03, 5, 5.01), [5] * 6, (), "uneven-spacing"),
        # a shorter last step
        (run(2, 2, 2, 2, 0.7), [2] * 6, (), 2),
        # numbers that say nothing: all equal, or running down
        (run(*[1] * 5, *[2] * 5), [2] * 11, [1] * 11, 1),
        (run(*[1] * 5, *[2] * 5), [2] * 11, range(20, 9, -1), 1),
    ],
)
def test_what_is_meant_so_and_what_is_missing(depths, thick, numbers, expected):
    assert judged(depths, tuple(thick), tuple(numbers)) == expected


def test_a_fine_zone_does_not_make_the_block_huge():
    depths = run(*[0.1] * 4, *[10] * 30)
    step = judged(depths, [12] * 35)
    assert depths[-1] / step <= 4 * 35


@given(
    st.lists(st.floats(0.02, 50), min_size=1, max_size=12),
    st.lists(st.one_of(st.none(), st.floats(0, 10), st.just("x")), min_size=13, max_size=13),
    st.lists(st.one_of(st.none(), st.integers(-3, 20)), min_size=13, max_size=13),
)
def test_whatever_comes_is_a_step_or_a_coded_refusal(steps, thick, numbers):
    depths = run(*steps)
    found = judged(depths, tuple(thick[: len(depths)]), tuple(numbers[: len(depths)]))
    assert found is None or found in {"missing-slices", "uneven-spacing"} or 0 < found <= 60


@given(st.integers(2, 12), st.data())
def test_a_slice_taken_out_of_an_even_stack_is_always_noticed(count, data):
    depths = list(run(*[2.5] * (count + 2)))
    del depths[data.draw(st.integers(1, len(depths) - 2))]
    if len(depths) > 3:
        assert judged(depths, [data.draw(st.sampled_from([1.0, 2.5, 4.0]))] * len(depths)) == "missing-slices"
