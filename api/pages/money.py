"""What an analysis came to, as shown. A ledger that does not answer never keeps a study's page from its reader."""

from __future__ import annotations

from dataclasses import dataclass

from api.pages import words
from api.services import Services
from bithive.errors import BitHiveError
from bithive.log import get
from clinic.workitem import Workitem
from economy.statement import OfferStatement, RewardState, State, of_offer

STATES: dict[State, str] = {
    State.NONE: "not booked yet",
    State.HELD: "held; charged when the findings are accepted",
    State.UNSECURED: "nothing held, for lack of funds; the study runs all the same",
    State.SETTLED: "settled",
    State.RELEASED: "released: nothing is charged",
    State.EXPIRED: "the hold has expired",
}

FLAGS: dict[str, str] = {
    "insufficient-funds": "The credit line did not cover it: it is owed.",
    "hold-expired": "It came after the hold’s end: it is owed.",
    "hold-released": "It came after the hold was released: it is owed.",
    "above-hold": "It was more than was held: the rest is owed.",
    "before-hold": "It was charged before anything was held.",
}

PARTIES: dict[str, str] = {
    "node": "Node that computed it",
    "operator": "Operator of the cell",
    "hub": "This hub",
    "protocol": "Protocol",
}

REWARDS: dict[RewardState, str] = {
    RewardState.NONE: "",
    RewardState.ACCRUED: "if epoch {epoch} closed now; it changes until then",
    RewardState.HELD: "earned with epoch {epoch}; held back until it is settled",
    RewardState.PAID: "paid with epoch {epoch}",
    RewardState.VOIDED: "forfeited: the node was caught before epoch {epoch} was settled",
}


@dataclass(frozen=True, slots=True)
class ChargeLines:
    """A statement as shown; `split` holds (party, amount, share of the whole)."""

    work: str
    hold: str
    charge: str
    state: str
    split: tuple[tuple[str, str, str], ...]
    reward: str
    reward_note: str
    note: str


def charge_lines(services: Services, item: Workitem) -> ChargeLines | None:
    """The statement of a Workitem's Offer, or None where no ledger is at hand or nothing is booked."""
    try:
        statement = of_offer(services.ledger, item.offer_id)
    except BitHiveError as error:
        get().info("statement.unavailable", workitem=item.workitem_id, code=error.code)
        return None
    return None if statement.state is State.NONE else _shown(statement)


def _shown(statement: OfferStatement) -> ChargeLines:
    whole = statement.charge or 0
    split = tuple(
        (PARTIES.get(part.label, part.label), statement.text(part.amount), words.share(part.amount, whole))
        for part in statement.split
    )
    units = f"{words.counted(statement.work_units, 'reference work unit')}" if statement.work_units is not None else ""
    note = FLAGS.get(statement.flag or "", "")
    return ChargeLines(
        work=units,
        hold=statement.text(statement.hold) if statement.hold is not None else "",
        charge=statement.text(statement.charge) if statement.charge is not None else "",
        state=STATES[statement.state],
        split=split,
        reward=statement.reward_text if statement.reward_btt is not None else "",
        reward_note=REWARDS[statement.reward_state].format(epoch=statement.epoch),
        note=note,
    )
