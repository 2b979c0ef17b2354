"""The network of a year: who is there, which studies come and how each ends, as events and as what is true."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bithive.canonical import digest
from bithive.ids import SeededIds
from bithive.outbox import Event

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BUNDLES = (("intracranial_t1", "1.0.0", 1460), ("spleen_ct", "0.5.9", 9_800), ("chest_pneumonia", "2.1.0", 310))


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a year.

    Attributes
    ----------
    days, studies_a_day, steps_a_day
        Its length, how much work comes, and how often everything is checked.
    changes_days
        Time between two changes of prices, two payments of an institution, two period closes.
    institutions, operators, nodes
        Who pays, and who earns.
    """

    days: int
    studies_a_day: int
    changes_days: int
    steps_a_day: int = 6
    institutions: int = 100
    operators: int = 150
    nodes: int = 1_000


@dataclass(slots=True)
class Study:
    """One Offer, and how it ends: accepted, or closed."""

    opened: dict[str, Any]
    accepted: dict[str, Any] | None = None
    reason: str = ""


@dataclass(slots=True)
class Truth:
    """What happened, as its makers know it, and how often each kind of thing did."""

    studies: dict[str, Study] = field(default_factory=dict)
    caught: list[str] = field(default_factory=list)
    online: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    attacks: Counter[str] = field(default_factory=Counter)

    @property
    def accepted(self) -> list[dict[str, Any]]:
        return [study.accepted for study in self.studies.values() if study.accepted is not None]


class Network:
    """Makes a year's events, in the order in which they happen.

    Parameters
    ----------
    chance
        Which, when, whose.
    ids
        Names of the Offers, Attempts and everybody.
    truth
        Told of each study.
    """

    def __init__(self, scale: Scale, chance: random.Random, ids: SeededIds, truth: Truth) -> None:
        self.scale, self.chance, self.ids, self.truth = scale, chance, ids, truth
        self.institutions = [ids.new("ins") for _ in range(scale.institutions)]
        self.sizes = [1 / (rank + 3) for rank in range(scale.institutions)]
        operators = [f"Dr {number} Roe's basement" for number in range(scale.operators)]
        self.cells = {operator: ids.new("cel") for operator in operators}
        self.nodes = {ids.new("nod"): chance.choice(operators) for _ in range(scale.nodes)}
        self.names = list(self.nodes)
        self._planned: list[tuple[int, int, Event]] = []
        self._count = 0

    def plan(self, from_ms: int, to_ms: int) -> None:
        """Studies of a stretch of time, by the hour of the day, with all that follows from each."""
        share = (to_ms - from_ms) / DAY_MS
        rush = 1.6 if 7 <= from_ms // HOUR_MS % 24 < 19 else 0.4
        mean = self.scale.studies_a_day * share * rush
        for _ in range(int(mean) + (self.chance.random() < mean % 1)):
            self._study(self.chance.randrange(from_ms, to_ms))

    def until(self, now_ms: int) -> Iterator[tuple[int, Event]]:
        """What has happened up to now, and when."""
        while self._planned and self._planned[0][0] <= now_ms:
            when_ms, _, event = heapq.heappop(self._planned)
            yield when_ms, event

    def _study(self, at_ms: int) -> None:
        chance = self.chance
        offer, (bundle, version, units) = self.ids.new("off"), chance.choice(BUNDLES)
        institution = chance.choices(self.institutions, self.sizes)[0]
        what = {"offer_id": offer, "institution": institution, "bundle": bundle, "bundle_version": version}
        asked = max(1, round(units * chance.uniform(0.5, 2)))
        deadline_ms = at_ms + chance.choice((600_000, 3_600_000, 8 * HOUR_MS))
        opened = {**what, "work_units": asked, "deadline_ms": deadline_ms, "at_ms": at_ms}
        study = self.truth.studies[offer] = Study(opened)
        self._add(at_ms, Event("offer.opened", offer, opened))
        end_ms = min(at_ms + round(chance.expovariate(1 / 900_000)) + 1_000, deadline_ms)
        if chance.random() < 0.08:
            study.reason = chance.choice(("withdrawn", "exhausted"))
            self._add(
                end_ms, Event("offer.closed", offer, {"offer_id": offer, "reason": study.reason, "at_ms": end_ms})
            )
            return
        study.accepted = {**what, **self._attempt(asked, at_ms, end_ms), "at_ms": end_ms}
        self._add(end_ms, Event("attempt.accepted", study.accepted["attempt_id"], study.accepted))
        if chance.random() < 0.01:
            self._catch(study.accepted, end_ms + chance.randrange(5 * DAY_MS))

    def _catch(self, body: dict[str, Any], at_ms: int) -> None:
        """An Attempt is found wrong, some time later."""
        self.truth.caught.append(body["attempt_id"])
        who = {name: body[name] for name in ("node", "operator", "attempt_id")}
        self._add(at_ms, Event("node.caught", body["attempt_id"], {**who, "reason": "mismatch", "at_ms": at_ms}))

    def declare_online(self, from_ms: int, to_ms: int) -> None:
        """Some nodes had promised to be there, and were or were not."""
        for node in self.chance.sample(self.names, len(self.names) // 40 + 1):
            declared_ms = self.chance.randrange(1, to_ms - from_ms)
            kept_ms = self.chance.choice((declared_ms, self.chance.randrange(declared_ms), 0))
            times = {"from_ms": from_ms, "to_ms": to_ms, "declared_ms": declared_ms, "kept_ms": kept_ms, "at_ms": to_ms}
            body = {"node": node, "operator": self.nodes[node], **times}
            self._add(to_ms, Event("node.online", f"{node}/{from_ms}", body))
            self.truth.online += 1

    def _attempt(self, asked: int, at_ms: int, end_ms: int) -> dict[str, Any]:
        chance, attempt = self.chance, self.ids.new("att")
        node = chance.choice(self.names)
        spent = asked if chance.random() < 0.7 else max(1, round(asked * chance.uniform(0.6, 1.3)))
        return {
            "attempt_id": attempt,
            "cell": self.cells[self.nodes[node]],
            "node": node,
            "operator": self.nodes[node],
            "work_units": spent,
            "receipt_digest": digest({"attempt": attempt}),
            **({} if chance.random() < 0.2 else {"interval_ms": round(spent * chance.uniform(0.5, 3))}),
            **({"quality_bp": chance.choice((0, 5_000, 9_999))} if chance.random() < 0.05 else {}),
        }

    def _add(self, when_ms: int, event: Event) -> None:
        self._count += 1
        heapq.heappush(self._planned, (when_ms, self._count, event))
