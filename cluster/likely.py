"""What a machine is likely to earn: a range with its basis, never a promise.

A period's pool is shared by the work that was accepted in it (`docs/rewards.md`), so what a machine gets is its share of
everybody's work. The upper end is a machine that always has work; the lower end is one that gets its share of what there
was, by its speed among all who were there. Presence alone earns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from cluster.errors import BadMessage
from cluster.node_benchmark import Speed
from cluster.protocol_words import members, text, whole
from cluster.timetable import Timetable

_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_UNIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """What the network side tells of a stretch that is over.

    Attributes
    ----------
    asset
        What rewards are paid in, in millionths.
    hours
        How long the stretch was.
    pool
        What all work of the stretch was paid with, in millionths of the asset.
    work_units
        Accepted in it, of all machines.
    nodes
        Machines that are there now.
    """

    asset: str
    hours: int
    pool: int
    work_units: int
    nodes: int

    def to_json(self) -> dict[str, Any]:
        return {
            "asset": self.asset,
            "hours": self.hours,
            "pool": self.pool,
            "work_units": self.work_units,
            "nodes": self.nodes,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadMessage`."""
        told = members(value, {"asset", "hours", "pool", "work_units", "nodes"})
        if whole(told["hours"]) == 0:
            raise BadMessage("the stretch has no length")
        numbers = (whole(told[name]) for name in ("hours", "pool", "work_units", "nodes"))
        return cls(text(told["asset"], 16), *numbers)


@dataclass(frozen=True, slots=True)
class Likely:
    """A range for one day, in millionths of the asset, and its basis in words."""

    asset: str
    low: int
    high: int
    basis: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """For whoever contributes the machine."""
        if not self.high:
            return ("what it will earn cannot be said yet", *self.basis)
        low, high = (f"{amount / _UNIT:,.2f}" for amount in (self.low, self.high))
        return (f"likely {low} to {high} {self.asset} a day; no promise", *self.basis)


def likely(speeds: Sequence[Speed], slots: int, timetable: Timetable, now_ms: int, rates: Rates | None) -> Likely:
    """What a day of this machine may bring.

    Parameters
    ----------
    speeds
        Of its bundles, measured.
    slots
        Attempts at once.
    timetable
        When it is lent: the mean of the coming week counts.
    now_ms
        The present.
    rates
        Of the network; None when it tells none.
    """
    lent_ms = timetable.declared_ms(now_ms, now_ms + _WEEK_MS) // 7
    hours = f"lent {lent_ms / 3_600_000:.1f} h a day"
    if not speeds:
        return Likely("", 0, 0, (hours, "no bundle could be measured here"))
    took_ms = sum(speed.wall_ms for speed in speeds)
    per_h = sum(speed.work_units for speed in speeds) * 3_600_000 // took_ms * slots
    speed = f"{per_h:,} work units an hour ({len(speeds)} bundles one after the other, {slots} at once)"
    if rates is None or not rates.work_units or not rates.pool:
        return Likely("", 0, 0, (hours, speed, "the network tells no rates yet: it has paid for no work so far"))
    own = per_h * lent_ms // 3_600_000
    pool_day = rates.pool * 24 // rates.hours
    network_day = rates.work_units * 24 // rates.hours
    high = pool_day * own // (network_day + own)
    low = min(high, pool_day * lent_ms // ((rates.nodes + 1) * _DAY_MS))
    basis = (
        hours,
        speed,
        f"the last {rates.hours} h: {rates.work_units:,} work units accepted, {rates.pool / _UNIT:,.2f} {rates.asset} paid for",
        f"upper end: always with work; lower end: an even share of that work among {rates.nodes + 1} machines",
        "only checked work is paid; rewards are held back until they are settled",
    )
    return Likely(rates.asset, low, high, basis)
