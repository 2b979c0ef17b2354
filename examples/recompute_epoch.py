"""Every epoch of a BitHive ledger, computed again from its exported log by somebody else: standard library only.

    bithive ledger export log > ledger.log
    python recompute_epoch.py ledger.log              each epoch: nodes, units, BTT paid, root of the claims
    python recompute_epoch.py ledger.log --epoch 7    also what each node got of it and why, and each claim

It does what docs/rewards.md says, names what differs and then exits with 1. A seal signs the last line's root.
"""

import argparse
import hashlib
import json
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from pathlib import Path

ONE, DAY_MS, HOUR_MS = 10_000, 86_400_000, 3_600_000


def tree_root(leaves):
    """RFC 6962, 2.1, from the leaves' hashes: pair by pair, an odd one goes up as it is."""
    level = list(leaves) or [hashlib.sha256(b"").digest()]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in pairs] + level[len(level) & ~1 :]
    return level[0].hex()


def largest_remainder(amount, weights):
    """Rounded down, then one more for the largest remainders, the earlier among equals, until all is given."""
    total = sum(weights)
    shares = [amount * weight // total for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for i in order[: amount - sum(shares)]:
        shares[i] += 1
    return shares


def emitted(steps, at_ms):
    ends = [step["from_ms"] for step in steps[1:]] + [at_ms]
    spans = (max(min(end, at_ms) - step["from_ms"], 0) * step["per_day"] for step, end in zip(steps, ends, strict=True))
    return sum(spans) // DAY_MS


def claim_hash(party, asset, amount):
    text = f'{{"account":"{party}:earned:{asset}","asset":"{asset}","cumulative":"{amount}"}}'
    return hashlib.sha256(b"\x00" + text.encode()).digest()


class Recomputed:
    """The log, entry by entry; `wrong` lists what does not follow from what came before."""

    def __init__(self, shown):
        self.shown, self.wrong, self.epochs, self.policies = shown, [], {}, {}
        self.units, self.credited, self.pending = Counter(), defaultdict(Counter), {}
        self.accepted, self.caught = defaultdict(list), defaultdict(list)
        self.said, self.kept, self.leaves, self.seq, self.opened_seq = Counter(), Counter(), [], 0, 0
        self.steps = {"epoch.opened": self.open, "epoch.paid": self.pay, "epoch.closed": self.close}

    def take(self, line):
        entry = json.loads(line)
        body, facts, self.seq = entry["body"], entry["body"].get("facts", {}), self.seq + 1
        self.expect("the place of an entry", entry["seq"], self.seq)
        self.leaves.append(hashlib.sha256(b"\x00" + line).digest())
        for item in body.get("declares", ()):
            if "policy" in item:
                self.policies[item["policy"], item["version"]] = item
        if body["kind"] == "reward.settled":
            self.settle(body, facts, entry["recorded_us"])
        self.fold(body)
        if body["kind"] in self.steps:
            self.steps[body["kind"]](body, facts)
        elif body["kind"] == "work.measured" and "quality_bp" in facts:
            self.measure(body, facts)
        elif body["kind"] == "reward.voided":
            since = self.epochs[facts["epoch"]]["seq"]
            self.expect(body["id"], True, any(seq > since for seq in self.caught.get(facts["node"], ())))
        elif body["kind"] == "node.online":
            self.said[facts["node"]] += facts["declared_ms"]
            self.kept[facts["node"]] += facts["kept_ms"]
        elif body["kind"] == "node.caught":
            self.caught[facts["node"]].append(self.seq)
        elif body["kind"] == "claims.published":
            told = facts["at_seq"], facts["root"], facts["count"], facts["total"]
            self.expect(body["id"], told, self.epochs[facts["epoch"]]["claims"])

    def expect(self, what, told, found):
        if told != found:
            self.wrong.append(f"DIFFERS: {what}: the log says {told}, what follows is {found}")

    def fold(self, body):
        """What the transfers move; pending ones wait until they are posted or voided."""
        moved = []
        for leg, said in enumerate(body.get("transfers", ())):
            if "post" in said or "void" in said:
                debit, credit, whole = self.pending.pop(tuple(said.get("post") or said["void"]))
                moved += [(debit, credit, said["amount"] or whole)] if "post" in said else []
            elif "timeout_s" in said:
                self.pending[body["id"], leg] = (said["debit"], said["credit"], said["amount"])
            else:
                moved.append((said["debit"], said["credit"], said["amount"]))
        for debit, credit, amount in moved:
            (giver, source, asset), (owner, code, _) = debit.split(":"), credit.split(":")
            units = amount * (ONE if asset == "WU" else 1)
            self.units[giver] -= units if source == "work" else 0
            if code == "work":
                self.units[owner] += units
                self.accepted[owner] += [self.seq] if source == "work-issue" else []
            if code == "earned":
                self.credited[asset][owner] += amount

    def measure(self, body, facts):
        """One work unit is 10,000 reward units, times quality, times speed within the rule's bounds."""
        most = self.policies["reward-rule", facts["reward_rule"]]["content"].get("speed_bp_max", ONE)
        units = facts["work_units"] * facts["quality_bp"] * facts["speed_bp"] // ONE
        within = 0 <= facts["quality_bp"] <= ONE <= facts["speed_bp"] <= most
        self.expect(body["id"], (sum(leg["amount"] for leg in body.get("transfers", ())), True), (units, within))

    def in_force(self, kind, at_ms, told):
        due = [item for (name, _), item in self.policies.items() if name == kind and item["effective_from_ms"] <= at_ms]
        self.expect(kind, told, max((item["effective_from_ms"], item["version"]) for item in due)[1])
        return self.policies[kind, told]["content"]

    def open(self, _body, facts):
        """All that the epoch pays follows here: the work that stands, the time kept, who was caught, the rule."""
        number, to_ms = facts["epoch"], facts["to_ms"]
        steps = self.in_force("emission", to_ms, facts["emission"])["steps"]
        rule = self.in_force("reward-rule", to_ms, facts["reward_rule"])
        self.expect(f"pool of epoch {number}", facts["pool"], emitted(steps, to_ms) - emitted(steps, facts["from_ms"]))
        caught = {node for node, seqs in self.caught.items() if seqs[-1] > self.opened_seq}
        parties = sorted(party for party, units in self.units.items() if units)
        floor, limit = rule.get("online_floor_bp", ONE), rule["per_1000_work_units_max"]
        kept = {p: floor + (ONE - floor) * min(self.kept[p], ms) // ms for p, ms in self.said.items() if ms}
        weights = [0 if p in caught else self.units[p] * kept.get(p, ONE) // ONE for p in parties]
        units = sum(self.units[party] for party in parties if party not in caught)
        paid = facts["pool"] if limit is None else min(facts["pool"], units * limit // (1000 * ONE))
        paid, amounts = (paid, largest_remainder(paid, weights)) if any(weights) else (0, weights)
        shares = {p: (self.units[p], w, amount) for p, w, amount in zip(parties, weights, amounts, strict=True)}
        found = {"shares": shares, "units": units, "paid": paid, "residue": facts["pool"] - paid}
        said = {"seq": self.seq, "to_ms": to_ms, "rule": rule, "asset": facts["asset"]}
        self.epochs[number] = found | said | {"earned": Counter(), "retired": Counter()}
        self.said, self.kept, self.opened_seq = Counter(), Counter(), self.seq

    def pay(self, body, facts):
        epoch = self.epochs[facts["epoch"]]
        for leg in body["transfers"]:
            (giver, _, asset), (owner, code, _) = leg["debit"].split(":"), leg["credit"].split(":")
            if code == "earned":
                self.expect(f"holdback in {body['id']}", "timeout_s" in leg, "holdback" in epoch["rule"])
                epoch["earned"][owner] += leg["amount"]
            else:
                epoch["retired"][giver] += leg["amount"] * (ONE if asset == "WU" else 1)

    def settle(self, body, facts, recorded_us):
        """Only what has stood for the rule's hours, or for its further Attempts, of a node that was not caught."""
        epoch = self.epochs[facts["epoch"]]
        held, seq = epoch["rule"]["holdback"], facts.get("at_seq", self.seq - 1)
        late = recorded_us >= (epoch["to_ms"] + held["hours"] * HOUR_MS) * 1000
        for leg in body["transfers"]:
            party = self.pending[tuple(leg["post"])][1].split(":")[0]
            further = bisect_right(self.accepted[party], seq) - bisect_right(self.accepted[party], epoch["claims"][0])
            caught = any(epoch["seq"] < one <= seq for one in self.caught.get(party, ()))
            due = late if facts["reason"] == "time" else 0 < held["attempts"] <= further
            self.expect(f"{party} in {body['id']}, due and not caught", (True, False), (due, caught))

    def close(self, _body, facts):
        number, epoch, shares = facts["epoch"], self.epochs[facts["epoch"]], self.epochs[facts["epoch"]]["shares"]
        self.expect(f"rewards of epoch {number}", +epoch["earned"], +Counter({p: s[2] for p, s in shares.items()}))
        self.expect(f"work of epoch {number}", +epoch["retired"], +Counter({p: s[0] for p, s in shares.items()}))
        self.expect(f"sums of epoch {number}", (facts["paid"], facts["residue"]), (epoch["paid"], epoch["residue"]))
        claims = sorted(self.credited[epoch["asset"]].items())
        root = tree_root(claim_hash(party, epoch["asset"], amount) for party, amount in claims)
        epoch["claims"] = (self.seq, root, len(claims), str(sum(amount for _, amount in claims)))
        print(f"epoch {number}: {len(shares)} nodes, {epoch['units']} units, {epoch['paid']} paid, claims {root}")
        if self.shown == number:
            print("\n".join(f"share {party} {u} {w} {amount}" for party, (u, w, amount) in shares.items()))
            print("\n".join(f"claim {party} {amount}" for party, amount in claims))
        del epoch["shares"], epoch["earned"], epoch["retired"]


def main():
    parser = argparse.ArgumentParser(description="Compute every epoch again from an exported log.")
    parser.add_argument("log", type=Path, help="what `bithive ledger export log` wrote")
    parser.add_argument("--epoch", type=int, help="show its shares (party, units, weight, BTT) and claims, too")
    asked = parser.parse_args()
    found = Recomputed(asked.epoch)
    with asked.log.open("rb") as log:
        try:
            for line in log:
                found.take(line.rstrip(b"\n"))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            found.wrong.append(f"DIFFERS: entry {found.seq} does not follow from those before it: {error!r}")
    print("\n".join([*found.wrong, f"log of {found.seq} entries, root {tree_root(found.leaves)}"]))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
