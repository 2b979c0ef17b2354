"""What work earns: how much BTT a period brings, and who gets which part. Pure functions over policies.

Anyone who has the exported log and the two policies computes the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from economy.entry import Policy
from economy.errors import BadPolicy
from economy.plan import split

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Emission:
    """The schedule: BTT a day, in steps.

    Attributes
    ----------
    version
        As declared in the ledger.
    asset
        Code of what is emitted.
    steps
        Pairs of start (milliseconds since the epoch) and amount a day, by start.
    """

    version: int
    asset: str
    steps: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, policy: Policy) -> Self:
        """Interpret a policy. Raises `BadPolicy`."""
        try:
            content: dict[str, Any] = json.loads(policy.content)
            steps = tuple((int(step["from_ms"]), int(step["per_day"])) for step in content["steps"])
            emission = cls(policy.version, str(content["asset"]), steps)
        except (KeyError, TypeError, ValueError) as error:
            raise BadPolicy("an emission schedule is malformed") from error
        if not steps or list(steps) != sorted(steps) or min(amount for _, amount in steps) < 0:
            raise BadPolicy("an emission schedule is not in order, or negative")
        return emission

    def until(self, at_ms: int) -> int:
        """All that the schedule allows to exist at a time."""
        ends = [*(start for start, _ in self.steps[1:]), at_ms]
        pieces = zip(self.steps, ends, strict=True)
        return sum(amount * max(min(end, at_ms) - start, 0) for (start, amount), end in pieces) // _DAY_MS

    def between(self, from_ms: int, to_ms: int) -> int:
        """What a period brings. Periods that touch sum to the whole, wherever they are cut."""
        assert from_ms <= to_ms, "a period does not end before it begins"
        return self.until(to_ms) - self.until(from_ms)


@dataclass(frozen=True, slots=True)
class RewardRule:
    """How a period's BTT is shared.

    Attributes
    ----------
    version
        As declared in the ledger.
    per_1000_work_units_max
        The most that 1,000 work units can earn; what the pool holds beyond that goes to the reserve.
    """

    version: int
    per_1000_work_units_max: int | None

    @classmethod
    def read(cls, policy: Policy) -> Self:
        """Interpret a policy. Raises `BadPolicy`."""
        try:
            content: dict[str, Any] = json.loads(policy.content)
            limit = content["per_1000_work_units_max"]
            if content["weight"] != "work-units" or not (limit is None or (type(limit) is int and limit >= 0)):
                raise BadPolicy("a reward rule is not one that is understood here")
        except (KeyError, TypeError, ValueError) as error:
            raise BadPolicy("a reward rule is malformed") from error
        return cls(policy.version, limit)

    def paid(self, pool: int, work_units: int) -> int:
        """How much of the pool so much work earns together."""
        if not work_units:
            return 0
        limit = self.per_1000_work_units_max
        return pool if limit is None else min(pool, work_units * limit // 1000)


def share_out(paid: int, work_units: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Each node's part, in the order of their party ids: (party, work units, amount); amounts sum to `paid`."""
    nodes: Sequence[str] = sorted(party for party, units in work_units.items() if units)
    if not nodes:
        assert paid == 0, "nothing is paid for no work"
        return []
    units = [work_units[party] for party in nodes]
    return list(zip(nodes, units, split(paid, units), strict=True))
