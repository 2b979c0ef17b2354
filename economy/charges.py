"""How a study is charged: builds entries and nothing else.

A hold when the Offer opens, the actual when its Attempt is accepted, the rest released. What the hold cannot cover
becomes a receivable and is flagged; it is never refused. All ids come from the Offer and the Receipt, so that any event
may be taken any number of times.

======================  ==========================================================  ===================================
entry id                transfers                                                   kind
======================  ==========================================================  ===================================
``offer/<id>/hold``     institution:credit -pending-> network:clearing              charge.held, or charge.unsecured
``offer/<id>/charge``   hold posted (or credit, or receivable) -> clearing -> all   charge.settled
``offer/<id>/close``    hold voided                                                 charge.released
``offer/<id>/surplus``  a hold that came after the charge or the close, voided      charge.released
``credit/<party>/1``    network:credit-issue -> institution:credit                  credit.granted
======================  ==========================================================  ===================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bithive.limits import HOLD_MARGIN_S, LEASE_DURATION_S
from economy.entry import TIMEOUT_S_MAX, Account, Entry, PendingRef, Transfer, hold, move, release, settle
from economy.events import AttemptAccepted, OfferClosed, OfferOpened
from economy.rates import RateCard

Facts = Mapping[str, str | int | bool | None]


class Flag(StrEnum):
    """Why a charge did not go the usual way."""

    INSUFFICIENT_FUNDS = "insufficient-funds"
    HOLD_EXPIRED = "hold-expired"
    HOLD_RELEASED = "hold-released"
    ABOVE_HOLD = "above-hold"
    BEFORE_HOLD = "before-hold"


@dataclass(frozen=True, slots=True)
class Payers:
    """The two accounts a charge can come from, and the one it passes through."""

    credit: Account
    receivable: Account
    clearing: Account

    @classmethod
    def of(cls, institution: str, network: str, currency: str) -> Payers:
        credit, receivable = (Account(institution, code, currency) for code in ("credit", "receivable"))
        return cls(credit, receivable, Account(network, "clearing", currency))

    @classmethod
    def own(cls, network: str, currency: str) -> Payers:
        """The network pays for work of its own: no credit line limits it, and it owes nobody."""
        expense = Account(network, "expense", currency)
        return cls(expense, expense, Account(network, "clearing", currency))


def hold_id(offer_id: str) -> str:
    return f"offer/{offer_id}/hold"


def charge_id(offer_id: str) -> str:
    return f"offer/{offer_id}/charge"


def close_id(offer_id: str) -> str:
    return f"offer/{offer_id}/close"


def surplus_id(offer_id: str) -> str:
    return f"offer/{offer_id}/surplus"


def credit_id(party: str) -> str:
    return f"credit/{party}/1"


def hold_ref(offer_id: str) -> PendingRef:
    """The pending transfer of an Offer's hold."""
    return PendingRef(hold_id(offer_id), 0)


def grant(party: str, network: str, card: RateCard) -> Entry:
    """An institution's first credit line, as its rate card says."""
    issue, credit = (Account(network, "credit-issue", card.currency), Account(party, "credit", card.currency))
    transfers = (move(issue, credit, card.credit_line),) if card.credit_line else ()
    facts: Facts = {"rate_card": card.version, "reason": "default-line"}
    return Entry(credit_id(party), "credit.granted", transfers, facts)


def hold_timeout_s(event: OfferOpened) -> int:
    """How long a hold lasts: past the deadline, a last Lease and a margin, whenever it is recorded."""
    left_s = -(-max(event.deadline_ms - event.at_ms, 0) // 1000)
    return min(left_s + int(LEASE_DURATION_S + HOLD_MARGIN_S) + 1, TIMEOUT_S_MAX)


def holds(event: OfferOpened, card: RateCard, payers: Payers) -> list[Entry]:
    """The entry that holds the price, and the one to record where funds do not allow it."""
    amount = card.price(event.bundle, event.bundle_version, event.work_units)
    facts: dict[str, str | int | bool | None] = {
        "offer": event.offer_id,
        "bundle": event.bundle,
        "bundle_version": event.bundle_version,
        "work_units": event.work_units,
        "rate_card": card.version,
        "amount": amount,
    }
    made = (hold_id(event.offer_id), event.at_ms)
    pending = (hold(payers.credit, payers.clearing, amount, hold_timeout_s(event)),) if amount else ()
    unsecured = facts | {"flag": str(Flag.INSUFFICIENT_FUNDS)}
    return [
        Entry(made[0], "charge.held", pending, facts, effective_ms=made[1]),
        Entry(made[0], "charge.unsecured", (), unsecured, effective_ms=made[1]),
    ]


def charges(
    event: AttemptAccepted,
    card: RateCard,
    payers: Payers,
    parties: Mapping[str, str],
    held: int | None,
    *,
    closed: bool,
) -> list[Entry]:
    """The ways to charge, best first; the last is never refused.

    Parameters
    ----------
    parties
        Party id of each recipient.
    held
        Amount of the Offer's hold; 0 when it was unsecured, nothing when there is none (yet).
    closed
        Whether the Offer's hold was released before.
    """
    amount = card.price(event.bundle, event.bundle_version, event.work_units)
    ref = hold_ref(event.offer_id)
    owed = (move(payers.receivable, payers.clearing, amount),) if amount else ()
    ways: list[tuple[Flag | None, tuple[Transfer, ...]]]
    if not amount:
        ways = [(None, (release(ref),)), (None, ())] if held else [(None, ())]
    elif held is None:
        ways = [(Flag.BEFORE_HOLD, (move(payers.credit, payers.clearing, amount),)), (Flag.INSUFFICIENT_FUNDS, owed)]
    elif held == 0:
        ways = [(Flag.INSUFFICIENT_FUNDS, owed)]
    else:
        lost = Flag.HOLD_RELEASED if closed else Flag.HOLD_EXPIRED
        beyond = (move(payers.receivable, payers.clearing, amount - held),) if amount > held else ()
        posted = (settle(ref, min(amount, held)), *beyond)
        ways = [(Flag.ABOVE_HOLD if beyond else None, posted), (lost, owed)]
    shares = _shares(card, amount, payers.clearing, parties)
    return [_charge(event, card, amount, flag, (*funding, *shares)) for flag, funding in ways]


def _shares(card: RateCard, amount: int, clearing: Account, parties: Mapping[str, str]) -> list[Transfer]:
    codes = {"node": "payable", "operator": "payable", "hub": "revenue", "protocol": "revenue"}
    return [
        move(clearing, Account(parties[name], codes[name], card.currency), share)
        for name, share in card.shares(amount).items()
        if share
    ]


def _charge(
    event: AttemptAccepted, card: RateCard, amount: int, flag: Flag | None, transfers: tuple[Transfer, ...]
) -> Entry:
    facts: dict[str, str | int | bool | None] = {
        "offer": event.offer_id,
        "attempt": event.attempt_id,
        "receipt": event.receipt_digest,
        "bundle": event.bundle,
        "bundle_version": event.bundle_version,
        "work_units": event.work_units,
        "rate_card": card.version,
        "amount": amount,
    }
    if flag is not None:
        facts["flag"] = str(flag)
    return Entry(charge_id(event.offer_id), "charge.settled", transfers, facts, effective_ms=event.at_ms)


def closes(event: OfferClosed) -> list[Entry]:
    """The hold released; or only that the Offer is closed, where there is nothing to release."""
    facts = {"offer": event.offer_id, "reason": event.reason}
    made = (close_id(event.offer_id), "charge.released")
    return [
        Entry(*made, (release(hold_ref(event.offer_id)),), facts, effective_ms=event.at_ms),
        Entry(*made, (), facts, effective_ms=event.at_ms),
    ]


def surplus(offer_id: str) -> Entry:
    """Release a hold that came after its Offer was charged or closed."""
    return Entry(surplus_id(offer_id), "charge.released", (release(hold_ref(offer_id)),), {"offer": offer_id})
