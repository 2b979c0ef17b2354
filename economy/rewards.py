"""What work earns: how much BTT a period brings, what counts for how much, and who gets which part. Pure functions.

Anyone who has the exported log and the policies in it computes the same numbers: `docs/rewards.md` says how.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self

from economy.entry import Policy
from economy.errors import BadPolicy
from economy.plan import split

WHOLE_BP = 10_000
"""A factor of one, in hundredths of a percent."""
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


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


class Speed(StrEnum):
    """Why a Receipt's work has the speed factor that it has."""

    UNKNOWN = "interval-unknown"
    REFERENCE = "not-faster-than-the-reference"
    FASTER = "faster-than-the-reference"
    CAPPED = "bonus-capped"


class Weighed(NamedTuple):
    """What a Receipt's work counts for.

    Attributes
    ----------
    units
        Reward units in their smallest unit: 10,000 for one work unit of full quality at the reference's speed.
    quality_bp, speed_bp
        The factors, in hundredths of a percent.
    reason
        Why the speed is what it is.
    """

    units: int
    quality_bp: int
    speed_bp: int
    reason: Speed


@dataclass(frozen=True, slots=True)
class RewardRule:
    """How work is weighed, and how a period's BTT is shared and held back.

    Attributes
    ----------
    version
        As declared in the ledger.
    per_1000_work_units_max
        The most that 1,000 work units can earn; what the pool holds beyond that goes to the reserve.
    speed_bp_max
        The most that speed counts for; 10,000 is no bonus. Slowness is never punished.
    online_floor_bp
        What is left of a weight when nothing of the declared online time was kept.
    hold_attempts, hold_ms
        A reward is settled once its node has had so many further Attempts accepted, or so long after the epoch's end;
        None where it is paid at once.
    """

    version: int
    per_1000_work_units_max: int | None
    speed_bp_max: int = WHOLE_BP
    online_floor_bp: int = WHOLE_BP
    hold_attempts: int | None = None
    hold_ms: int | None = None

    @classmethod
    def read(cls, policy: Policy) -> Self:
        """Interpret a policy. Raises `BadPolicy`."""
        try:
            content: dict[str, Any] = json.loads(policy.content)
            limit, more = content["per_1000_work_units_max"], _READERS[content["weight"]](content)
        except (KeyError, TypeError, ValueError) as error:
            raise BadPolicy("a reward rule is malformed, or not one that is understood here") from error
        if not (limit is None or (type(limit) is int and limit >= 0)):
            raise BadPolicy("a reward rule's limit is malformed")
        return cls(policy.version, limit, **more)

    @property
    def holds_back(self) -> bool:
        """Whether rewards wait until they are settled."""
        return self.hold_ms is not None

    def weigh(self, work_units: int, quality_bp: int, interval_ms: int | None) -> Weighed:
        """What a Receipt's work counts for.

        Parameters
        ----------
        work_units
            Of its Bundle and input size; one is a millisecond of the reference machine.
        quality_bp
            As the network side judged it.
        interval_ms
            From lease to findings on the network side's own clock; None where it was not told.
        """
        assert 0 <= quality_bp <= WHOLE_BP, "a quality is a share of one"
        speed_bp, reason = self._speed(work_units, interval_ms)
        return Weighed(work_units * quality_bp * speed_bp // WHOLE_BP, quality_bp, speed_bp, reason)

    def _speed(self, work_units: int, interval_ms: int | None) -> tuple[int, Speed]:
        if interval_ms is None:
            return WHOLE_BP, Speed.UNKNOWN
        speed_bp = WHOLE_BP * work_units // max(interval_ms, 1)
        if speed_bp <= WHOLE_BP:
            return WHOLE_BP, Speed.REFERENCE
        return (self.speed_bp_max, Speed.CAPPED) if speed_bp > self.speed_bp_max else (speed_bp, Speed.FASTER)

    def online_bp(self, declared_ms: int, kept_ms: int) -> int:
        """The factor of a node that declared so much online time in the epoch and kept so much of it."""
        if declared_ms <= 0:
            return WHOLE_BP
        return self.online_floor_bp + (WHOLE_BP - self.online_floor_bp) * min(kept_ms, declared_ms) // declared_ms

    def paid(self, pool: int, units: int) -> int:
        """How much of the pool so much work earns together.

        Parameters
        ----------
        units
            Reward units in their smallest unit, before the online factor.
        """
        if not units:
            return 0
        limit = self.per_1000_work_units_max
        return pool if limit is None else min(pool, units * limit // (1000 * WHOLE_BP))


def _plain(_content: dict[str, Any]) -> dict[str, int]:
    return {}


def _weighed(content: dict[str, Any]) -> dict[str, int]:
    held = content["holdback"]
    names = {
        "speed_bp_max": content["speed_bp_max"],
        "online_floor_bp": content["online_floor_bp"],
        "hold_attempts": held["attempts"],
        "hold_ms": held["hours"],
    }
    if not all(type(value) is int and value >= 0 for value in names.values()):
        raise ValueError("a number is missing")
    if not WHOLE_BP <= names["speed_bp_max"] <= 2 * WHOLE_BP or names["online_floor_bp"] > WHOLE_BP:
        raise ValueError("a factor is out of range")
    return names | {"hold_ms": names["hold_ms"] * _HOUR_MS}


_READERS = {"work-units": _plain, "reward-units": _weighed}


class Share(NamedTuple):
    """A node's part of an epoch, by party id.

    Attributes
    ----------
    units, old_units
        What is retired: reward units, and work units of before there were any.
    weight
        What the share follows from: the reward units times the online factor; 0 for a node that was caught.
    amount
        BTT in the smallest unit.
    """

    party: str
    units: int
    old_units: int
    weight: int
    amount: int


def share_out(paid: int, work: Mapping[str, tuple[int, int]], weights: Mapping[str, int]) -> list[Share]:
    """Each node's part, in the order of their party ids; the amounts sum to `paid`, or to 0 if all weights are 0.

    Parameters
    ----------
    paid
        What is shared, in the smallest unit.
    work
        Reward units and old work units, by party id.
    weights
        By party id; every party of `work`.
    """
    parties: Sequence[str] = sorted([party for party, units in work.items() if units != (0, 0)])
    shown = [weights[party] for party in parties]
    amounts = split(paid, shown) if any(shown) else [0] * len(shown)
    assert sum(amounts) == (paid if any(shown) else 0), "a split conserves"
    return [
        Share(party, units, old, weight, amount)
        for party, (units, old), weight, amount in zip(
            parties, map(work.__getitem__, parties), shown, amounts, strict=True
        )
    ]
