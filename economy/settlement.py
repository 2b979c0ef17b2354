"""Settling what an epoch held back: rewards become a node's own once it has stood, and are forfeited if it was caught.

==================================  ======================================================  =================
entry id                            transfers                                               kind
==================================  ======================================================  =================
``epoch/<n>/settle/<part>/<k>``     pending rewards of one part posted                      reward.settled
``caught/<attempt>/void/<n>``       a node's pending reward voided, pool -> reserve         reward.voided
``epoch/<n>/settled``               none; nothing of the epoch is held back any more        epoch.settled
==================================  ======================================================  =================

A reward is settled once its node has had as many further Attempts accepted since the epoch's last entry as the rule
asks for, or so long after the epoch's end. A node that is caught forfeits what is then held back of every epoch that
was opened before; in the epoch in which it was caught it earns nothing (`economy.weights`). Everything follows from the
log, so that an interrupted settlement is taken up by anyone: a pending transfer ends once, whoever is faster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.limits import SETTLEMENT_PERIOD_S
from economy.book import EntryRow, TransferRow, facts_of
from economy.entry import Account, Entry, PendingRef, Phase, Policy, move, release, settle
from economy.epoch import Opened, claims_id, end_id, opened_epochs, part_id
from economy.errors import EntryDiffers, PendingResolved
from economy.ledger import Ledger
from economy.money import RU, WU
from economy.parties import NETWORK, Parties
from economy.rewards import Emission, RewardRule
from economy.store import Snapshot
from economy.weights import PAGE, accounts, entries, moved


class Settled(NamedTuple):
    """What one round came to: how many rewards became their nodes' own, and how many were forfeited."""

    settled: int = 0
    voided: int = 0

    def plus(self, other: Settled) -> Settled:
        return Settled(self.settled + other.settled, self.voided + other.voided)


class _Held(NamedTuple):
    """An epoch with rewards that are held back."""

    opened: Opened
    end_seq: int
    rule: RewardRule
    asset: str


class _Known(NamedTuple):
    """What decides which of an epoch's rewards are due."""

    at_seq: int
    """The last entry that was looked at."""
    ended: set[tuple[int, int]]
    """Pending transfers that were posted or voided."""
    stood: set[str]
    """Parties of nodes that have had enough further Attempts accepted."""
    caught: dict[str, EntryRow]
    """Entries of kind `node.caught`, by party."""
    earned: dict[int, str]
    """Party by the number of its account `earned`."""


def settled_id(number: int) -> str:
    return f"epoch/{number}/settled"


def settlement_id(number: int, part: int, count: int) -> str:
    return f"epoch/{number}/settle/{part}/{count}"


def void_id(caught: EntryRow, number: int) -> str:
    return f"{caught.entry_id}/void/{number}"


class Settlements:
    """Settles one epoch after the other.

    Parameters
    ----------
    ledger, parties
        Where it is booked.
    policies
        Of kinds `emission` and `reward-rule`.
    clock
        Says what is due.
    """

    def __init__(self, ledger: Ledger, parties: Parties, policies: Sequence[Policy], clock: Clock) -> None:
        self._ledger, self._parties, self._policies, self._clock = ledger, parties, policies, clock
        self._first = 0
        self._next_ms = 0

    def tick(self) -> float:
        """Settle what is due, at most once a period; seconds until the next."""
        now_ms = self._clock.now_ms()
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + round(SETTLEMENT_PERIOD_S * 1000)
            self.settle()
        return max(self._next_ms - now_ms, 0) / 1000

    def settle(self) -> Settled:
        """Post or void whatever is due now.

        Raises
        ------
        LedgerUnavailable
            Call again later: what is settled is not settled twice.
        """
        done = Settled()
        with self._ledger.store.reading() as snapshot:
            held = list(self._held(snapshot))
        for one in held:
            done = done.plus(self._settle(one))
        return done

    def _held(self, snapshot: Snapshot) -> Iterator[_Held]:
        """Epochs whose close is done and whose settlement is not. Those settled at the beginning are left out for good."""
        rules = {item.version: item for item in self._policies if item.kind == "reward-rule"}
        schedules = {item.version: item for item in self._policies if item.kind == "emission"}
        contiguous = True
        for opened in opened_epochs(snapshot, self._first):
            rule = RewardRule.read(rules[opened.reward_rule])
            found = snapshot.find([end_id(opened.number), claims_id(opened.number), settled_id(opened.number)])
            over = settled_id(opened.number) in found or (end_id(opened.number) in found and not rule.holds_back)
            contiguous = contiguous and over
            if contiguous:
                self._first = opened.seq
            if not over and claims_id(opened.number) in found:
                asset = Emission.read(schedules[opened.emission]).asset
                yield _Held(opened, found[end_id(opened.number)].seq, rule, asset)

    def _settle(self, held: _Held) -> Settled:
        now_ms, number = self._clock.now_ms(), held.opened.number
        assert held.rule.hold_ms is not None, "only an epoch with holdback is held"
        late = now_ms >= held.opened.to_ms + held.rule.hold_ms
        with self._ledger.store.reading() as snapshot:
            known = self._known(snapshot, held)
        if not (late or known.stood or known.caught):
            return Settled()
        done, left, part = Settled(), 0, 0
        while (pending := self._part(held, part, known)) is not None:
            some, waiting = self._settle_part(held, part, pending, known, late=late)
            done, left, part = done.plus(some), left + waiting, part + 1
        if not left:
            self._ledger.post(Entry(settled_id(number), "epoch.settled", facts={"epoch": number}))
        return done

    def _known(self, snapshot: Snapshot, held: _Held) -> _Known:
        to_seq = snapshot.head().seq
        network, first = self._parties.of(NETWORK), held.opened.seq
        issues = snapshot.accounts([Account(network, "work-issue", code) for code in (RU.code, WU.code)])
        work = {item.account_id: item.account.owner for item in accounts(snapshot, "work")}
        numbers = [item.account_id for item in issues]
        measured = moved(snapshot, held.end_seq, to_seq, numbers)
        counts = Counter(work[row.credit_id] for row in measured if row.credit_id in work)
        needed = held.rule.hold_attempts or 0
        return _Known(
            to_seq,
            {(row.pending_seq or 0, row.pending_leg or 0) for row in _resolutions(snapshot, held.end_seq, to_seq)},
            {party for party, count in counts.items() if count >= needed} if needed else set(),
            {facts_of(row)["node"]: row for row in entries(snapshot, "node.caught", first, to_seq)},
            {item.account_id: item.account.owner for item in accounts(snapshot, "earned")},
        )

    def _part(self, held: _Held, part: int, known: _Known) -> list[TransferRow] | None:
        """The rewards of one part that are pending; None when there is no such part."""
        name = part_id(held.opened.number, part)
        with self._ledger.store.reading() as snapshot:
            row = snapshot.find([name]).get(name)
            if row is None:
                return None
            legs = snapshot.transfers(row.seq - 1, row.seq)
        return [leg for leg in legs if leg.phase == Phase.PENDING and (leg.entry_seq, leg.leg) not in known.ended]

    def _settle_part(
        self, held: _Held, part: int, pending: list[TransferRow], known: _Known, *, late: bool
    ) -> tuple[Settled, int]:
        """Void and post what is due of one part; also how many are left."""
        due, voided = [], 0
        for leg in pending:
            party = known.earned[leg.credit_id]
            if party in known.caught:
                voided += self._void(held, part, leg, party, known.caught[party])
            elif late or party in known.stood:
                due.append(leg)
        settled = self._post(held, part, due, "time" if late else "attempts", known.at_seq) if due else 0
        return Settled(settled, voided), len(pending) - settled - voided

    def _post(self, held: _Held, part: int, due: list[TransferRow], reason: str, at_seq: int) -> int:
        number = held.opened.number
        legs = tuple(settle(PendingRef(part_id(number, part), leg.leg)) for leg in due)
        count = 0
        while self._ledger.find(settlement_id(number, part, count)) is not None:
            count += 1
        facts: dict[str, str | int | bool | None] = {"epoch": number, "part": part, "reason": reason, "at_seq": at_seq}
        return len(legs) if self._take(Entry(settlement_id(number, part, count), "reward.settled", legs, facts)) else 0

    def _void(self, held: _Held, part: int, leg: TransferRow, party: str, caught: EntryRow) -> int:
        number, network = held.opened.number, self._parties.of(NETWORK)
        pool, reserve = (Account(network, code, held.asset) for code in ("pool", "reserve"))
        legs = (release(PendingRef(part_id(number, part), leg.leg)), move(pool, reserve, leg.amount))
        facts: dict[str, str | int | bool | None] = {
            "epoch": number,
            "node": party,
            "amount": leg.amount,
            "reason": facts_of(caught)["reason"],
            "attempt": facts_of(caught)["attempt"],
        }
        return int(self._take(Entry(void_id(caught, number), "reward.voided", legs, facts)))

    def _take(self, entry: Entry) -> bool:
        """Record an entry, unless somebody else has settled the same meanwhile."""
        (answer,) = self._ledger.post_all([entry], bulk=True)
        if isinstance(answer, EntryDiffers | PendingResolved):
            return False
        if isinstance(answer, BitHiveError):
            raise answer
        return True


def _resolutions(snapshot: Snapshot, after_seq: int, to_seq: int) -> Iterator[TransferRow]:
    """Posts and voids of the entries `after_seq < seq <= to_seq`, page by page."""
    for start in range(after_seq, to_seq, PAGE):
        for row in snapshot.transfers(start, min(start + PAGE, to_seq)):
            if row.phase in (Phase.POST, Phase.VOID):
                yield row
