"""Closing an epoch: its BTT is shared over its work, the work is retired, claims are published, the log is sealed.

=========================  =========================================================  ================
entry id                   transfers                                                  kind
=========================  =========================================================  ================
``epoch/<n>/open``         network:issuance -> network:pool, the whole emission       epoch.opened
``epoch/<n>/part/<k>``     pool -pending-> node:earned; node:work -> network:retired  epoch.paid
``epoch/<n>/end``          pool -> network:reserve, what no work earned               epoch.closed
``epoch/<n>/claims``       none; the root of what each node may claim, ever           claims.published
=========================  =========================================================  ================

The weights are the work balances right after the opening entry: what is measured later belongs to the next epoch. So
every part follows from the log alone, and a close that was interrupted is resumed by anyone, with the same ids. Rewards
are pending until `economy.settlement` settles them; under a rule without holdback they move at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.keys import SigningKey
from bithive.limits import BULK_TRANSFERS_MAX, ENTRY_TRANSFERS_MAX
from bithive.log import get
from economy.book import EntryRow, Seal, facts_of
from economy.claims import Claim, ClaimTree
from economy.entry import Account, Entry, Policy, Transfer, hold, move
from economy.errors import EntryDiffers, EpochUnknown, PeriodClosed, SealConflict
from economy.ledger import Ledger
from economy.money import RU, WU
from economy.parties import NETWORK, Parties
from economy.policies import in_force
from economy.rewards import Emission, RewardRule, Share, share_out
from economy.seal import make_seal
from economy.store import Snapshot, Store
from economy.weights import credited_at, entries, weights_at

PART_TRANSFERS_MAX = BULK_TRANSFERS_MAX
_PARTS_AT_ONCE = 4
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
    nodes, units
        How many had work, and how much (reward units in their smallest unit).
    paid, residue
        BTT to nodes and to the reserve; together the period's emission.
    claims
        Root of the claims' tree, hexadecimal.
    seal
        What was signed at the end; nothing when others had sealed meanwhile.
    """

    number: int
    nodes: int
    units: int
    paid: int
    residue: int
    claims: str
    seal: Seal | None


def open_id(number: int) -> str:
    return f"epoch/{number}/open"


def part_id(number: int, part: int) -> str:
    return f"epoch/{number}/part/{part}"


def end_id(number: int) -> str:
    return f"epoch/{number}/end"


def claims_id(number: int) -> str:
    return f"epoch/{number}/claims"


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
        self,
        ledger: Ledger,
        parties: Parties,
        policies: Sequence[Policy],
        key: SigningKey,
        clock: Clock,
        epoch_s: float,
    ) -> None:
        self._ledger, self._parties, self._policies = ledger, parties, policies
        self._key, self._clock, self._epoch_ms = key, clock, max(round(epoch_s * 1000), 1)
        self._known: Opened | None = None

    def tick(self) -> float:
        """Void the holds that are due, close the period under way if its time has come; seconds until the next ends."""
        self._ledger.expire()
        opened = self._last()
        if self._is_open(opened) or self._clock.now_ms() // self._epoch_ms > self._since_ms(opened) // self._epoch_ms:
            self.close()
        return (self._epoch_ms - self._clock.now_ms() % self._epoch_ms) / 1000

    def close(self) -> EpochClosed:
        """Close the period under way, now; or finish a close that was interrupted.

        Raises
        ------
        LedgerUnavailable
            Call again later: what is booked is not booked twice.
        """
        opened = self._last()
        if opened is None or not self._is_open(opened):
            opened = self._open(opened)
        rule = RewardRule.read(self._policy("reward-rule", opened.reward_rule))
        with self._ledger.store.reading() as snapshot:
            before = max((one.seq for one in opened_epochs(snapshot) if one.seq < opened.seq), default=0)
            weights = weights_at(snapshot, before, opened.seq, rule)
        units, by_party = weights.total, weights.weights()
        paid = rule.paid(opened.pool, units) if any(by_party.values()) else 0
        shares = share_out(paid, weights.work, by_party)
        self._pay(opened, shares, held=rule.holds_back)
        self._end(opened, len(shares), units, paid)
        root = self._publish(opened)
        seal = self._seal()
        get().info("epoch.closed", epoch=opened.number, count=len(shares))
        return EpochClosed(opened.number, len(shares), units, paid, opened.pool - paid, root, seal)

    def _last(self) -> Opened | None:
        """The newest epoch whose close has begun; what was known before is not read again."""
        with self._ledger.store.reading() as snapshot:
            after_seq = 0 if self._known is None else self._known.seq
            self._known = max(opened_epochs(snapshot, after_seq), default=self._known)
        return self._known

    def _is_open(self, opened: Opened | None) -> bool:
        """Whether a close has begun and not come to its last entry."""
        if opened is None:
            return False
        with self._ledger.store.reading() as snapshot:
            found = snapshot.find([end_id(opened.number), claims_id(opened.number)])
        return len(found) < 2 and not _is_old(found.get(end_id(opened.number)))

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

    def _pay(self, opened: Opened, shares: Sequence[Share], *, held: bool) -> None:
        parts = self._parts(opened, shares, held=held)
        while some := list(islice(parts, _PARTS_AT_ONCE)):
            for answer in self._ledger.post_all(some, bulk=True):
                if isinstance(answer, BitHiveError):
                    raise answer

    def _parts(self, opened: Opened, shares: Sequence[Share], *, held: bool) -> Iterator[Entry]:
        network = self._parties.of(NETWORK)
        asset = self._asset(opened)
        pool = Account(network, "pool", asset)
        retired = {code: Account(network, "work-retired", code) for code in (RU.code, WU.code)}
        # Parts of a rule without holdback are as large as they always were, so that a close begun then is taken up.
        size = PART_TRANSFERS_MAX if held else ENTRY_TRANSFERS_MAX
        nodes = size // (3 if any(share.units and share.old_units for share in shares) else 2)
        for part, start in enumerate(range(0, len(shares), nodes)):
            transfers: list[Transfer] = []
            for share in shares[start : start + nodes]:
                earned = Account(share.party, "earned", asset)
                if share.amount:
                    transfers.append(
                        hold(pool, earned, share.amount, None) if held else move(pool, earned, share.amount)
                    )
                for code, units in ((RU.code, share.units), (WU.code, share.old_units)):
                    if units:
                        transfers.append(move(Account(share.party, "work", code), retired[code], units))
            yield Entry(part_id(opened.number, part), "epoch.paid", tuple(transfers), {"epoch": opened.number})

    def _end(self, opened: Opened, nodes: int, units: int, paid: int) -> None:
        network = self._parties.of(NETWORK)
        asset, residue = self._asset(opened), opened.pool - paid
        facts: dict[str, str | int | bool | None] = {
            "epoch": opened.number,
            "nodes": nodes,
            "units": str(units),
            "paid": paid,
            "residue": residue,
        }
        legs = (move(Account(network, "pool", asset), Account(network, "reserve", asset), residue),) if residue else ()
        entry = Entry(end_id(opened.number), "epoch.closed", legs, facts, effective_ms=opened.to_ms)
        try:
            self._ledger.post(entry)
        except PeriodClosed:
            late = replace(entry, facts={**facts, "value_date_was": opened.to_ms}, effective_ms=None)
            with suppress(EntryDiffers):
                self._ledger.post(late)
        except EntryDiffers:
            get().warning("epoch.ended_elsewhere", epoch=opened.number)

    def _publish(self, opened: Opened) -> str:
        """Record what each node may claim as of the closing entry; the tree's root."""
        end, asset = self._ledger.get(end_id(opened.number)), self._asset(opened)
        with self._ledger.store.reading() as snapshot:
            tree = claims_at(snapshot, end.seq, asset)
        facts: dict[str, str | int | bool | None] = {
            "epoch": opened.number,
            "at_seq": end.seq,
            "asset": asset,
            "root": tree.root,
            "count": len(tree.claims),
            "total": str(tree.total),
        }
        self._ledger.post(Entry(claims_id(opened.number), "claims.published", facts=facts))
        return tree.root

    def _asset(self, opened: Opened) -> str:
        return Emission.read(self._policy("emission", opened.emission)).asset

    def _policy(self, kind: str, version: int) -> Policy:
        return next(item for item in self._policies if (item.kind, item.version) == (kind, version))


def claims_at(snapshot: Snapshot, seq: int, asset: str) -> ClaimTree:
    """What each node may claim as of entry `seq`."""
    credited = credited_at(snapshot, seq, "earned", asset)
    return ClaimTree([Claim(party, asset, amount) for party, amount in credited.items()])


def claims_of(store: Store, number: int) -> ClaimTree:
    """The tree that an epoch published, made again from the ledger. Raises `EpochUnknown`."""
    with store.reading() as snapshot:
        row = snapshot.find([claims_id(number)]).get(claims_id(number))
        if row is None:
            raise EpochUnknown
        facts = facts_of(row)
        tree = claims_at(snapshot, facts["at_seq"], facts["asset"])
    assert tree.root == facts["root"], "the ledger does not give the claims that it published"
    return tree


def read_opened(row: EntryRow) -> Opened:
    """The facts of an `epoch.opened` entry."""
    facts = facts_of(row)
    names = ("from_ms", "to_ms", "pool", "emission", "reward_rule")
    return Opened(facts["epoch"], row.seq, *(facts[name] for name in names))


def opened_epochs(snapshot: Snapshot, after_seq: int = 0) -> Iterator[Opened]:
    """Every epoch whose close has begun, in order; those opened after an entry."""
    return map(read_opened, entries(snapshot, "epoch.opened", after_seq))


def _is_old(end: EntryRow | None) -> bool:
    """Whether an epoch was closed before claims were published: its end says work units."""
    return end is not None and "work_units" in facts_of(end)
