"""Rewards as shown: for each epoch and node, the Receipts they come from."""

from __future__ import annotations

from typing import NamedTuple

from api.pages import ledger_words as said
from api.pages.words import grouped
from economy.line_words import ratio
from economy.money import RU
from economy.party_rewards import EpochReward, Standing
from economy.rewards import WHOLE_BP

RECEIPTS_SHOWN = 100

STANDINGS: dict[Standing, tuple[str, str]] = {
    Standing.HELD: ("warn", "held back"),
    Standing.SETTLED: ("good", "settled"),
    Standing.VOIDED: ("bad", "voided"),
    Standing.UNPAID: ("quiet", "not paid"),
}


class ReceiptShown(NamedTuple):
    """One Receipt's part of a reward as shown."""

    receipt: str
    entry_id: str
    seq: int
    work_units: str
    quality: str
    speed: str
    units: str
    amount: str


class RewardShown(NamedTuple):
    """A reward as shown; `online` is empty where nothing was declared. `more` counts Receipts that are not shown."""

    epoch: int
    node: str
    state: str
    tone: str
    units: str
    online: str
    weight: str
    total: str
    amount: str
    asset: str
    receipts: list[ReceiptShown]
    more: int


def reward_shown(reward: EpochReward) -> RewardShown:
    """One epoch's reward to one node."""
    tone, state = STANDINGS[reward.state]
    receipts = [
        ReceiptShown(
            part.receipt,
            f"receipt/{part.receipt}" if part.receipt else "",
            part.seq,
            grouped(part.work_units),
            ratio(part.quality_bp),
            ratio(part.speed_bp),
            said.amount(part.units, RU),
            said.amount(part.amount, reward.asset),
        )
        for part in reward.receipts[:RECEIPTS_SHOWN]
    ]
    return RewardShown(
        reward.epoch,
        said.brief(reward.node),
        state,
        tone,
        said.amount(reward.units, RU),
        "" if reward.factor_bp == WHOLE_BP else ratio(reward.factor_bp),
        said.amount(reward.weight, RU),
        said.amount(reward.total_units, RU),
        said.amount(reward.amount, reward.asset),
        reward.asset.code,
        receipts,
        len(reward.receipts) - len(receipts),
    )
