"""Every epoch again, from the log's own words and by arithmetic of our own: issuance, weights, shares, holdback, claims.

Nothing of `economy.rewards`, `economy.weights`, `economy.epoch`, `economy.settlement` or `economy.claims` is used.

====  =====================================================================================================
I8    an epoch brings what the schedule in force says for its time; its time begins where the last one ended
I9    what may be claimed is what was posted to the nodes' accounts `earned`, and its root is that of a tree over it
I11   shares and residue sum to the pool, work is retired once, and what is held back is settled or forfeited once
I13   a Receipt's weight, a share, a settlement and a forfeit follow from the rule that the entry names
====  =====================================================================================================
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.common.year_audit import Auditor, Folded, Tree, hold

if TYPE_CHECKING:
    from tests.common.year_rules import Declared

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_WHOLE = 10_000


@dataclass(slots=True)
class Epoch:
    """One epoch under way or held back, as it has to be.

    Attributes
    ----------
    due
        Of each node that has not been paid: its amount and the work to retire.
    open_legs
        How many of its rewards are held back.
    """

    number: int
    opened_seq: int
    to_ms: int
    pool: int
    paid: int
    rule: dict[str, Any]
    due: dict[str, tuple[int, int]]
    nodes: int
    units: int
    end_seq: int = 0
    claims: tuple[int, str, int] = (0, "", 0)
    attempts: Counter[str] = field(default_factory=Counter)
    parts: set[int] = field(default_factory=set)
    open_legs: int = 0


class Rewards:
    """Follows what nodes earn.

    Parameters
    ----------
    declared
        Policies and parties, as far as the log has been read.
    """

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self.first_ms = self.issued = 0
        self.work: Counter[str] = Counter()
        self.online: dict[str, list[int]] = {}
        self.caught: dict[str, list[int]] = {}
        self.caught_now: set[str] = set()
        self.epochs: list[Epoch] = []
        self.held: dict[int, Epoch] = {}
        self.counts: Counter[str] = Counter()
        self.checks = {
            "work.measured": self._measured,
            "node.online": self._online,
            "node.caught": self._caught,
            "epoch.opened": self._opened,
            "epoch.paid": self._paid,
            "epoch.closed": self._closed,
            "claims.published": self._published,
            "reward.settled": self._settled,
            "reward.voided": self._voided,
            "epoch.settled": self._ended,
        }

    def __call__(self, auditor: Auditor, entry: Folded) -> None:
        self.first_ms = self.first_ms or entry.recorded_us // 1000
        if (check := self.checks.get(entry.kind)) is not None:
            self.counts[entry.kind] += 1
            check(auditor, entry, f"entry {entry.seq} {entry.entry_id}")
        if self.epochs and self.epochs[-1].end_seq and entry.legs:
            pool = f"{self.declared.network}:pool:BTT"
            hold("I11", auditor.available(pool) == 0, f"entry {entry.seq} {entry.entry_id}", "the pool keeps something")

    def _measured(self, auditor: Auditor, entry: Folded, place: str) -> None:
        facts = entry.facts
        rule = self.declared.content("reward-rule", facts["reward_rule"])
        due = self.declared.in_force("reward-rule", facts.get("value_date_was", entry.effective_ms))
        hold("I13", due == facts["reward_rule"], place, f"reward rule {due} was in force")
        units = facts["work_units"] * facts["quality_bp"] * facts["speed_bp"] // _WHOLE
        hold("I13", _WHOLE <= facts["speed_bp"] <= rule.get("speed_bp_max", _WHOLE), place, "a speed beyond the bounds")
        hold("I13", sum(leg.moved for leg in entry.legs) == units, place, f"counts for something else than {units}")
        if units:
            self.work[facts["node"]] += units
            for epoch in self.held.values():
                if epoch.end_seq:
                    epoch.attempts[facts["node"]] += 1

    def _online(self, auditor: Auditor, entry: Folded, place: str) -> None:
        times = self.online.setdefault(entry.facts["node"], [0, 0])
        times[0] += entry.facts["declared_ms"]
        times[1] += entry.facts["kept_ms"]

    def _caught(self, auditor: Auditor, entry: Folded, place: str) -> None:
        self.caught.setdefault(entry.facts["node"], []).append(entry.seq)
        self.caught_now.add(entry.facts["node"])

    def _opened(self, auditor: Auditor, entry: Folded, place: str) -> None:
        facts, last = entry.facts, self.epochs[-1] if self.epochs else None
        hold("I11", last is None or last.end_seq > 0, place, "opened before the last one was closed")
        from_ms = last.to_ms if last else self.first_ms
        hold("I8", facts["from_ms"] == from_ms <= facts["to_ms"], place, "overlaps, or leaves a gap")
        for kind, name in (("emission", "emission"), ("reward-rule", "reward_rule")):
            due = self.declared.in_force(kind, facts["to_ms"])
            hold("I13", due == facts[name], place, f"{kind} {due} was in force")
        schedule = self.declared.content("emission", facts["emission"])
        pool = emitted(schedule, facts["to_ms"]) - emitted(schedule, from_ms)
        issued = sum(leg.moved for leg in entry.legs)
        hold("I8", facts["pool"] == pool == issued, place, f"brings {issued}, not {pool}")
        self.issued += pool
        hold("I8", -auditor.net(f"{self.declared.network}:issuance:BTT") == self.issued, place, "more exists than that")
        rule = self.declared.content("reward-rule", facts["reward_rule"])
        epoch = self._shared(facts, rule, pool, entry.seq)
        self.epochs.append(epoch)
        self.held[epoch.number] = epoch
        self.work, self.online, self.caught_now = Counter(), {}, set()

    def _shared(self, facts: dict[str, Any], rule: dict[str, Any], pool: int, seq: int) -> Epoch:
        nodes = sorted(self.work)
        weights = [
            0 if node in self.caught_now else self.work[node] * self._factor(rule, node) // _WHOLE for node in nodes
        ]
        units = sum(self.work[node] for node in nodes if node not in self.caught_now)
        limit = rule["per_1000_work_units_max"]
        paid = 0 if not sum(weights) else pool if limit is None else min(pool, units * limit // (1000 * _WHOLE))
        amounts = shared(paid, weights) if sum(weights) else [0] * len(nodes)
        due = {node: (amount, self.work[node]) for node, amount in zip(nodes, amounts, strict=True)}
        return Epoch(facts["epoch"], seq, facts["to_ms"], pool, paid, rule, due, len(nodes), units)

    def _factor(self, rule: dict[str, Any], node: str) -> int:
        declared_ms, kept_ms = self.online.get(node, (0, 0))
        floor: int = rule.get("online_floor_bp", _WHOLE)
        return _WHOLE if not declared_ms else floor + (_WHOLE - floor) * min(kept_ms, declared_ms) // declared_ms

    def _paid(self, auditor: Auditor, entry: Folded, place: str) -> None:
        epoch = self.epochs[-1]
        hold("I11", entry.facts["epoch"] == epoch.number and not epoch.end_seq, place, "of an epoch that is not open")
        found: dict[str, list[int]] = {}
        for leg in entry.legs:
            earns = leg.credit.split(":")[1] == "earned"
            node = (leg.credit if earns else leg.debit).split(":")[0]
            found.setdefault(node, [0, 0])[0 if earns else 1] += leg.amount
            hold("I13", leg.phase == (1 if earns and "holdback" in epoch.rule else 0), place, "held, or not held, back")
            epoch.open_legs += leg.phase
        for node, (amount, units) in found.items():
            hold("I11", epoch.due.pop(node, None) == (amount, units), place, f"{node} gets {amount} for {units}")
        epoch.parts.add(entry.seq)

    def _closed(self, auditor: Auditor, entry: Folded, place: str) -> None:
        epoch, facts = self.epochs[-1], entry.facts
        residue = sum(leg.moved for leg in entry.legs)
        hold("I11", not epoch.due, place, f"{len(epoch.due)} nodes are not paid")
        said = (facts["nodes"], int(facts["units"]), facts["paid"], facts["residue"])
        hold("I11", said == (epoch.nodes, epoch.units, epoch.paid, epoch.pool - epoch.paid), place, f"says {said}")
        hold("I11", residue == epoch.pool - epoch.paid, place, "the residue is another")
        epoch.end_seq, epoch.claims = entry.seq, self._claims(auditor)

    def _claims(self, auditor: Auditor) -> tuple[int, str, int]:
        """How many may claim, the root over them, and how much together."""
        named = ((name.split(":"), totals[3]) for name, totals in auditor.totals.items())
        claims = sorted((name[0], name[2], posted) for name, posted in named if name[1] == "earned" and posted)
        tree = Tree()
        for party, asset, amount in claims:
            leaf = '{"account":"%s:earned:%s","asset":"%s","cumulative":"%d"}' % (party, asset, asset, amount)  # noqa: UP031
            tree.add(hashlib.sha256(b"\x00" + leaf.encode()).digest())
        return len(claims), tree.root().hex(), sum(claim[2] for claim in claims)

    def _published(self, auditor: Auditor, entry: Folded, place: str) -> None:
        epoch, facts = self.epochs[-1], entry.facts
        said = (facts["count"], facts["root"], int(facts["total"]))
        hold(
            "I9", facts["at_seq"] == epoch.end_seq and said == epoch.claims, place, f"claims {said}, not {epoch.claims}"
        )

    def _settled(self, auditor: Auditor, entry: Folded, place: str) -> None:
        epoch = self.held[entry.facts["epoch"]]
        held = epoch.rule["holdback"]
        late = entry.recorded_us // 1000 >= epoch.to_ms + held["hours"] * _HOUR_MS
        for leg in entry.legs:
            node = leg.credit.split(":")[0]
            hold("I11", leg.pending is not None and leg.pending[0] in epoch.parts, place, "of another epoch")
            hold("I11", leg.phase == 2 and leg.moved > 0, place, "not all of it is posted")
            stood = epoch.attempts[node] >= held["attempts"] > 0
            hold("I13", late if entry.facts["reason"] == "time" else stood, place, f"{node} has not stood")
            hold("I13", not self._is_caught(node, epoch), place, f"{node} was caught")
        epoch.open_legs -= len(entry.legs)

    def _is_caught(self, node: str, epoch: Epoch) -> bool:
        return any(seq > epoch.opened_seq for seq in self.caught.get(node, ()))

    def _voided(self, auditor: Auditor, entry: Folded, place: str) -> None:
        epoch, node = self.held[entry.facts["epoch"]], entry.facts["node"]
        released, moved = entry.legs
        hold("I13", self._is_caught(node, epoch), place, f"{node} was not caught since")
        hold("I11", released.phase == 3 and released.credit.split(":")[0] == node, place, "another's reward")
        hold("I11", released.pending is not None and released.pending[0] in epoch.parts, place, "of another epoch")
        kept = (moved.moved, moved.credit.split(":")[1]) == (released.amount, "reserve")
        hold("I11", kept and entry.facts["amount"] == released.amount, place, "the reserve gets another amount")
        epoch.open_legs -= 1

    def _ended(self, auditor: Auditor, entry: Folded, place: str) -> None:
        epoch = self.held.pop(entry.facts["epoch"])
        hold("I11", epoch.open_legs == 0, place, f"{epoch.open_legs} rewards are still held back")


def shared(amount: int, weights: list[int]) -> list[int]:
    """By largest remainder, written a second time: what is left goes, one unit each, to those who lack most."""
    total = sum(weights)
    exact = [divmod(amount * weight, total) for weight in weights]
    left = amount - sum(whole for whole, _ in exact)
    lucky = set(sorted(range(len(weights)), key=lambda place: (-exact[place][1], place))[:left])
    return [whole + (place in lucky) for place, (whole, _) in enumerate(exact)]


def emitted(schedule: dict[str, Any], at_ms: int) -> int:
    """All that a schedule allows until a time, step by step."""
    steps = [(step["from_ms"], step["per_day"]) for step in schedule["steps"]]
    total = 0
    for place, (from_ms, per_day) in enumerate(steps):
        end_ms = min(at_ms, steps[place + 1][0] if place + 1 < len(steps) else at_ms)
        total += per_day * max(end_ms - from_ms, 0)
    return total // _DAY_MS
