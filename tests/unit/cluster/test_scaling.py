"""How many replicas: by queue and by deadline, within bounds, never in fits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling import Demand, Policy, Taker, share_out, wanted

POLICY = Policy(minimum=1, queue_max=1, run_s=10, start_s=10, idle_s=600)
IDLE = Demand(0, (), 1, 4)
FAR = 1e9


@pytest.mark.parametrize(
    ("demand", "policy", "replicas"),
    [
        (IDLE, POLICY, 1),
        (IDLE, replace(POLICY, minimum=None), 4),
        (replace(IDLE, replicas=0), replace(POLICY, minimum=0), 0),
        (replace(IDLE, replicas=0), POLICY, 1),
        # It stays a while, then goes.
        (replace(IDLE, replicas=4, idle_s=599), POLICY, 4),
        (replace(IDLE, replicas=4, idle_s=600), POLICY, 1),
        (replace(IDLE, replicas=4, idle_s=600), replace(POLICY, minimum=0), 0),
        # By length: one may wait for each.
        (Demand(1, (FAR,), 1, 4), POLICY, 1),
        (Demand(1, (FAR, FAR), 1, 4), POLICY, 2),
        (Demand(1, (FAR,) * 100, 1, 4), POLICY, 4),
        (Demand(0, (FAR,), 0, 4), replace(POLICY, minimum=0), 1),
        # By deadline: what would be late behind what runs gets one of its own.
        (Demand(1, (15.0,), 1, 4), replace(POLICY, start_s=5), 2),
        (Demand(1, (25.0,), 1, 4), replace(POLICY, start_s=5), 1),
        # A new one would be ready no sooner than the one that runs is free.
        (Demand(1, (15.0,), 1, 4), POLICY, 1),
        (Demand(2, (16.0, 16.0), 2, 4), replace(POLICY, start_s=5), 4),
        (Demand(2, (-5.0, -5.0, -5.0), 2, 4), replace(POLICY, start_s=5), 4),
        # Nowhere to go.
        (Demand(0, (1.0,), 0, 0), POLICY, 0),
    ],
)
def test_the_table(demand: Demand, policy: Policy, replicas: int) -> None:
    assert wanted(demand, policy) == replicas


demands = st.builds(
    Demand,
    st.integers(0, 50),
    st.lists(st.floats(-100, 1000, allow_nan=False), max_size=50).map(tuple),
    st.integers(0, 60),
    st.integers(0, 50),
    st.floats(0, 1000),
)
policies = st.builds(
    Policy,
    st.none() | st.integers(0, 60),
    st.floats(0, 4),
    st.floats(0.1, 60),
    st.floats(0.1, 60),
    st.floats(0, 600),
)


@given(demands, policies)
def test_it_stays_within_bounds(demand: Demand, policy: Policy) -> None:
    count = wanted(demand, policy)
    assert 0 <= count <= demand.capacity
    if policy.minimum is None:
        assert count == demand.capacity
    if demand.slack_s and demand.capacity:
        assert count >= 1, "what waits is served"


@given(demands, policies)
def test_it_takes_none_away_while_something_is_asked(demand: Demand, policy: Policy) -> None:
    if demand.running or demand.slack_s:
        assert wanted(demand, policy) >= min(demand.capacity, demand.replicas)


@given(demands, policies)
def test_less_time_never_means_fewer(demand: Demand, policy: Policy) -> None:
    hurried = replace(demand, slack_s=tuple(-1e6 for _ in demand.slack_s))
    relaxed = replace(demand, slack_s=tuple(1e9 for _ in demand.slack_s))
    assert wanted(hurried, policy) >= wanted(relaxed, policy)


def test_what_cannot_run_elsewhere_comes_first() -> None:
    takers = [Taker("gpu50", 4, 1, first=False), Taker("gpu50-b", 1, 2, first=True), Taker("cpu", 3, 1, first=False)]
    kinds = {"gpu50": "gpu50", "gpu50-b": "gpu50", "cpu": "cpu"}
    assert share_out(takers, {"gpu50": 4, "cpu": 2}, kinds) == {"gpu50": 2, "gpu50-b": 1, "cpu": 2}
    assert share_out(takers, {}, kinds) == dict.fromkeys(kinds, 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4), st.booleans()), max_size=6), st.integers(0, 20))
def test_no_slot_is_given_twice(asked: list[tuple[int, int, bool]], slots: int) -> None:
    takers = [Taker(str(number), *one) for number, one in enumerate(asked)]
    shared = share_out(takers, {"cpu": slots}, {taker.name: "cpu" for taker in takers})
    assert sum(shared[taker.name] * taker.slots for taker in takers) <= slots
