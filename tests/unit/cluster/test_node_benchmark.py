"""The benchmark of a machine: the cheapest first, what cannot run left out, the process always ended."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bithive.clock import ManualClock
from cluster.errors import RunnerDied, WorkFailed
from cluster.measure import Measured
from cluster.node_benchmark import UNITS_MAX, Speed, benchmark
from cluster.plan import Plan
from cluster.work import Assignment, Produced, method_of
from models.bundle import Bundle
from models.catalog import Catalog
from tests.common.hub import MODEL_STORE
from tests.common.network import warm

PLAN = Plan("store", (), (), (), "auto", 1, 4, 2**30, "")


class Process:
    """Runs nothing: says what it was asked, and takes the time that it is told to take."""

    def __init__(self, clock: ManualClock, ends: dict[str, str] | None = None, dies_at: int = 99) -> None:
        self.clock, self.ends, self.dies_at = clock, ends or {}, dies_at
        self.ran: list[str] = []
        self.closed = 0

    def start(self) -> None:
        if self.dies_at == 0:
            raise RunnerDied

    def run(self, assignment: Assignment, payload: memoryview, _tell: Callable[[str, float], None]) -> Produced:
        assert len(payload) > 0
        self.ran.append(assignment.bundle_sha256)
        if len(self.ran) == self.dies_at:
            raise RunnerDied
        self.clock.advance_s(1.0 if len(self.ran) % 2 else 0.5)
        if assignment.bundle_sha256 in self.ends:
            raise WorkFailed(self.ends[assignment.bundle_sha256])
        measured = Measured(0, 500, 400, 0, 1)
        method = method_of(warm(lambda: None).engine)
        return Produced("", "", "", method, assignment.work_units, "", len(payload), b"", measured)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    catalog = Catalog(MODEL_STORE)
    return {bundle.sha256: bundle for bundle in catalog.bundles().values()}


def nowhere(_name: str) -> Path | None:
    return None


def test_the_cheapest_first_and_no_image_no_run(bundles: dict[str, Bundle]) -> None:
    clock = ManualClock()
    process = Process(clock)
    speeds = list(benchmark(PLAN, bundles, nowhere, clock, 60, lambda _plan: process))
    assert [speed.bundle for speed in speeds] == ["composition_ct", "lungs_ct"]
    assert all(0 < speed.work_units <= UNITS_MAX and speed.wall_ms == 500 for speed in speeds)
    assert speeds == sorted(speeds, key=lambda speed: speed.work_units)
    assert len(process.ran) == 4 and process.closed == 1


def test_when_the_time_is_up_no_further_one_begins(bundles: dict[str, Bundle]) -> None:
    clock = ManualClock()
    process = Process(clock)
    assert len(list(benchmark(PLAN, bundles, nowhere, clock, 1.0, lambda _plan: process))) == 1
    assert process.closed == 1


def test_refused_findings_are_work_and_other_failures_are_not(bundles: dict[str, Bundle]) -> None:
    clock = ManualClock()
    by_name = {bundle.name: sha256 for sha256, bundle in bundles.items()}
    process = Process(clock, {by_name["lungs_ct"]: "implausible-findings", by_name["composition_ct"]: "out-of-memory"})
    speeds = list(benchmark(PLAN, bundles, nowhere, clock, 60, lambda _plan: process))
    assert [speed.bundle for speed in speeds] == ["lungs_ct"] and speeds[0].wall_ms >= 500


@pytest.mark.parametrize("dies_at", [0, 1, 3])
def test_a_process_that_dies_ends_it_with_what_was_measured(bundles: dict[str, Bundle], dies_at: int) -> None:
    clock = ManualClock()
    process = Process(clock, dies_at=dies_at)
    speeds = list(benchmark(PLAN, bundles, nowhere, clock, 60, lambda _plan: process))
    assert len(speeds) == (1 if dies_at == 3 else 0) and process.closed == 1


def test_nothing_to_run_starts_nothing() -> None:
    def refuses(_plan: Plan) -> Process:
        raise AssertionError

    assert list(benchmark(PLAN, {}, nowhere, ManualClock(), 60, refuses)) == []


def test_work_units_of_an_hour() -> None:
    assert Speed("b", 1500, 1500).units_per_h == 3_600_000
