"""Closing an epoch: its BTT is shared over its work units, the work units are retired, and the log is sealed.

======================  ====================================================  =============
entry id                transfers                                             kind
======================  ====================================================  =============
``epoch/<n>/open``      network:issuance -> network:pool, the whole emission  epoch.opened
``epoch/<n>/part/<k>``  pool -> node:earned; node:work -> network:retired     epoch.paid
``epoch/<n>/end``       pool -> network:reserve, what no work earned          epoch.closed
======================  ====================================================  =============

The weights are the work balances right after the opening entry: what is measured later belongs to the next epoch. So
every part follows from the log alone, and a close that was interrupted is resumed by anyone, with the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.keys import SigningKey
from bithive.limits import ENTRY_TRANSFERS_MAX
from bithive.log import get
from economy.book import EntryRow, Seal
from economy.entry import Account, Entry, Phase, Policy, move
from economy.errors import EntryDiffers, SealConflict
from economy.ledger import Ledger
from economy.money import WU
from economy.parties import NETWORK, Parties
from economy.policies import in_force
from economy.rewards import Emission, RewardRule, share_out
from economy.seal import make_seal
from economy.store import Snapshot

NODES_PER_PART = ENTRY_TRANSFERS_MAX // 2
_SEAL_TRIES = 3


class Opened(NamedTuple):
    """An epoch whose close has begun: everything the rest follows from."""

    number: int
    seq: int
    from_ms: int
    to_ms: int
    pool: int
    emission: int
    reward_rule: int


class EpochClosed(NamedTuple):
    """What a close came to.

    Attributes
    ----------
    number
        1, 2, 3, ...
    nodes, work_units
        How many were paid, for how much work.
    paid, residue
        BTT to nodes and to the reserve; together the period's emission.
    seal
        What was signed at the end; nothing when others had sealed meanwhile.
    """

    number: int
    nodes: int
    work_units: int
    paid: int
    residue: int
    seal: Seal | None


def open_id(number: int) -> str:
    return f"epoch/{number}/open"


def part_id(number: int, part: int) -> str:
    return f"epoch/{number}/part/{part}"


def end_id(number: int) -> str:
    return f"epoch/{number}/end"


class Epochs:
    """Closes one epoch after the other.

    Parameters
    ----------
    ledger, parties
        Where it is booked.
    policies
        Of kinds `emission` and `reward-rule`.
    key
        Signs the seals.
    clock
        Says when a period ends.
    epoch_s
        Length of a period; periods end at its multiples since 1970.
    """

    def __init__(
        self, ledger: Ledger, parties: Parties, policies: list[Policy], key: SigningKey, clock: Clock, epoch_s: float
    ) -> None:
        self._ledger, self._parties, self._policies = ledger, parties, policies
        self._key, self._clock, self._epoch_ms = key, clock, max(round(epoch_s * 1000), 1)

    def tick(self) -> float:
        """Void the holds that are due, close the period under way if its time has come; seconds until the next ends."""
        self._ledger.expire()
        now_ms = self._clock.now_ms()
        opened = last_opened(self._ledger)
        if (
            opened is not None and self._ledger.find(end_id(opened.number)) is None
        ) or now_ms // self._epoch_ms > self._since_ms(opened) // self._epoch_ms:
            self.close()
        return (self._epoch_ms - self._clock.now_ms() % self._epoch_ms) / 1000

    def close(self) -> EpochClosed:
        """Close the period under way, now; or finish a close that was interrupted.

        Raises
        ------
        LedgerUnavailable
            Call again later: what is booked is not booked twice.
        """
        opened = last_opened(self._ledger)
        if opened is None or self._ledger.find(end_id(opened.number)) is not None:
            opened = self._open(opened)
        with self._ledger.store.reading() as snapshot:
            work = work_at(snapshot, opened.seq)
        rule = RewardRule.read(self._policy("reward-rule", opened.reward_rule))
        total = sum(work.values())
        paid = rule.paid(opened.pool, total)
        shares = share_out(paid, work)
        self._pay(opened, shares)
        self._end(opened, len(shares), total, paid)
        seal = self._seal()
        get().info("epoch.closed", epoch=opened.number, count=len(shares))
        return EpochClosed(opened.number, len(shares), total, paid, opened.pool - paid, seal)

    def _seal(self) -> Seal | None:
        """Seal the log; whoever closes the same epoch at the same time may be faster, and that is as good."""
        for _ in range(_SEAL_TRIES):
            with suppress(SealConflict):
                return make_seal(self._ledger.store, self._key, self._clock)
        return None

    def _open(self, previous: Opened | None) -> Opened:
        number = 1 if previous is None else previous.number + 1
        from_ms = self._since_ms(previous)
        to_ms = max(self._clock.now_ms(), from_ms)
        emission = Emission.read(in_force(self._policies, "emission", to_ms))
        rule = in_force(self._policies, "reward-rule", to_ms)
        pool = emission.between(from_ms, to_ms)
        network = self._parties.of(NETWORK)
        legs = (move(Account(network, "issuance", emission.asset), Account(network, "pool", emission.asset), pool),)
        facts: dict[str, str | int | bool | None] = {
            "epoch": number,
            "from_ms": from_ms,
            "to_ms": to_ms,
            "pool": pool,
            "asset": emission.asset,
            "emission": emission.version,
            "reward_rule": rule.version,
        }
        try:
            self._ledger.post(Entry(open_id(number), "epoch.opened", legs if pool else (), facts, effective_ms=to_ms))
        except EntryDiffers:
            get().warning("epoch.opened_elsewhere", epoch=number)
        return read_opened(self._ledger.get(open_id(number)))

    def _since_ms(self, previous: Opened | None) -> int:
        if previous is not None:
            return previous.to_ms
        with self._ledger.store.reading() as snapshot:
            first = snapshot.log(0, 1)
        return first[0].recorded_us // 1000 if first else self._clock.now_ms()

    def _pay(self, opened: Opened, shares: list[tuple[str, int, int]]) -> None:
        for answer in self._ledger.post_all(list(self._parts(opened, shares))):
            if isinstance(answer, BitHiveError):
                raise answer

    def _parts(self, opened: Opened, shares: list[tuple[str, int, int]]) -> Iterator[Entry]:
        network = self._parties.of(NETWORK)
        asset = Emission.read(self._policy("emission", opened.emission)).asset
        pool, retired = Account(network, "pool", asset), Account(network, "work-retired", WU.code)
        for part, start in enumerate(range(0, len(shares), NODES_PER_PART)):
            transfers = []
            for node, units, amount in shares[start : start + NODES_PER_PART]:
                if amount:
                    transfers.append(move(pool, Account(node, "earned", asset), amount))
                transfers.append(move(Account(node, "work", WU.code), retired, units))
            yield Entry(part_id(opened.number, part), "epoch.paid", tuple(transfers), {"epoch": opened.number})

    def _end(self, opened: Opened, nodes: int, total: int, paid: int) -> None:
        network = self._parties.of(NETWORK)
        asset, residue = Emission.read(self._policy("emission", opened.emission)).asset, opened.pool - paid
        facts: dict[str, str | int | bool | None] = {
            "epoch": opened.number,
            "nodes": nodes,
            "work_units": total,
            "paid": paid,
            "residue": residue,
        }
        legs = (move(Account(network, "pool", asset), Account(network, "reserve", asset), residue),) if residue else ()
        self._ledger.post(Entry(end_id(opened.number), "epoch.closed", legs, facts, effective_ms=opened.to_ms))

    def _policy(self, kind: str, version: int) -> Policy:
        return next(item for item in self._policies if (item.kind, item.version) == (kind, version))


def work_at(snapshot: Snapshot, seq: int) -> dict[str, int]:
    """Work units of each node right after entry `seq`, by party id."""
    balances = {item.account_id: item for item in snapshot.accounts() if item.account[1:] == ("work", WU.code)}
    work = {number: balance.net for number, balance in balances.items()}
    for row in snapshot.transfers(seq, snapshot.head().seq):
        if row.phase in (Phase.SINGLE, Phase.POST):
            if row.debit_id in work:
                work[row.debit_id] += row.amount
            if row.credit_id in work:
                work[row.credit_id] -= row.amount
    return {balances[number].account.owner: units for number, units in work.items()}


def read_opened(row: EntryRow) -> Opened:
    """The facts of an `epoch.opened` entry."""
    facts: dict[str, Any] = json.loads(row.content)["facts"]
    names = ("from_ms", "to_ms", "pool", "emission", "reward_rule")
    return Opened(facts["epoch"], row.seq, *(facts[name] for name in names))


def opened_epochs(snapshot: Snapshot) -> Iterator[Opened]:
    """Every epoch whose close has begun, in order."""
    after = 0
    while rows := snapshot.log(after, 1000, kind="epoch.opened"):
        yield from map(read_opened, rows)
        after = rows[-1].seq


def last_opened(ledger: Ledger) -> Opened | None:
    """The newest epoch whose close has begun."""
    with ledger.store.reading() as snapshot:
        return max(opened_epochs(snapshot), default=None)
