"""What one study came to: the hold, the charge, who got which part, and what the node earned for it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, NamedTuple

from economy.book import EntryRow
from economy.charges import charge_id, close_id, hold_id, surplus_id
from economy.entry import Account, Asset, Phase
from economy.epoch import Opened, end_id, opened_epochs
from economy.ledger import Ledger
from economy.measures import receipt_id
from economy.money import BTT, EUR, RU, WU, format_amount
from economy.policies import in_force
from economy.rewards import WHOLE_BP, Emission, RewardRule, share_out
from economy.store import Snapshot
from economy.weights import weights_at


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
    HELD = "held"
    """Earned, and held back until it is settled."""
    PAID = "paid"
    VOIDED = "voided"
    """Forfeited: the node was caught before it was settled."""


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
    node, units = _measured(row)
    epochs = list(opened_epochs(snapshot))
    opened = next((epoch for epoch in epochs if epoch.seq > row.seq), None)
    end = None if opened is None else snapshot.find([end_id(opened.number)]).get(end_id(opened.number))
    if opened is not None and end is not None:
        amount, whole, state = _booked(snapshot, opened, end.seq, node)
        number = opened.number
    else:
        amount, whole, number = _accrued(snapshot, epochs, opened, node, now_ms)
        state = RewardState.ACCRUED
    reward = amount * units // whole if whole else 0
    return statement._replace(reward_btt=reward, reward_state=state, epoch=number)


def _measured(row: EntryRow) -> tuple[str, int]:
    """Whose work an entry measured, and how many reward units it is (old work units times 10,000)."""
    body = json.loads(row.content)
    legs = body.get("transfers", [])
    if not legs:
        return str(body["facts"]["node"]), 0
    account = Account.parse(legs[0]["credit"])
    return account.owner, legs[0]["amount"] * (WHOLE_BP if account.asset == WU.code else 1)


def _booked(snapshot: Snapshot, opened: Opened, end_seq: int, node: str) -> tuple[int, int, RewardState]:
    """What a closed epoch gave a node, for how many reward units, and whether that is settled."""
    names = [Account(node, "earned", BTT.code), Account(node, "work", RU.code), Account(node, "work", WU.code)]
    numbers = {item.account_id: item.account for item in snapshot.accounts(names)}
    amount, units, state, held = 0, 0, RewardState.PAID, None
    for row in snapshot.transfers(opened.seq, end_seq, list(numbers)):
        if row.credit_id in numbers and numbers[row.credit_id].code == "earned":
            amount = row.amount
            if row.phase == Phase.PENDING:
                held, state = (row.entry_seq, row.leg), RewardState.HELD
        elif row.debit_id in numbers:
            units += row.amount * (WHOLE_BP if numbers[row.debit_id].asset == WU.code else 1)
    if held is not None:
        ends = {Phase.POST: RewardState.PAID, Phase.VOID: RewardState.VOIDED}
        for row in snapshot.transfers(end_seq, snapshot.head().seq, list(numbers)):
            if (row.pending_seq, row.pending_leg) == held:
                state = ends[Phase(row.phase)]
    return amount, units, state


def _accrued(
    snapshot: Snapshot, epochs: list[Opened], opened: Opened | None, node: str, now_ms: int
) -> tuple[int, int, int]:
    """What a node would be paid if the epoch under way closed now, for how many reward units, and its number."""
    policies = snapshot.policies()
    before = [epoch for epoch in epochs if opened is None or epoch.seq < opened.seq]
    last = before[-1] if before else None
    if opened is None:
        since_ms = last.to_ms if last else snapshot.log(0, 1)[0].recorded_us // 1000
        to_ms, seq = max(now_ms, since_ms), snapshot.head().seq
        pool = Emission.read(in_force(policies, "emission", to_ms)).between(since_ms, to_ms)
        number = (last.number if last else 0) + 1
    else:
        pool, to_ms, number, seq = opened.pool, opened.to_ms, opened.number, opened.seq
    rule = RewardRule.read(in_force(policies, "reward-rule", to_ms))
    weights = weights_at(snapshot, last.seq if last else 0, seq, rule)
    by_party = weights.weights()
    paid = rule.paid(pool, weights.total) if any(by_party.values()) else 0
    found = next((share for share in share_out(paid, weights.work, by_party) if share.party == node), None)
    return (0, 0, number) if found is None else (found.amount, weights.units(node), number)


def _facts(row: EntryRow | None) -> dict[str, Any]:
    assert row is not None, "an entry is at hand"
    facts: dict[str, Any] = json.loads(row.content)["facts"]
    return facts
