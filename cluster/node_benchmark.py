"""How fast a machine runs real bundles, in the units that the ledger pays: measured where and as bundles run in a cell.

Each bundle whose weights are here runs on an image of nobody (`cluster.canaries`), once to load it and once to measure.
A run whose findings are refused as implausible has done the whole work, so it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from bithive.clock import Clock
from bithive.ids import RandomIds
from bithive.offer import Offer
from cluster.bundle_process import BundleProcess
from cluster.canaries import Samples, image_of, keys_of, offer_of
from cluster.errors import RunnerDied, WorkFailed
from cluster.plan import Plan
from cluster.work import Assignment, Produced
from models.bundle import Bundle

UNITS_MAX = 6_000
"""An image that is worth more is left out: the benchmark is to take seconds."""

_DONE = frozenset({"implausible-findings"})
_SEED = b"bithive.node.benchmark.v1".ljust(32, b"\x00")


class Runs(Protocol):
    """What runs a bundle (`cluster.bundle_process.BundleProcess`)."""

    def start(self) -> object:
        """Begin. Raises `RunnerDied`."""

    def run(self, assignment: Assignment, payload: memoryview, tell: Callable[[str, float], None]) -> Produced:
        """Run one. Raises `WorkFailed`, `RunnerDied`."""

    def close(self) -> None:
        """End."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How one bundle ran.

    Attributes
    ----------
    bundle
        Its name.
    work_units
        Of the image: what one run is paid as.
    wall_ms
        What one run took once it was loaded.
    """

    bundle: str
    work_units: int
    wall_ms: int

    @property
    def units_per_h(self) -> int:
        """Work units in an hour of nothing else, on one slot."""
        return self.work_units * 3_600_000 // self.wall_ms


def benchmark(
    plan: Plan,
    bundles: Mapping[str, Bundle],
    samples: Samples,
    clock: Clock,
    budget_s: float,
    started: Callable[[Plan], Runs] = BundleProcess,
) -> Iterator[Speed]:
    """Run bundles, the cheapest first, until all ran or the time is up; what cannot run here is left out.

    Parameters
    ----------
    plan
        How they run: threads and memory as in service.
    bundles
        By SHA-256: those whose weights are here.
    samples
        Where public images lie.
    clock
        Time.
    budget_s
        After so long no further one begins.
    started
        Makes the process.
    """
    loads = sorted(_loads(bundles, samples, clock), key=lambda load: (load[0].work_units, load[0].bundle))
    if not loads:
        return
    begun_s, process = clock.monotonic_s(), started(plan)
    try:
        process.start()
        for offer, payload in loads:
            if clock.monotonic_s() - begun_s > budget_s:
                return
            wall_ms = _measured(process, offer, payload, clock)
            if wall_ms is not None:
                yield Speed(offer.bundle, offer.work_units, wall_ms)
    except RunnerDied:
        return
    finally:
        process.close()


def _loads(bundles: Mapping[str, Bundle], samples: Samples, clock: Clock) -> Iterator[tuple[Offer, bytes]]:
    for bundle in bundles.values():
        volume = image_of(bundle.name, samples, _SEED)
        if volume is None:
            continue
        ids = RandomIds(clock)
        offer = offer_of(ids.new("off"), ids.new("ins"), bundle, volume, _SEED, clock.now_ms())
        if offer.work_units <= UNITS_MAX:
            yield offer, volume.to_bytes()


def _measured(process: Runs, offer: Offer, payload: bytes, clock: Clock) -> int | None:
    """The time of the second run, in milliseconds, 1 at least."""
    assignment = Assignment.unleased(offer, keys_of(_SEED), "att_benchmark")
    wall_ms = 0
    for _ in range(2):
        begun_s = clock.monotonic_s()
        try:
            produced = process.run(assignment, memoryview(payload), _nobody)
            wall_ms = produced.measured.wall_ms
        except WorkFailed as error:
            if error.failure not in _DONE:
                return None
            wall_ms = round((clock.monotonic_s() - begun_s) * 1000)
    return max(1, wall_ms)


def _nobody(_stage: str, _fraction: float) -> None:
    pass
