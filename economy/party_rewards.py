"""Where a reward comes from: for each epoch and node, the Receipts whose work it pays, to the unit.

An epoch belongs to the period in which its close began. Its work is what was measured after the close before it began
and before its own; its reward is what the parts of the close credited to the node. The amount is shared over the
Receipts by largest remainder, in their order, so that the parts sum to it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from economy.book import EntryRow, TransferRow, facts_of
from economy.entry import Account, Asset, Phase, Policy
from economy.epoch import Opened, end_id, opened_epochs
from economy.money import BTT, RU, WU
from economy.party_statement import PartyStatement, receipt_of
from economy.plan import split
from economy.rewards import WHOLE_BP, RewardRule
from economy.store import Snapshot, Store
from economy.weights import entries

_STRETCH = 2_000
_KINDS = ("node", "operator")


class Standing(StrEnum):
    """What has become of a reward."""

    HELD = "held"
    """Credited, and not the node's to claim yet."""
    SETTLED = "settled"
    VOIDED = "voided"
    """The node was caught before it was settled."""
    UNPAID = "unpaid"
    """The work was retired without reward: the node was caught, or the pool was empty."""


class ReceiptPart(NamedTuple):
    """One Receipt's part of a reward.

    Attributes
    ----------
    receipt
        Its digest; empty for units that no Receipt of the epoch explains, such as a correction's.
    seq
        Its entry's place in the log.
    work_units, quality_bp, speed_bp
        As weighed when it was booked; factors in hundredths of a percent.
    units
        Reward units in their smallest unit.
    amount
        Its part of the reward.
    """

    receipt: str
    seq: int
    work_units: int
    quality_bp: int
    speed_bp: int
    units: int
    amount: int


class EpochReward(NamedTuple):
    """What an epoch paid one node, and for what.

    Attributes
    ----------
    units
        The Receipts' reward units; `units * factor_bp // 10_000` is the weight.
    weight
        What the share follows from; 0 for a node that was caught.
    total_units
        The reward units of all nodes that the epoch paid.
    factor_bp
        What its kept online time counts for, in hundredths of a percent.
    amount
        In the asset's smallest unit; the Receipts' amounts sum to it.
    """

    epoch: int
    node: str
    units: int
    factor_bp: int
    weight: int
    total_units: int
    amount: int
    asset: Asset
    state: Standing
    receipts: tuple[ReceiptPart, ...]


def rewards(store: Store, statement: PartyStatement) -> Iterator[EpochReward]:
    """The rewards of a node, or of all nodes whose Receipts name an operator, epoch by epoch; nothing for others."""
    if statement.kind not in _KINDS:
        return
    with store.reading() as snapshot:
        opened = list(opened_epochs(snapshot))
    for before, epoch in pairwise([None, *opened]):
        if epoch is not None and statement.after_seq < epoch.seq <= statement.to_seq:
            with store.reading() as snapshot:
                found = list(_epoch(snapshot, statement, before.seq if before else 0, epoch))
            yield from found


def _epoch(snapshot: Snapshot, statement: PartyStatement, after_seq: int, epoch: Opened) -> Iterator[EpochReward]:
    measured = _measured(snapshot, statement, after_seq, epoch.seq)
    if not measured:
        return
    asset = next(item for item in snapshot.assets().values() if item.code == BTT.code)
    end = snapshot.find([end_id(epoch.number)]).get(end_id(epoch.number))
    paid = _paid(snapshot, measured, epoch, end.seq if end else snapshot.head().seq)
    factors, caught = _factors(snapshot, measured, after_seq, epoch)
    facts = facts_of(end) if end else {}
    total = int(facts["units"]) if "units" in facts else facts.get("work_units", 0) * WHOLE_BP
    for node in sorted(measured):
        amount, state = paid.get(node, (0, Standing.UNPAID))
        units = sum(part.units for part in measured[node])
        weight = 0 if node in caught else units * factors.get(node, WHOLE_BP) // WHOLE_BP
        shares = split(amount, [part.units for part in measured[node]]) if amount else [0] * len(measured[node])
        parts = tuple(part._replace(amount=share) for part, share in zip(measured[node], shares, strict=True))
        factor = factors.get(node, WHOLE_BP)
        yield EpochReward(epoch.number, node, units, factor, weight, total, amount, asset, state, parts)


def _measured(
    snapshot: Snapshot, statement: PartyStatement, after_seq: int, to_seq: int
) -> dict[str, list[ReceiptPart]]:
    """The Receipts of an epoch by node, in the order in which they were booked."""
    party, found = statement.party_id, dict[str, list[ReceiptPart]]()
    if statement.kind == "node":
        numbers = [item.account_id for item in snapshot.accounts(_accounts([party], "work"))]
        seqs = {row.entry_seq for row in _moved(snapshot, numbers, after_seq, to_seq) if row.credit_id in numbers}
        rows: Iterable[EntryRow] = (snapshot.log(seq - 1, 1)[0] for seq in sorted(seqs))
    else:
        rows = entries(snapshot, "work.measured", after_seq, to_seq)
    for row in rows:
        body = json.loads(row.content)
        facts = body.get("facts", {})
        if statement.kind == "operator" and facts.get("operator") != party:
            continue
        for leg in body.get("transfers", ()):
            part = _part(row, facts, leg)
            if part is not None and (statement.kind == "operator" or part[0] == party):
                found.setdefault(part[0], []).append(part[1])
    return found


def _part(row: EntryRow, facts: Mapping[str, Any], leg: Mapping[str, Any]) -> tuple[str, ReceiptPart] | None:
    """The node that a leg credits with work, and the Receipt's part."""
    if "credit" not in leg:
        return None
    account = Account.parse(leg["credit"])
    if account.code != "work":
        return None
    units = leg["amount"] if account.asset == RU.code else leg["amount"] * WHOLE_BP
    factors = (
        facts.get("work_units", units // WHOLE_BP),
        facts.get("quality_bp", WHOLE_BP),
        facts.get("speed_bp", WHOLE_BP),
    )
    return account.owner, ReceiptPart(receipt_of(row.entry_id, facts) or "", row.seq, *factors, units, 0)


def _paid(snapshot: Snapshot, nodes: Collection[str], epoch: Opened, end_seq: int) -> dict[str, tuple[int, Standing]]:
    """What the parts of a close credited to each node, and what became of it."""
    owners = {item.account_id: item.account.owner for item in snapshot.accounts(_accounts(nodes, "earned"))}
    credited: dict[tuple[int, int], TransferRow] = {}
    parts: dict[int, bool] = {}
    for row in _moved(snapshot, owners, epoch.seq, end_seq):
        if row.entry_seq not in parts:
            entry = snapshot.log(row.entry_seq - 1, 1)[0]
            parts[row.entry_seq] = entry.kind == "epoch.paid" and facts_of(entry).get("epoch") == epoch.number
        if parts[row.entry_seq] and row.credit_id in owners:
            credited[row.entry_seq, row.leg] = row
    states = {
        place: Standing.HELD if row.phase == Phase.PENDING else Standing.SETTLED for place, row in credited.items()
    }
    for row in _moved(snapshot, owners, epoch.seq, snapshot.head().seq):
        place = (row.pending_seq or 0, row.pending_leg or 0)
        if row.pending_seq is not None and place in states:
            states[place] = Standing.SETTLED if row.phase == Phase.POST else Standing.VOIDED
    return {owners[row.credit_id]: (row.amount, states[place]) for place, row in credited.items()}


def _factors(
    snapshot: Snapshot, nodes: Collection[str], after_seq: int, epoch: Opened
) -> tuple[dict[str, int], frozenset[str]]:
    """The online factors of those who declared a window, and who was caught before the close began."""
    rule, kept = RewardRule.read(_policy(snapshot, epoch.reward_rule)), dict[str, tuple[int, int]]()
    for facts in map(facts_of, entries(snapshot, "node.online", after_seq, epoch.seq)):
        if facts["node"] in nodes:
            declared_ms, kept_ms = kept.get(facts["node"], (0, 0))
            kept[facts["node"]] = (declared_ms + facts["declared_ms"], kept_ms + facts["kept_ms"])
    caught = frozenset(facts_of(row)["node"] for row in entries(snapshot, "node.caught", after_seq, epoch.seq))
    return {node: rule.online_bp(*times) for node, times in kept.items()}, caught


def _policy(snapshot: Snapshot, version: int) -> Policy:
    return next(item for item in snapshot.declared().policies if (item.kind, item.version) == ("reward-rule", version))


def _accounts(parties: Iterable[str], code: str) -> list[Account]:
    assets = (RU.code, WU.code) if code == "work" else (BTT.code,)
    return [Account(party, code, asset) for party in parties for asset in assets]


def _moved(snapshot: Snapshot, numbers: Collection[int], after_seq: int, to_seq: int) -> Iterator[TransferRow]:
    for start in range(after_seq, to_seq if numbers else after_seq, _STRETCH):
        yield from snapshot.transfers(start, min(start + _STRETCH, to_seq), numbers)
