"""A second opinion: balances folded from the exported log alone, with no code of the product's but its export."""

from __future__ import annotations

import json
from typing import Any

from economy.export import export


def folded(store: Any, until_us: int = 2**63) -> dict[str, tuple[int, int, int]]:
    """Posted net, reserved and expected of every account, by name, from the entries recorded before a time."""
    totals: dict[str, list[int]] = {}
    pending: dict[tuple[str, int], dict[str, Any]] = {}
    for line in "".join(export(store, "log")).splitlines():
        row = json.loads(line)
        if row["recorded_us"] >= until_us:
            break
        for leg, said in enumerate(row["body"].get("transfers", ())):
            _fold(totals, pending, (row["body"]["id"], leg), said)
    return {name: (total[0], total[1], total[2]) for name, total in totals.items()}


def _fold(
    totals: dict[str, list[int]], pending: dict[tuple[str, int], dict[str, Any]], ref: tuple[str, int], said: Any
) -> None:
    resolved = said.get("post") or said.get("void")
    told = pending.pop((resolved[0], resolved[1])) if resolved else said
    debit, credit = (totals.setdefault(told[side], [0, 0, 0]) for side in ("debit", "credit"))
    if resolved:
        debit[1] -= told["amount"]
        credit[2] -= told["amount"]
    elif "timeout_s" in said:
        pending[ref] = said
        debit[1] += said["amount"]
        credit[2] += said["amount"]
        return
    if "void" not in said:
        amount = told["amount"] if said["amount"] is None else said["amount"]
        debit[0] -= amount
        credit[0] += amount
