"""What holds beyond the kernel, entry by entry, by arithmetic of our own: `Auditor` calls `Rules` with each new one.

=========  =====================================================================================================
I8         BTT comes into being by an epoch's opening alone (how much: `year_rewards`)
I11        a charge's parts sum to it, and nothing stays in clearing
I13        a price and a split follow from the rate card that was in force, which the entry names
approvals  once two officers are known, each policy, key and period close carries two signatures of two parties
seals      each is signed by a key in office, over its own words, and names the one before
periods    nothing is recorded with a value date before the last period close
=========  =====================================================================================================
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from bithive.canonical import canonical
from bithive.errors import BadSignature
from bithive.keys import verify
from economy.book import Seal
from tests.common.year_audit import Auditor, Folded, Leg, hold
from tests.common.year_rewards import Rewards, shared

_RECIPIENTS = ("node", "operator", "hub", "protocol")


class Declared:
    """What entries have declared so far."""

    def __init__(self) -> None:
        self.parties: dict[str, str] = {}
        self.policies: dict[tuple[str, int], dict[str, Any]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.closed_until_ms, self.network = 0, ""

    def take(self, entry: Folded) -> None:
        for item in entry.declares:
            if "policy" in item:
                self.policies[item["policy"], item["version"]] = item
            elif "key" in item:
                self.keys[item["key"]] = item
            elif "period_closed_until_ms" in item:
                place = f"entry {entry.seq}"
                hold("periods", item["period_closed_until_ms"] > self.closed_until_ms, place, "a period opened again")
                self.closed_until_ms = item["period_closed_until_ms"]
            elif "party" in item:
                self.parties[item["party"]] = item["kind"]
                if item["kind"] == "network":
                    self.network = item["party"]

    def in_force(self, kind: str, at_ms: int) -> int:
        """Version that holds at a time, of those declared so far."""
        due = [item for item in self.policies.values() if item["policy"] == kind and item["effective_from_ms"] <= at_ms]
        version: int = max(due, key=lambda item: (item["effective_from_ms"], item["version"]))["version"]
        return version

    def content(self, kind: str, version: int) -> dict[str, Any]:
        found: dict[str, Any] = self.policies[kind, version]["content"]
        return found

    def officers(self) -> dict[str, str]:
        """Party of each officer's key in office."""
        rows = (item for item in self.keys.values() if item["purpose"] == "officer" and not item.get("revoked"))
        return {item["key"]: item["party"] for item in rows}


class Rules:
    """Remembers what has been decided, and checks each decision again."""

    def __init__(self) -> None:
        self.declared = Declared()
        self.held: dict[str, Folded] = {}
        self.charged: dict[str, int] = {}
        self.rewards = Rewards(self.declared)
        self.last_seal = "0" * 64
        self.checks = {
            "charge.held": self._held,
            "charge.unsecured": self._held,
            "charge.settled": self._charged,
        }

    def __call__(self, auditor: Auditor, entry: Folded) -> None:
        self._approved(entry)
        self._period(entry)
        self.declared.take(entry)
        for leg in entry.legs:
            if leg.moved and leg.debit.split(":")[1] == "issuance":
                hold("I8", entry.kind == "epoch.opened", f"entry {entry.seq}", "BTT out of nothing")
        if (check := self.checks.get(entry.kind)) is not None:
            check(auditor, entry)
        self.rewards(auditor, entry)

    def _approved(self, entry: Folded) -> None:
        controlled = [item for item in entry.declares if {"policy", "key", "period_closed_until_ms"} & item.keys()]
        officers, place = self.declared.officers(), f"entry {entry.seq} {entry.entry_id}"
        if not controlled or len(set(officers.values())) < 2:
            return
        facts = {name: value for name, value in entry.facts.items() if name not in ("approval-1", "approval-2")}
        bare = {name: value for name, value in entry.body.items() if name != "facts"} | (
            {"facts": facts} if facts else {}
        )
        parties = set()
        for name in ("approval-1", "approval-2"):
            key, _, signature = str(entry.facts.get(name, "")).partition(":")
            hold("approvals", key in officers, place, f"{name} is of no officer")
            try:
                verify(key, b"bithive.approval.v1\x00" + canonical(bare), signature)
            except BadSignature:
                hold("approvals", False, place, f"{name} does not cover it")
            parties.add(officers[key])
        hold("approvals", len(parties) == 2, place, "one party approved twice")

    def _period(self, entry: Folded) -> None:
        closed_ms = self.declared.closed_until_ms
        hold("periods", entry.effective_ms >= closed_ms, f"entry {entry.seq} {entry.entry_id}", "in a closed period")

    def sealed(self, seal: Seal) -> None:
        """A seal is signed by a key declared and not revoked by then, over its own words and its predecessor's digest."""
        place, key = f"seal {seal.seal_id}", self.declared.keys.get(seal.public_key, {"purpose": "none"})
        hold("seals", key["purpose"] == "seal" and not key.get("revoked"), place, "of a key that does not seal")
        text = (seal.note.rpartition("\n\n")[0] + "\n").encode()
        try:
            verify(seal.public_key, text, seal.signature)
        except BadSignature:
            hold("seals", False, place, "its signature does not hold")
        _, size, root, *_ = text.decode().split("\n")
        said = (int(size), base64.b64decode(root).hex(), seal.previous)
        hold("seals", said == (seal.to_seq, seal.log_root, self.last_seal), place, "is not what it signs")
        self.last_seal = hashlib.sha256(text).hexdigest()

    def _held(self, auditor: Auditor, entry: Folded) -> None:
        facts, place = entry.facts, f"entry {entry.seq} {entry.entry_id}"
        self.held[facts["offer"]] = entry
        self._price(facts, value_ms(entry), place)
        pending = sum(leg.amount for leg in entry.legs if leg.phase == 1)
        hold("I11", pending == (facts["amount"] if entry.kind == "charge.held" else 0), place, "holds another amount")

    def _price(self, facts: dict[str, Any], at_ms: int | None, place: str) -> dict[str, Any]:
        card = self.declared.content("rate-card", facts["rate_card"])
        if at_ms is not None:
            due = self.declared.in_force("rate-card", at_ms)
            hold("I13", due == facts["rate_card"], place, f"rate card {due} was in force")
        names = (f"{facts['bundle']}@{facts['bundle_version']}", facts["bundle"], "*")
        price = next(card["prices"][name] for name in names if name in card["prices"])
        amount = price["fixed"] + facts["work_units"] * price["per_1000_work_units"] // 1000
        hold("I13", amount == facts["amount"], place, f"its price is {amount}, not {facts['amount']}")
        return card

    def _charged(self, auditor: Auditor, entry: Folded) -> None:
        facts, place = entry.facts, f"entry {entry.seq} {entry.entry_id}"
        before = self.held.get(facts["offer"])
        card = self._price(facts, None if before else value_ms(entry), place)
        if before:
            hold("I13", before.facts["rate_card"] == facts["rate_card"], place, "charged by another card than held")
        hold("I11", facts["offer"] not in self.charged, place, "charged twice")
        ref = (f"offer/{facts['offer']}/hold", 0)
        hold("I11", ref not in auditor.held, place, "charged beside an open hold")
        for leg in entry.legs:
            if leg.pending is not None and before is not None and leg.phase == 2:
                due = min(facts["amount"], before.facts["amount"])
                hold("I11", leg.pending == (before.seq, 0) and leg.moved == due, place, "not the actual of its hold")
        clearing = f"{self.declared.network}:clearing:{card['currency']}"
        paid = sum(leg.moved for leg in entry.legs if leg.credit == clearing)
        parts = [leg for leg in entry.legs if leg.debit == clearing]
        hold("I11", paid == facts["amount"] == sum(leg.moved for leg in parts), place, "its parts do not sum to it")
        hold("I11", auditor.net(clearing) == 0, place, "something stays in clearing")
        self._parts(card, facts["amount"], parts, place)
        self.charged[facts["offer"]] = facts["amount"]

    def _parts(self, card: dict[str, Any], amount: int, parts: list[Leg], place: str) -> None:
        found = dict.fromkeys(_RECIPIENTS, 0)
        for leg in parts:
            owner, code, _ = leg.credit.split(":")
            kind = self.declared.parties[owner]
            hold("I11", code == ("payable" if kind in ("node", "operator") else "revenue"), place, f"{code} of {kind}")
            found[kind] += leg.moved
        due = shared(amount, [card["split_bp"][name] for name in _RECIPIENTS])
        hold("I13", list(found.values()) == due, place, f"split as {found}, not {due}")


def value_ms(entry: Folded) -> int:
    """When it happened, whatever period was closed since."""
    was: int = entry.facts.get("value_date_was", entry.effective_ms)
    return was
