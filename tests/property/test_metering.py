"""Whatever a node claims, what it earns follows from the Offer and the network side's own interval alone."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import ReceiptRefused
from economy.events import AttemptAccepted
from economy.measures import work
from economy.rewards import RewardRule
from tests.common.network import Scene, scene, volume

RULE = RewardRule(2, None, speed_bp_max=12_000, online_floor_bp=8_000)
NODE, OPERATOR, NETWORK = (f"pty_01MCC5RM00Z8WTXDJ1YW00V1Z{n}" for n in range(3))

BIG = st.integers(0, 2**53 - 1)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "wall_ms": st.integers(0, 30_000) | BIG,
        "cpu_ms": st.integers(0, 30_000) | BIG,
        "gpu_ms": st.integers(0, 3) | BIG,
        "threads": st.integers(0, 4) | BIG,
        "peak_memory_bytes": st.integers(0, 9 << 30),
        "gpu_memory_bytes": st.integers(0, 3) | BIG,
        "work_units": st.integers(0, 100) | BIG,
        "input_size_bytes": st.integers(0, 5_000),
        "sealed_input_bytes": BIG,
        "sealed_output_bytes": BIG,
        "engine": st.sampled_from(["numpy", "a-much-faster-one"]),
        "device": st.sampled_from(["cpu", "cuda"]),
        "precision": st.sampled_from(["f64", "f16"]),
        "gpu": st.sampled_from(["", "The largest there is"]),
        "meter": st.sampled_from(["inside", "outside"]),
        "deterministic": st.booleans(),
    },
)


def earned(interval_s: int, claims: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """Reward units and the event's members of one Attempt of one Offer; None when the Receipt was refused."""
    folder = Path(tempfile.mkdtemp())
    try:
        stage: Scene = scene(folder)
        made = stage.offer(image=volume(1))
        grant = stage.cell.lease()
        for _ in range(interval_s):
            stage.clock.advance_s(1)
            stage.cell.beat(grant)
        try:
            stage.cell.finish(grant, made.payload, **claims)
        except ReceiptRefused:
            assert all(event.topic != "attempt.accepted" for event in stage.broker.store.outbox.waiting())
            said = stage.broker.counters(stage.cell.cell, stage.cell.node)
            assert [item.work_units for item in said] == [0]
            return None
        body = stage.broker.store.outbox.waiting()[-1].body
        (counter,) = stage.broker.counters(stage.cell.cell, stage.cell.node)
        assert (counter.work_units, counter.interval_ms) == (made.offer.work_units, interval_s * 1000)
        entry = work(AttemptAccepted.read(body), NODE, OPERATOR, NETWORK, RULE)
        moved = sum(leg.amount for leg in entry.transfers)
        return moved, {name: value for name, value in body.items() if name != "receipt_digest"}
    finally:
        shutil.rmtree(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(interval_s=st.integers(1, 20), claims=CLAIMS)
def test_claims_earn_nothing(interval_s: int, claims: dict[str, Any]) -> None:
    honest = earned(interval_s, {})
    assert honest is not None
    assert earned(interval_s, claims) in (None, honest)


@settings(max_examples=15, deadline=None)
@given(slow_s=st.integers(2, 40))
def test_slowness_earns_what_the_reference_earns_and_no_more(slow_s: int) -> None:
    at_reference, slow = earned(1, {}), earned(slow_s, {})
    assert at_reference is not None and slow is not None
    assert slow[0] == at_reference[0] == slow[1]["work_units"] * 10_000
