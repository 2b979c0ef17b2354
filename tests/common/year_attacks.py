"""What a year's ledger is asked for and must refuse, each with its own error and without a trace."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from bithive.canonical import canonical
from bithive.errors import BitHiveError
from bithive.keys import SigningKey
from economy.control import approve
from economy.entry import Account, Entry, Key, PendingRef, PeriodClose, Policy, hold, move, release, settle
from economy.errors import (
    DeclarationDiffers,
    EntryDiffers,
    ExceedsPending,
    InsufficientFunds,
    NotApproved,
    OfficersTooFew,
    PendingResolved,
    PendingUnknown,
    PeriodClosed,
    UnknownAccountCode,
    UnknownOwner,
)
from economy.money import BTT, EUR
from economy.parties import NETWORK

if TYPE_CHECKING:
    from tests.common.year import World

Attack = Callable[["World", random.Random], tuple[Entry, type[BitHiveError]] | None]
"""An entry and how it has to be refused; nothing where the occasion is not there."""


def _some(world: World, chance: random.Random, kind: str) -> str | None:
    """Id of some entry of a kind."""
    with world.within.reading() as snapshot:
        rows = snapshot.log(chance.randrange(max(snapshot.head().seq - 200, 0) + 1), 200, kind)
    return chance.choice(rows).entry_id if rows else None


def _accounts(world: World) -> tuple[Account, Account]:
    network = world.economy.parties.of(NETWORK)
    return Account(network, "reserve", BTT.code), Account(network, "pool", BTT.code)


def other_content(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]] | None:
    name = _some(world, chance, "charge.settled")
    return None if name is None else (Entry(name, "charge.settled", facts={"amount": 1}), EntryDiffers)


def overdraft(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    reserve, pool = _accounts(world)
    return Entry("attack/overdraft", "test.done", (move(reserve, pool, 10**15),)), InsufficientFunds


def overdraft_after_a_good_leg(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    reserve, pool = _accounts(world)
    issue = Account(reserve.owner, "issuance", BTT.code)
    legs = (move(issue, reserve, 5), hold(reserve, pool, 5, 60), move(reserve, pool, 10**15))
    return Entry("attack/late-overdraft", "test.done", legs), InsufficientFunds


def unknown_code(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    reserve, _ = _accounts(world)
    return Entry("attack/code", "test.done", (move(reserve._replace(code="mint"), reserve, 5),)), UnknownAccountCode


def unknown_owner(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    issue = _accounts(world)[0]._replace(code="issuance")
    nobody = Account("pty_" + "0" * 26, "earned", BTT.code)
    return Entry("attack/owner", "test.done", (move(issue, nobody, 5),)), UnknownOwner


def unknown_pending(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    return Entry("attack/unknown", "test.done", (settle(PendingRef("offer/none/hold", 0)),)), PendingUnknown


def second_settlement(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]] | None:
    """Of a hold whose charge is settled: resolved or, where it was unsecured, never there."""
    name = _some(world, chance, "charge.settled")
    if name is None or world.economy.ledger.find(held := name.replace("/charge", "/hold")) is None:
        return None
    pending = world.economy.ledger.get(held).content.find('"timeout_s"') > 0
    return Entry("attack/twice", "test.done", (release(PendingRef(held, 0)),)), (
        PendingResolved if pending else PendingUnknown
    )


def more_than_held(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]] | None:
    refs = [
        ref for ref, held in world.auditor.held.items() if held.expires_us is None or held.expires_us > _soon(world)
    ]
    if not refs:
        return None
    ref = PendingRef(*chance.choice(refs))
    return Entry("attack/more", "test.done", (settle(ref, world.auditor.held[ref].amount + 1),)), ExceedsPending


def _soon(world: World) -> int:
    return (world.clock.now_ms() + 86_400_000) * 1000


def other_policy(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    edited = Policy("emission", 1, 0, canonical({"asset": "BTT", "steps": [{"from_ms": 0, "per_day": 1}]}).decode())
    return _approved(world, Entry("attack/policy", "policy.declared", declares=(edited,))), DeclarationDiffers


def asset_again(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    return Entry("attack/asset", "asset.declared", declares=(replace(EUR, scale=2),)), DeclarationDiffers


def _approved(world: World, entry: Entry) -> Entry:
    people = world.calendar
    return approve(approve(entry, people.officers[people.office[0]]), people.officers[people.office[-1]])


def _printed_money(world: World) -> Entry:
    content = canonical({"asset": "BTT", "steps": [{"from_ms": 0, "per_day": 10**15}]}).decode()
    return Entry("attack/emission", "policy.declared", declares=(Policy("emission", 999, 0, content),))


def one_approval(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    return approve(_printed_money(world), world.calendar.officers[world.calendar.office[0]]), NotApproved


def no_officer(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    people = world.calendar
    stranger = SigningKey(chance.randbytes(32))
    return approve(approve(_printed_money(world), people.officers[people.office[0]]), stranger), NotApproved


def officer_who_left(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    people = world.calendar
    gone = people.officers[next(number for number in range(len(people.officers)) if number not in people.office)]
    return approve(approve(_printed_money(world), people.officers[people.office[0]]), gone), NotApproved


def approvals_of_another_entry(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    good = _approved(world, Entry("attack/good", "period.closed", declares=(PeriodClose(1),)))
    return replace(_printed_money(world), facts=dict(good.facts)), NotApproved


def seal_key_alone(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    key = Key(SigningKey(chance.randbytes(32)).public_hex, "seal", world.economy.parties.of(NETWORK))
    return Entry("attack/key", "key.declared", declares=(key,)), NotApproved


def officers_abolished(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]]:
    people = world.calendar
    rows = [(people.officers[place].public_hex, people.parties[place]) for place in people.office[:-1]]
    keys = [Key(name, "officer", party, revoked=True) for name, party in rows]
    return _approved(world, Entry("attack/officers", "officer.revoked", declares=tuple(keys))), OfficersTooFew


def into_a_closed_period(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]] | None:
    closed_ms = world.rules.declared.closed_until_ms
    reserve, pool = _accounts(world)
    legs = (move(reserve._replace(code="issuance"), pool, 5),)
    return (Entry("attack/period", "test.done", legs, effective_ms=closed_ms - 1), PeriodClosed) if closed_ms else None


def period_opened(world: World, chance: random.Random) -> tuple[Entry, type[BitHiveError]] | None:
    closed_ms = world.rules.declared.closed_until_ms
    if not closed_ms:
        return None
    return _approved(
        world, Entry("attack/open", "period.closed", declares=(PeriodClose(closed_ms),))
    ), DeclarationDiffers


ANYBODY: tuple[Attack, ...] = (
    other_content,
    overdraft,
    overdraft_after_a_good_leg,
    unknown_code,
    unknown_owner,
    unknown_pending,
    second_settlement,
    more_than_held,
    asset_again,
    into_a_closed_period,
)
UNDER_CONTROL: tuple[Attack, ...] = (
    other_policy,
    one_approval,
    no_officer,
    officer_who_left,
    approvals_of_another_entry,
    seal_key_alone,
    officers_abolished,
    period_opened,
)


def attack(world: World, chance: random.Random, number: int) -> None:
    """One attempt of each kind in turn; it must be refused, by the very error that is meant for it."""
    table = ANYBODY + (UNDER_CONTROL if len(world.calendar.office) >= 2 else ())
    turn = table[number % len(table)]
    made = turn(world, chance)
    if made is None:
        return
    entry, expected = made
    try:
        world.economy.ledger.post(entry)
    except expected:
        world.truth.attacks[turn.__name__] += 1
    else:
        raise AssertionError(f"{turn.__name__} was recorded")
