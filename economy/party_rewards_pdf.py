"""Where rewards come from, in a statement's PDF: for each epoch and node one row, and one for each Receipt."""

from __future__ import annotations

from collections.abc import Iterable

from economy.errors import StatementTooLong
from economy.line_words import ratio
from economy.party_rewards import EpochReward, ReceiptPart
from economy.pdf_paper import BOLD, FAINT, LEFT, RIGHT, Block, Pen, figure, wrapped

_COLUMNS = (RIGHT - 250, RIGHT - 200, RIGHT - 150, RIGHT - 85, RIGHT)
_NAMES = ("Work units", "Quality", "Speed", "Reward units", "Reward")
_UNIT_PLACES = 4


def reward_blocks(found: Iterable[EpochReward], rows_max: int) -> list[Block]:
    """The section; empty when no epoch paid or retired anything.

    Raises
    ------
    StatementTooLong
        If it would have more than `rows_max` rows.
    """
    head = Block(16.0, _head, keep=2)
    rows: list[Block] = []
    for reward in found:
        if len(rows) + len(reward.receipts) >= rows_max:
            raise StatementTooLong(lines_max=rows_max)
        rows += [_epoch(reward, head), *_receipts(reward, head)]
    if not rows:
        return []
    said = (
        "For each epoch, the Receipts whose work it pays. A reward is shared over its Receipts by reward units, to the "
        "unit; reward units are work units times quality times speed."
    )
    texts = wrapped(said, RIGHT - LEFT, 7.5)

    def title(pen: Pen, y: float) -> None:
        pen.text(LEFT, y - 26, "Where the rewards come from", 11, BOLD)
        for place, text in enumerate(texts):
            pen.text(LEFT, y - 37 - 9 * place, text, 7.5, colour=FAINT)

    return [Block(34.0 + 9 * len(texts), title, keep=3), head, *rows]


def _head(pen: Pen, y: float) -> None:
    pen.band(y - 16, 16)
    pen.text(LEFT + 4, y - 11, "Epoch and Receipt", 7.5, BOLD, FAINT)
    for x, name in zip(_COLUMNS, _NAMES, strict=True):
        pen.right(x - 3, y - 11, name, 7.5, BOLD, FAINT)


def _epoch(reward: EpochReward, head: Block) -> Block:
    online = "" if reward.factor_bp == 10_000 else f", online factor {ratio(reward.factor_bp)}"
    text = f"Weight {_units(reward.weight)} of {_units(reward.total_units)} reward units in all{online}"

    def draw(pen: Pen, y: float) -> None:
        pen.text(LEFT + 4, y - 11, f"Epoch {reward.epoch}, {reward.state}", 8.5, BOLD)
        pen.right(_COLUMNS[3] - 3, y - 11, _units(reward.units), 8.5, BOLD)
        pen.right(RIGHT - 3, y - 11, figure(reward.amount, reward.asset.scale), 8.5, BOLD)
        pen.text(LEFT + 4, y - 20, f"{reward.node}. {text}", 6.3, colour=FAINT)
        pen.rule(y - 25)

    return Block(25.0, draw, keep=min(len(reward.receipts), 1), head=head)


def _receipts(reward: EpochReward, head: Block) -> list[Block]:
    return [_receipt(part, reward, head) for part in reward.receipts]


def _receipt(part: ReceiptPart, reward: EpochReward, head: Block) -> Block:
    def draw(pen: Pen, y: float) -> None:
        pen.text(LEFT + 4, y - 9, f"No. {part.seq}", 7)
        pen.text(LEFT + 4, y - 17, part.receipt, 6.3, colour=FAINT)
        texts = (
            figure(part.work_units, 0),
            ratio(part.quality_bp),
            ratio(part.speed_bp),
            _units(part.units),
            figure(part.amount, reward.asset.scale),
        )
        for x, text in zip(_COLUMNS, texts, strict=True):
            pen.right(x - 3, y - 9, text, 7.5)
        pen.rule(y - 21)

    return Block(21.0, draw, head=head)


def _units(units: int) -> str:
    return figure(units, _UNIT_PLACES)
