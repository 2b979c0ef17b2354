"""The kernel against a model of a few lines, on two stores at once: all three must always say the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.errors import BitHiveError
from bithive.keys import SigningKey
from economy.check import check
from economy.entry import Entry, PendingRef, Phase, Transfer, hold, move, release, settle
from economy.seal import make_seal, state_root
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from tests.common.economy import House

MEMBERS = 3


class Model:
    """What a ledger is: four totals an account, and holds that end once."""

    def __init__(self):
        self.totals, self.holds, self.entries, self.now_us = {}, {}, {}, 0

    def total(self, name):
        return self.totals.setdefault(name, [0, 0, 0, 0])

    def expire(self, now_us):
        self.now_us = max(now_us, self.now_us + 1)
        due = [(h["expires"], h["made"], ref) for ref, h in self.holds.items() if h["expires"] and not h["done"]]
        for expires, _, ref in sorted(due):
            if expires <= self.now_us:
                self.resolve(ref, None)
                self.entries[f"expiry of {ref}"] = ref
                self.now_us += 1
        return self.now_us

    def resolve(self, ref, amount):
        found = self.holds[ref]
        found["done"] = True
        debit, credit = self.total(found["debit"]), self.total(found["credit"])
        debit[0] -= found["amount"]
        credit[2] -= found["amount"]
        if amount is not None:
            debit[1] += amount
            credit[3] += amount

    def post(self, entry, now_us):
        time_us = self.expire(now_us)
        if entry.entry_id in self.entries:
            self.now_us -= 1
            return "replay" if self.entries[entry.entry_id] == entry else "entry-differs"
        saved = ({name: list(t) for name, t in self.totals.items()}, {r: dict(h) for r, h in self.holds.items()})
        for leg, transfer in enumerate(entry.transfers):
            if refusal := self.leg(entry, leg, transfer, time_us):
                self.totals, self.holds = saved
                self.now_us -= 1
                return refusal
        self.entries[entry.entry_id] = entry
        return "recorded"

    def leg(self, entry, leg, transfer: Transfer, time_us):
        if transfer.phase in (Phase.POST, Phase.VOID):
            found = self.holds.get(transfer.pending)
            if found is None or transfer.pending.entry_id == entry.entry_id:
                return "pending-unknown"
            if found["done"]:
                return "pending-resolved"
            amount = found["amount"] if transfer.amount is None else transfer.amount
            if amount > found["amount"]:
                return "exceeds-pending"
            self.resolve(transfer.pending, amount if transfer.phase is Phase.POST else None)
            return None
        pending = transfer.phase is Phase.PENDING
        debit, credit = self.total(transfer.debit), self.total(transfer.credit)
        debit[0 if pending else 1] += transfer.amount
        credit[2 if pending else 3] += transfer.amount
        if pending:
            expires = time_us + transfer.timeout_s * 1_000_000 if transfer.timeout_s else None
            self.holds[PendingRef(entry.entry_id, leg)] = {
                "debit": transfer.debit,
                "credit": transfer.credit,
                "amount": transfer.amount,
                "expires": expires,
                "made": (time_us, leg),
                "done": False,
            }
        limited = transfer.debit.code == "credit"
        return "insufficient-funds" if limited and debit[0] + debit[1] > debit[3] else None


class Kernel(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        stores = (MemoryStore(), SqlStore(Database(f"sqlite:///{self.folder}/ledger.db")))
        self.houses = [House(store, self.clock, MEMBERS) for store in stores]
        self.house, self.model, self.count = self.houses[0], Model(), 0
        self.model.now_us = self.house.ledger.get("setup/all").recorded_us
        self.agree(
            [Entry(f"fund/{n}", "test.done", (move(self.house.source(), self.house.wallet(n), 300),)) for n in range(2)]
        )

    accounts = st.sampled_from(["source", *((code, n) for n in range(MEMBERS) for code in ("wallet", "claim"))])
    amounts = st.integers(1, 100)

    def named(self, account):
        if account == "source":
            return self.house.source()
        code, member = account
        return self.house.wallet(member) if code == "wallet" else self.house.claim(member)

    def leg(self, what):
        verb, *rest = what
        if verb in ("move", "hold"):
            debit, credit, amount, *timeout = rest
            if debit == credit:
                return None
            pair = (self.named(debit), self.named(credit), amount)
            return move(*pair) if verb == "move" else hold(*pair, *timeout)
        place, *amount = rest
        holds = sorted(self.model.holds)
        ref = holds[place % len(holds)] if holds else PendingRef("none", 0)
        return settle(ref, *amount) if verb == "settle" else release(ref)

    legs = st.lists(
        st.one_of(
            st.tuples(st.just("move"), accounts, accounts, amounts),
            st.tuples(st.just("hold"), accounts, accounts, amounts, st.none() | st.integers(1, 30)),
            st.tuples(st.just("settle"), st.integers(0, 50), st.none() | amounts),
            st.tuples(st.just("release"), st.integers(0, 50)),
        ),
        max_size=4,
    )

    @rule(batch=st.lists(legs, min_size=1, max_size=5), again=st.integers(0, 9))
    def post(self, batch, again):
        entries = []
        for legs in batch:
            self.count += 1
            name = f"e/{self.count if again else max(self.count - 2, 1)}"
            entries.append(Entry(name, "test.done", tuple(leg for leg in map(self.leg, legs) if leg)))
        self.agree(entries)

    @rule(debit=st.integers(0, 1), amount=amounts, timeout_s=st.none() | st.integers(1, 30))
    def hold_one(self, debit, amount, timeout_s):
        self.count += 1
        pair = (self.house.wallet(debit), self.house.wallet(2))
        self.agree([Entry(f"e/{self.count}", "test.held", (hold(*pair, amount, timeout_s),))])

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), spoiled=st.booleans())
    def resolve_some(self, data, spoiled):
        """Post or void one or two holds, exactly, partly or beyond; sometimes with a last leg that undoes it all."""
        self.count += 1
        legs = []
        for ref in data.draw(st.lists(st.sampled_from(sorted(self.model.holds)), min_size=1, max_size=2)):
            whole = self.model.holds[ref]["amount"]
            amount = data.draw(st.sampled_from([None, 1, max(whole - 1, 1), whole, whole + 1, "void"]))
            legs.append(release(ref) if amount == "void" else settle(ref, amount))
        if spoiled:
            legs.append(move(self.house.wallet(0), self.house.wallet(1), 10_000))
        entries = [Entry(f"e/{self.count}", "test.resolved", tuple(legs))]
        if spoiled:
            entries.append(Entry(f"e/{self.count}", "test.resolved", tuple(legs[:-1])))
        self.agree(entries)

    @rule()
    def replay(self):
        known = [entry for entry in self.model.entries.values() if isinstance(entry, Entry)]
        self.agree(known[-2:])

    def agree(self, entries):
        answers = [house.ledger.post_all(entries) for house in self.houses]
        said = [[_word(answer) for answer in some] for some in answers]
        assert said[0] == said[1]
        now_us = self.clock.now_ms() * 1000
        assert said[0] == [self.model.post(entry, now_us) for entry in entries]

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds):
        self.clock.advance_s(seconds)

    @rule()
    def expire(self):
        counts = {house.ledger.expire() for house in self.houses}
        assert len(counts) == 1
        before = len(self.model.entries)
        now_us = self.model.now_us
        self.model.expire(self.clock.now_ms() * 1000)
        assert counts == {len(self.model.entries) - before}
        if counts == {0}:
            self.model.now_us = now_us
        else:
            self.model.now_us -= 1

    @rule()
    def seal(self):
        seals = {make_seal(house.store, SigningKey(b"k" * 32), self.clock) for house in self.houses}
        assert len(seals) == 1

    @invariant()
    def all_agree(self):
        if not hasattr(self, "houses"):
            return
        roots = {state_root(house.ledger.balances()) for house in self.houses}
        assert len(roots) == 1
        found = {
            item.account: [item.debit_pending, item.debit_posted, item.credit_pending, item.credit_posted]
            for item in self.house.ledger.balances()
        }
        assert found == {name: totals for name, totals in self.model.totals.items() if name in found}
        assert all(not any(totals) for name, totals in self.model.totals.items() if name not in found)

    def teardown(self):
        for house in getattr(self, "houses", ()):
            assert check(house.store).findings == []
            house.ledger.close()
        shutil.rmtree(getattr(self, "folder", "/nonexistent"), ignore_errors=True)


def _word(answer):
    if isinstance(answer, BitHiveError):
        return answer.code
    return "replay" if answer.replayed else "recorded"


def _settings(examples, steps):
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=health)


TestKernel = Kernel.TestCase
TestKernel.settings = _settings(25, 20)


@pytest.mark.soak
@pytest.mark.timeout(7200)
class TestKernelAtLength(Kernel.TestCase):
    settings = _settings(2000, 50)
