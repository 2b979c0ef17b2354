"""How many replicas there should be: by queue length and by how soon what waits must be done. Pure.

A replica that is not needed keeps gigabytes of a machine that somebody else may want; one that has to be started first
costs the time to start and to load. So replicas are added when the queue is longer than they clear in turn, or when
something in it would miss its deadline behind what is before it; they go again when nothing was asked for a while.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """What scaling goes by.

    Attributes
    ----------
    minimum
        Replicas that stay when nothing is asked; None for one in every slot.
    queue_max
        How many Attempts may wait for each replica before another is started.
    run_s
        How long an Attempt is expected to take.
    start_s
        How long a replica takes to start and to load.
    idle_s
        How long nothing was asked before replicas go.
    """

    minimum: int | None = None
    queue_max: float = 1.0
    run_s: float = 10.0
    start_s: float = 10.0
    idle_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of one deployment now.

    Attributes
    ----------
    running
        Attempts that run.
    slack_s
        Of each one that waits: how long until it must be done; negative when that has passed.
    replicas
        As many as there are or are being started.
    capacity
        As many as its machines have room for.
    idle_s
        How long nothing was asked; 0 while something runs or waits.
    """

    running: int
    slack_s: tuple[float, ...]
    replicas: int
    capacity: int
    idle_s: float = 0.0


def wanted(demand: Demand, policy: Policy) -> int:
    """How many replicas one deployment should have, between its minimum and its capacity."""
    floor = demand.capacity if policy.minimum is None else min(policy.minimum, demand.capacity)
    waiting = len(demand.slack_s)
    if not demand.running and not waiting:
        return floor if demand.idle_s >= policy.idle_s else min(demand.capacity, max(floor, demand.replicas))
    by_length = demand.running if not waiting else -(-(demand.running + waiting) // (1 + policy.queue_max))
    by_deadline = _in_time(demand, max(demand.running, demand.replicas), policy)
    return int(min(demand.capacity, max(floor, demand.replicas, by_length, by_deadline, 1)))


def _in_time(demand: Demand, replicas: int, policy: Policy) -> int:
    """With how many replicas nothing that waits is late that need not be: the earliest deadline takes the next free.

    One more is started for whatever would be late behind what is before it. Where a new one would come too late as
    well it is started all the same: late sooner is better than late later.
    """
    free_s = [policy.run_s] * demand.running + [0.0] * max(0, replicas - demand.running)
    heapq.heapify(free_s)
    added = 0
    for slack_s in sorted(demand.slack_s):
        soonest_s = free_s[0] if free_s else float("inf")
        late = soonest_s + policy.run_s > slack_s
        if late and policy.start_s < soonest_s and replicas + added < demand.capacity:
            added += 1
            heapq.heappush(free_s, policy.start_s + policy.run_s)
        elif free_s:
            heapq.heapreplace(free_s, soonest_s + policy.run_s)
    return replicas + added


@dataclass(frozen=True, slots=True)
class Taker:
    """A deployment that wants slots of a kind: how many replicas, of how many slots each, and whether it comes first."""

    name: str
    replicas: int
    slots: int
    first: bool


def share_out(takers: Sequence[Taker], slots: Mapping[str, int], kinds: Mapping[str, str]) -> dict[str, int]:
    """Replicas for each deployment where several share the slots of a kind.

    What has a deployment of its own cannot run elsewhere, so it comes first; the general ones take what is left.

    Parameters
    ----------
    takers
        What each wants.
    slots
        Of each kind, in the whole cell.
    kinds
        The kind of each deployment.
    """
    left, shared = dict(slots), {}
    for taker in sorted(takers, key=lambda taker: (not taker.first, taker.name)):
        kind = kinds[taker.name]
        replicas = min(taker.replicas, left.get(kind, 0) // taker.slots)
        shared[taker.name] = replicas
        left[kind] = left.get(kind, 0) - replicas * taker.slots
    return shared
