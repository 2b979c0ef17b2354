"""What four kinds of places usually lend: where a contributor starts from, and says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from bithive.offer import DataClass
from cluster.caps import Caps
from cluster.labels import Tier
from cluster.timetable import Timetable


@dataclass(frozen=True, slots=True)
class Preset:
    """Bounds, hours and the most sensitive class of a kind of place.

    Attributes
    ----------
    caps
        Bounds.
    hours
        As `Timetable.parse` reads it.
    data_class_max
        More is never asked for, whatever the network would admit it for.
    words
        What it comes to, for a person.
    """

    caps: Caps
    hours: str
    data_class_max: DataClass
    words: str


PRESETS: dict[Tier, Preset] = {
    Tier.HOME: Preset(Caps(pause_when_used=True), "always", DataClass.P0, "always on, pauses while somebody uses it"),
    Tier.WORKSTATION: Preset(
        Caps(pause_when_used=True),
        "mon-thu 19:00-07:00; fri 19:00-24:00; sat,sun 00:00-24:00; mon 00:00-07:00",
        DataClass.P2,
        "nights and weekends, pauses while somebody uses it",
    ),
    Tier.DATACENTER: Preset(Caps(), "always", DataClass.P2, "always on, all of the machine"),
    Tier.HOSPITAL: Preset(
        Caps(), "always", DataClass.P3, "always on, all of the machine, its own institution's patients among the work"
    ),
}


def timetable(tier: Tier, zone: str) -> Timetable:
    """The hours of a kind of place, by the machine's own clock on the wall."""
    return Timetable.parse(PRESETS[tier].hours, zone)
