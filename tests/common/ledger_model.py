"""What a ledger is, in as few words as possible: the model that the kernel is held against.

Four totals an account, holds that end once, keys that are declared once and revoked once, and a date before which
nothing may be entered any more. Nothing here is shared with the planner but the shapes of what is posted.
"""

from __future__ import annotations

import copy
from typing import Any

from economy.entry import Account, Asset, Entry, Key, Party, PendingRef, PeriodClose, Phase, Policy, Transfer


class Model:
    """Answers each entry by a word: `recorded`, `replay` or the code of a refusal."""

    def __init__(self, parties: dict[str, str], assets: list[Asset], now_us: int) -> None:
        self.totals: dict[Account, list[int]] = {}
        self.holds: dict[PendingRef, dict[str, Any]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.policies: dict[tuple[str, int], Policy] = {}
        self.parties, self.assets = dict(parties), {asset.code: asset for asset in assets}
        self.closed_until_ms = 0
        self.entries: dict[str, Any] = {}
        self.signers: dict[str, list[str] | None] = {}
        """By an entry's hash, who approved it: public keys, or nothing when an approval does not hold."""
        self.now_us = now_us
        self.sealed = 0

    def total(self, name: Account) -> list[int]:
        return self.totals.setdefault(name, [0, 0, 0, 0])

    def post_all(self, entries: list[Entry], now_us: int) -> list[str]:
        self.expire(now_us)
        return [self._post(entry, now_us) for entry in entries]

    def expire(self, now_us: int) -> int:
        """Void what is due when a batch begins; how many."""
        due_us = max(now_us, self.now_us + 1)
        due = [(found["expires"], found["made"], ref) for ref, found in self.holds.items() if not found["done"]]
        due = [item for item in due if item[0] is not None and item[0] <= due_us]
        for _, _, ref in sorted(due):
            self.now_us = max(now_us, self.now_us + 1)
            self.resolve(ref, None)
            self.entries[f"expiry of {ref}"] = ref
        return len(due)

    def resolve(self, ref: PendingRef, amount: int | None) -> None:
        found = self.holds[ref]
        found["done"], found["posted"] = True, amount
        debit, credit = self.total(found["debit"]), self.total(found["credit"])
        debit[0] -= found["amount"]
        credit[2] -= found["amount"]
        if amount is not None:
            debit[1] += amount
            credit[3] += amount

    def _post(self, entry: Entry, now_us: int) -> str:
        if entry.entry_id in self.entries:
            return "replay" if self.entries[entry.entry_id].content == entry.content else "entry-differs"
        time_us = max(now_us, self.now_us + 1)
        kept = ("totals", "holds", "keys", "policies", "parties", "assets", "closed_until_ms")
        saved = {name: copy.deepcopy(getattr(self, name)) for name in kept}
        refusal = self._refusal(entry, time_us)
        if refusal is not None:
            for name, value in saved.items():
                setattr(self, name, value)
            return refusal
        self.entries[entry.entry_id], self.now_us = entry, time_us
        return "recorded"

    def _refusal(self, entry: Entry, time_us: int) -> str | None:
        if entry.effective_ms is not None and entry.effective_ms < self.closed_until_ms:
            return "period-closed"
        if any(isinstance(item, Policy | Key | PeriodClose) for item in entry.declares):
            refusal = self._unapproved(entry)
            if refusal is not None:
                return refusal
        for item in entry.declares:
            refusal = self._declare(item, time_us)
            if refusal is not None:
                return refusal
        for leg, transfer in enumerate(entry.transfers):
            refusal = self._leg(entry, leg, transfer, time_us)
            if refusal is not None:
                return refusal
        return None

    def _officers(self, keys: dict[str, dict[str, Any]]) -> dict[str, str]:
        return {
            name: found["party"] for name, found in keys.items() if found["purpose"] == "officer" and found["counts"]
        }

    def _unapproved(self, entry: Entry) -> str | None:
        signers = self.signers.get(entry.request_hash, [])
        officers = self._officers(self.keys)
        if signers is None or not all(name in officers for name in signers):
            return "not-approved"
        if len({officers[name] for name in signers}) < len(signers):
            return "not-approved"
        if len(set(officers.values())) < 2:
            return None
        if len(signers) < 2:
            return "not-approved"
        after = copy.deepcopy(self.keys)
        for item in entry.declares:
            if isinstance(item, Key) and item.revoked:
                after.pop(item.public_key, None)
            elif isinstance(item, Key):
                after[item.public_key] = {"party": item.party_id, "purpose": item.purpose, "counts": True}
        return None if len(set(self._officers(after).values())) >= 2 else "officers-too-few"

    def _declare(self, item: Any, time_us: int) -> str | None:
        if isinstance(item, PeriodClose):
            if item.closed_until_ms <= self.closed_until_ms:
                return "declaration-differs"
            if item.closed_until_ms * 1000 > time_us:
                return "period-running"
            self.closed_until_ms = item.closed_until_ms
            return None
        if isinstance(item, Key):
            return self._declare_key(item)
        if isinstance(item, Policy):
            known: Any = self.policies.setdefault((item.kind, item.version), item)
        elif isinstance(item, Party):
            return None if self.parties.setdefault(item.party_id, item.kind) == item.kind else "declaration-differs"
        else:
            known = self.assets.setdefault(item.code, item)
        return None if known == item else "declaration-differs"

    def _declare_key(self, item: Key) -> str | None:
        if item.party_id not in self.parties:
            return "unknown-owner"
        known = self.keys.get(item.public_key)
        if known is None and not item.revoked:
            self.keys[item.public_key] = {"party": item.party_id, "purpose": item.purpose, "counts": True}
            return None
        same = known is not None and (known["party"], known["purpose"]) == (item.party_id, item.purpose)
        if known is None or not (same and item.revoked and known["counts"]):
            return "declaration-differs"
        known["counts"] = False
        return None

    def _leg(self, entry: Entry, leg: int, transfer: Transfer, time_us: int) -> str | None:
        if transfer.pending is not None:
            return self._resolution(entry, transfer, time_us)
        assert transfer.debit is not None
        assert transfer.credit is not None
        assert transfer.amount is not None
        if transfer.debit.owner not in self.parties or transfer.credit.owner not in self.parties:
            return "unknown-owner"
        pending = transfer.phase is Phase.PENDING
        debit, credit = self.total(transfer.debit), self.total(transfer.credit)
        debit[0 if pending else 1] += transfer.amount
        credit[2 if pending else 3] += transfer.amount
        if pending:
            expires = time_us + transfer.timeout_s * 1_000_000 if transfer.timeout_s else None
            self.holds[PendingRef(entry.entry_id, leg)] = {
                "debit": transfer.debit,
                "credit": transfer.credit,
                "amount": transfer.amount,
                "expires": expires,
                "made": (time_us, leg),
                "done": False,
                "posted": None,
            }
        limited = transfer.debit.code == "credit"
        return "insufficient-funds" if limited and debit[0] + debit[1] > debit[3] else None

    def _resolution(self, entry: Entry, transfer: Transfer, time_us: int) -> str | None:
        assert transfer.pending is not None
        found = self.holds.get(transfer.pending)
        if found is None or transfer.pending.entry_id == entry.entry_id:
            return "pending-unknown"
        if found["done"] or (found["expires"] is not None and found["expires"] <= time_us):
            return "pending-resolved"
        amount = found["amount"] if transfer.amount is None else transfer.amount
        if amount > found["amount"]:
            return "exceeds-pending"
        self.resolve(transfer.pending, amount if transfer.phase is Phase.POST else None)
        return None

    def undoing(self, entry: Entry) -> list[tuple[Any, ...]]:
        """What a correction of a recorded entry must do: `(debit, credit, amount)` moved, or `(hold,)` released."""
        legs: list[tuple[Any, ...]] = []
        for leg, transfer in enumerate(entry.transfers):
            ref = PendingRef(entry.entry_id, leg)
            if transfer.phase is Phase.SINGLE:
                legs.append((transfer.credit, transfer.debit, transfer.amount))
            elif transfer.phase is Phase.PENDING and not self.holds[ref]["done"]:
                legs.append((ref,))
            elif transfer.phase is Phase.POST:
                assert transfer.pending is not None
                found = self.holds[transfer.pending]
                legs.append((found["credit"], found["debit"], found["posted"]))
        return legs

    def seals_with(self, public_key: str) -> str:
        """What making a seal now says."""
        if len(self.entries) == self.sealed:
            return "nothing"
        declared = {name: found["counts"] for name, found in self.keys.items() if found["purpose"] == "seal"}
        if declared and not declared.get(public_key):
            return "seal-key-unknown"
        self.sealed = len(self.entries)
        return "sealed"
