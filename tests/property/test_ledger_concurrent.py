"""Many callers, one hot account: every history must be that of callers who came one after the other (linearizable).

The ledger's own order (`seq`) is the order that must explain everything: it may not contradict real time, replaying it
must give each answer, and a refusal or a read must be true at some moment between its question and its answer.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from bithive.database_sql import Database
from economy.check import check
from economy.entry import Account, Entry, PendingRef, hold, move, release, settle
from economy.errors import EntryDiffers, EntryRunning, InsufficientFunds
from economy.ledger import Ledger, Recorded
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from tests.common.counts import seeds
from tests.common.economy import House
from tests.common.servers import new_database

CALLERS = 6
ROOT = Path(__file__).resolve().parents[2]


class Call(NamedTuple):
    """One question and its answer.

    Attributes
    ----------
    began, ended
        Seconds of one monotonic clock.
    change
        What it takes from (below 0) or gives to what is available.
    seq
        Its place, if it was recorded.
    seen
        What a read found.
    """

    began: float
    ended: float
    change: int = 0
    seq: int | None = None
    seen: int | None = None
    refused: bool = False


def explain(calls: list[Call], first: int) -> list[str]:
    """What no order of one-at-a-time callers explains.

    Parameters
    ----------
    first
        What was available before.
    """
    recorded = sorted((call for call in calls if call.seq is not None), key=lambda call: call.seq or 0)
    faults = [f"{a.seq} answered twice" for a, b in pairwise(recorded) if a.seq == b.seq]
    ended = math.inf
    for later, call in reversed(list(zip(recorded[1:], recorded, strict=False))):
        ended = min(ended, later.ended)
        if ended < call.began:
            faults.append(f"entry {call.seq} began after a later one had been answered")
    states, available = [first], first
    for call in recorded:
        available += call.change
        states.append(available)
        if available < 0:
            faults.append(f"entry {call.seq} spends what is not there")
    for call in calls:
        if call.seq is None:
            low = sum(item.ended < call.began for item in recorded)
            high = len(recorded) - sum(item.began > call.ended for item in recorded)
            moments = states[low : high + 1]
            if call.refused and all(state + call.change >= 0 for state in moments):
                faults.append(f"{call} was refused though it was there all the time")
            if call.seen is not None and call.seen not in moments:
                faults.append(f"{call} was read and never true: {moments}")
    return faults


class Crowd:
    """Callers on one account, and what they were told."""

    def __init__(self, house: House, ledgers: list[Ledger], seed: int) -> None:
        self._house, self._ledgers, self._seed = house, ledgers, seed
        self.calls: list[Call] = []

    def run(self, count: int) -> None:
        gate = threading.Barrier(CALLERS)
        threads = [threading.Thread(target=self._call, args=(number, count, gate)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _call(self, number: int, count: int, gate: threading.Barrier) -> None:
        rolls = random.Random(f"{self._seed} {number}")
        ledger = self._ledgers[number % len(self._ledgers)]
        held: list[tuple[PendingRef, int]] = []
        gate.wait()
        for place in range(count):
            if rolls.random() < 0.2:
                self._read(ledger)
            else:
                self._post(ledger, f"c/{self._seed}/{number}/{place}", rolls, held)

    def _read(self, ledger: Ledger) -> None:
        began = time.monotonic()
        balance = ledger.balance(self._house.wallet(0))
        seen = balance.available if balance else 0
        self.calls.append(Call(began, time.monotonic(), seen=seen))

    def _post(self, ledger: Ledger, name: str, rolls: random.Random, held: list[tuple[PendingRef, int]]) -> None:
        house, amount, chance = self._house, rolls.randint(1, 60), rolls.random()
        hot, other = house.wallet(0), house.wallet(1 + rolls.randrange(2))
        if chance < 0.35:
            leg, change = move(house.source(), hot, amount), amount
        elif chance < 0.7 or not held:
            leg, change = move(hot, other, amount), -amount
            if chance < 0.45:
                leg = hold(hot, other, amount, None)
        else:
            ref, whole = held.pop()
            part = rolls.randint(1, whole)
            leg, change = (settle(ref, part), whole - part) if chance < 0.85 else (release(ref), whole)
        entry = Entry(name, "test.done", (leg,))
        began = time.monotonic()
        answer = ledger.post_all([entry], bulk=rolls.random() < 0.2)[0]
        ended = time.monotonic()
        assert isinstance(answer, Recorded | InsufficientFunds), answer
        seq = answer.seq if isinstance(answer, Recorded) else None
        self.calls.append(Call(began, ended, change, seq, refused=seq is None))
        if seq is not None and leg.phase == 1:
            held.append((PendingRef(name, 0), amount))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def stores(request, tmp_path):
    """Opens the same ledger as often as it is called; in memory there is only one."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    url = f"sqlite:///{tmp_path}/ledger.db"
    if request.param == "postgres":
        url = new_database(request.getfixturevalue("postgres_url"), f"crowd{os.getpid()}")
    return lambda: SqlStore(Database(url))


def _histories(stores, first, count, length, terminal=None):
    house = House(stores())
    house.fund(0, 100)
    ledgers = [house.ledger]
    if not isinstance(house.store, MemoryStore):
        ledgers.append(Ledger(stores(), house.clock))
    for seed in seeds("histories", first, count, terminal):
        available = house.available(house.wallet(0))
        crowd = Crowd(house, ledgers, seed)
        crowd.run(length)
        assert explain(crowd.calls, available) == [], f"seed {seed}"
        assert sum(call.refused for call in crowd.calls) > 0 or length < 10, "the account was empty at times"
    assert check(house.store).findings == []
    for ledger in reversed(ledgers):
        ledger.close()


def test_one_hot_account_has_one_history(stores):
    _histories(stores, 0, 2, 40)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_one_hot_account_has_one_history_at_length(stores, capsys):
    _histories(stores, 0, 100, 200, capsys)


def test_what_no_order_explains_is_seen():
    base = [Call(0, 1, 50, 2), Call(2, 3, -20, 3)]
    assert explain(base, 0) == []
    assert explain([*base, Call(0.5, 2.5, -40, refused=True)], 0) == []
    for wrong in (
        [Call(0, 1, 50, 3), Call(2, 3, -20, 2)],
        [*base, Call(4, 5, -31, 4)],
        [*base, Call(4, 5, -30, refused=True)],
        [*base, Call(4, 5, seen=50)],
        [*base, Call(1.2, 1.4, seen=0)],
        [*base, Call(2, 3, -20, 3)],
    ):
        assert explain(wrong, 0) != [], wrong


def test_the_empty_row_race(stores):
    """Nobody spends from, or overdraws, an account that does not exist yet; whoever funds it first opens it once."""
    house = House(stores())
    others = [house.ledger] if isinstance(house.store, MemoryStore) else [house.ledger, Ledger(stores(), house.clock)]
    for turn in range(8):
        fresh = Account(house.members[turn % 3], ("credit", "payable", "reserve")[turn // 3], "COIN")
        told: list[object] = []
        gate = threading.Barrier(4)

        def race(number: int, account: Account = fresh, gate=gate, told=told, turn=turn) -> None:
            gate.wait()
            legs = (move(account, house.claim(0), 5),) if number else (move(house.source(), account, 7),)
            told.extend(others[number % len(others)].post_all([Entry(f"race/{turn}/{number}", "test.raced", legs)]))

        threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = sum(isinstance(answer, Recorded) for answer in told) - 1
        assert spent <= 1, "7 pay for 5 once"
        assert house.net(fresh) == 7 - 5 * spent
    assert check(house.store).findings == []
    for ledger in reversed(others):
        ledger.close()


def test_one_id_from_many_callers_is_recorded_once(stores):
    """Whoever is not first hears that it is running, or gets the first one's answer; another body is refused."""
    house = House(stores())
    ledgers = [house.ledger] if isinstance(house.store, MemoryStore) else [house.ledger, Ledger(stores(), house.clock)]
    for turn in range(10):
        told: dict[int, list[object]] = {1: [], 2: []}
        gate = threading.Barrier(CALLERS)

        def race(number: int, gate=gate, told=told, turn=turn) -> None:
            amount = 1 + number % 2
            entry = Entry(f"same/{turn}", "test.same", (move(house.source(), house.wallet(1), amount),))
            gate.wait()
            told[amount] += ledgers[number % len(ledgers)].post_all([entry])

        threads = [threading.Thread(target=race, args=(number,)) for number in range(CALLERS)]
        before = house.net(house.wallet(1))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = house.net(house.wallet(1)) - before
        recorded = [answer for answer in told[won] if isinstance(answer, Recorded)]
        assert sum(not answer.replayed for answer in recorded) == 1
        assert len({answer.seq for answer in recorded}) == 1
        rest = [answer for some in told.values() for answer in some if not isinstance(answer, Recorded)]
        assert all(isinstance(answer, EntryRunning | EntryDiffers) for answer in rest), rest
        assert not any(isinstance(answer, Recorded) for answer in told[3 - won])
    for ledger in reversed(ledgers):
        ledger.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_processes_on_one_database(kind, request, tmp_path):
    """Each records all of its own entries; together they make one log without a gap."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    if kind == "postgres":
        url = new_database(request.getfixturevalue("postgres_url"), f"two{os.getpid()}")
    house = House(SqlStore(Database(url)))
    parties = [house.issuer, *house.members[:2]]
    house.ledger.close()
    command = [sys.executable, "-m", "tests.common.ledger_writer"]
    both = []
    for seed in (1, 2):
        asked = {"url": url, "seed": seed, "parties": parties, "answers": str(tmp_path / f"a{seed}"), "count": 60}
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.close()
        both.append(process)
    for process in both:
        assert process.wait(60) == 0
        assert process.stdout is not None
        process.stdout.close()
    said = [line.split() for seed in (1, 2) for line in (tmp_path / f"a{seed}").read_text().splitlines()]
    assert not [line for line in said if line[0] == "wrong"]
    store = SqlStore(Database(url))
    with store.reading() as snapshot:
        assert {row.entry_id: str(row.seq) for row in snapshot.log(1)} == dict(said)
    assert len(said) > 100
    assert check(store).findings == []
    store.close()
