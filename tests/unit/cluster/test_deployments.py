"""Deployments follow from machines and bundles."""

from hypothesis import given
from hypothesis import strategies as st

from cluster.deployments import Deployment, deployments, serving
from cluster.lent import Shape, shape_of

GIB = 2**30
PLAIN = Shape(2)
HALF = Shape(4, 50, 2, 8 * GIB)
SMALL, LARGE, HUGE = "a" * 64, "b" * 64, "c" * 64
NEEDS = {SMALL: 3 * GIB, LARGE: 6 * GIB, HUGE: 9 * GIB}


def test_each_kind_of_slot_has_a_general_one() -> None:
    assert deployments([PLAIN, PLAIN], NEEDS) == (Deployment("cpu", "cpu", 1, 0),)
    names = [item.name for item in deployments([PLAIN, HALF, PLAIN], {})]
    assert names == ["cpu", "gpu50"]


def test_a_bundle_that_needs_more_than_a_slot_has_one_of_its_own() -> None:
    _, own = deployments([HALF], NEEDS)
    assert own == Deployment("gpu50-" + "b" * 12, "gpu50", 2, 75, LARGE)


def test_it_goes_where_there_is_memory_enough() -> None:
    shapes = [PLAIN, HALF]
    made = deployments(shapes, NEEDS)
    assert serving(made, SMALL, NEEDS[SMALL], shapes) == ["cpu", "gpu50"]
    assert serving(made, LARGE, NEEDS[LARGE], shapes) == ["gpu50-" + "b" * 12, "cpu"]
    assert serving(made, HUGE, NEEDS[HUGE], shapes) == ["cpu"]
    assert serving(deployments([HALF], NEEDS), HUGE, NEEDS[HUGE], [HALF]) == []


def test_without_machines_there_is_nothing() -> None:
    assert deployments([], NEEDS) == ()
    assert serving((), SMALL, 0, []) == []


@given(
    st.lists(
        st.builds(shape_of, st.integers(1, 200), st.integers(0, 8), st.just(8 * GIB), st.integers(0, 10_000)),
        max_size=5,
    ),
    st.dictionaries(st.sampled_from([SMALL, LARGE, HUGE]), st.integers(0, 12 * GIB)),
)
def test_nothing_takes_more_than_its_machine_has(shapes: list[Shape], needs: dict[str, int]) -> None:
    made = deployments(shapes, needs)
    assert len({item.name for item in made}) == len(made)
    for item in made:
        shape = next(shape for shape in shapes if shape.name == item.kind)
        assert item.gpu_hundredths <= 100
        assert 1 <= item.slots <= max(shape.slots for shape in shapes if shape.name == item.kind)
        if item.bundle:
            assert needs[item.bundle] * 100 <= item.gpu_hundredths * shape.gpu_memory_bytes
    for sha256, need in needs.items():
        assert set(serving(made, sha256, need, shapes)) <= {item.name for item in made}
