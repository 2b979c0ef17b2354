"""What one study came to: the hold, the charge, who got which part, and what the node earned for it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, NamedTuple

from economy.book import EntryRow
from economy.charges import charge_id, close_id, hold_id, receipt_id, surplus_id
from economy.entry import Account, Asset
from economy.epoch import Opened, end_id, opened_epochs, part_id, work_at
from economy.ledger import Ledger
from economy.money import BTT, EUR, WU, format_amount
from economy.policies import in_force
from economy.rewards import Emission, RewardRule, share_out
from economy.store import Snapshot


class State(StrEnum):
    """Where an Offer stands in the ledger."""

    NONE = "none"
    """Nothing is booked (yet)."""
    HELD = "held"
    UNSECURED = "unsecured"
    """Funds did not allow a hold; the study runs all the same."""
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class RewardState(StrEnum):
    """What a reward's number means."""

    NONE = "none"
    ACCRUED = "accrued"
    """What it would be if the epoch closed now; it changes until then."""
    PAID = "paid"


class Share(NamedTuple):
    """A part of a charge."""

    label: str
    """`node`, `operator`, `hub` or `protocol`."""
    amount: int
    asset: str
    party: str


class OfferStatement(NamedTuple):
    """All that the ledger knows of one Offer. Amounts are in `currency`'s smallest unit; `text` writes them out.

    Attributes
    ----------
    hold, charge
        What was reserved, and what was charged; nothing where it did not happen.
    flag
        Why the charge did not go the usual way (`economy.charges.Flag`).
    split
        The charge's parts; they sum to it.
    work_units, receipt
        What the node's signed Receipt says, and its digest.
    reward_btt
        The part of its node's BTT that this work earned, in the smallest unit.
    reward_state, epoch
        Whether that is paid, and with which epoch.
    """

    offer_id: str
    state: State
    currency: Asset = EUR
    rate_card: int | None = None
    hold: int | None = None
    charge: int | None = None
    flag: str | None = None
    split: tuple[Share, ...] = ()
    work_units: int | None = None
    receipt: str | None = None
    reward_btt: int | None = None
    reward_state: RewardState = RewardState.NONE
    epoch: int | None = None

    def text(self, amount: int | None) -> str:
        """An amount in the statement's currency, for a person."""
        return "\u2013" if amount is None else format_amount(amount, self.currency)

    @property
    def reward_text(self) -> str:
        """The reward, for a person."""
        return "\u2013" if self.reward_btt is None else format_amount(self.reward_btt, BTT)


def of_offer(ledger: Ledger, offer_id: str) -> OfferStatement:
    """The statement of one Offer, at one moment. An Offer that is not booked has the state `none`."""
    with ledger.store.reading() as snapshot:
        ids = (hold_id(offer_id), charge_id(offer_id), close_id(offer_id), surplus_id(offer_id))
        rows = snapshot.find(ids)
        held, charged = rows.get(ids[0]), rows.get(ids[1])
        if held is None and charged is None:
            return OfferStatement(offer_id, State.RELEASED if ids[2] in rows else State.NONE)
        facts = _facts(charged or held)
        statement = OfferStatement(offer_id, _state(snapshot, rows, ids), rate_card=facts["rate_card"])
        if held is not None and held.kind == "charge.held":
            statement = statement._replace(hold=_facts(held)["amount"])
        if charged is None:
            return statement
        split = _split(snapshot, charged)
        currency = next(
            (item for item in snapshot.declared().assets.values() if split and item.code == split[0].asset), EUR
        )
        statement = statement._replace(
            currency=currency,
            charge=facts["amount"],
            flag=facts.get("flag"),
            split=split,
            work_units=facts["work_units"],
            receipt=facts["receipt"],
        )
        return _with_reward(snapshot, statement, ledger.clock.now_ms())


def _state(snapshot: Snapshot, rows: dict[str, EntryRow], ids: tuple[str, ...]) -> State:
    hold, charge, close, surplus = (rows.get(name) for name in ids)
    if charge is not None:
        return State.SETTLED
    assert hold is not None, "the caller asked for one of the two"
    if close is not None or surplus is not None:
        return State.RELEASED
    if hold.kind == "charge.unsecured":
        return State.UNSECURED
    return State.EXPIRED if snapshot.find([f"expiry/{hold.seq}/0"]) else State.HELD


def _split(snapshot: Snapshot, charged: EntryRow) -> tuple[Share, ...]:
    kinds = {party.party_id: party.kind for party in snapshot.declared().parties.values()}
    shares = []
    for leg in json.loads(charged.content).get("transfers", []):
        if "credit" in leg and ":clearing:" in leg["debit"]:
            account = Account.parse(leg["credit"])
            shares.append(Share(kinds[account.owner], leg["amount"], account.asset, account.owner))
    return tuple(shares)


def _with_reward(snapshot: Snapshot, statement: OfferStatement, now_ms: int) -> OfferStatement:
    measured = snapshot.find([receipt_id(statement.receipt or "")])
    row = next(iter(measured.values()), None)
    if row is None or statement.work_units is None:
        return statement
    node = Account.parse(json.loads(row.content)["transfers"][0]["credit"]).owner
    opened = next((epoch for epoch in opened_epochs(snapshot) if epoch.seq > row.seq), None)
    if opened is not None and snapshot.find([end_id(opened.number)]):
        amount, units = _paid(snapshot, opened, node)
        state, number = RewardState.PAID, opened.number
    else:
        amount, units, number = _accrued(snapshot, opened, node, now_ms)
        state = RewardState.ACCRUED
    reward = amount * statement.work_units // units if units else 0
    return statement._replace(reward_btt=reward, reward_state=state, epoch=number)


def _paid(snapshot: Snapshot, opened: Opened, node: str) -> tuple[int, int]:
    """What an epoch paid a node, and for how many work units."""
    amount = units = part = 0
    while rows := snapshot.find([part_id(opened.number, part)]):
        for leg in json.loads(rows[part_id(opened.number, part)].content)["transfers"]:
            if leg["credit"].startswith(f"{node}:earned:"):
                amount = leg["amount"]
            elif leg["debit"] == str(Account(node, "work", WU.code)):
                units = leg["amount"]
        if units:
            break
        part += 1
    return amount, units


def _accrued(snapshot: Snapshot, opened: Opened | None, node: str, now_ms: int) -> tuple[int, int, int]:
    """What a node would be paid if the epoch under way closed now, for how many work units, and the epoch's number."""
    policies = snapshot.declared().policies
    if opened is None:
        last = max(opened_epochs(snapshot), default=None)
        since_ms = last.to_ms if last else snapshot.log(0, 1)[0].recorded_us // 1000
        to_ms = max(now_ms, since_ms)
        pool = Emission.read(in_force(policies, "emission", to_ms)).between(since_ms, to_ms)
        work, number = work_at(snapshot, snapshot.head().seq), (last.number if last else 0) + 1
    else:
        pool, to_ms, number = opened.pool, opened.to_ms, opened.number
        work = work_at(snapshot, opened.seq)
    paid = RewardRule.read(in_force(policies, "reward-rule", to_ms)).paid(pool, sum(work.values()))
    found = next((share for share in share_out(paid, work) if share[0] == node), (node, 0, 0))
    return found[2], found[1], number


def _facts(row: EntryRow | None) -> dict[str, Any]:
    assert row is not None, "an entry is at hand"
    facts: dict[str, Any] = json.loads(row.content)["facts"]
    return facts
