"""The kernel against a model, on three stores at once (memory, SQLite, PostgreSQL): all four must always say the same."""

from __future__ import annotations

import os
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
from economy.control import approve
from economy.corrections import correct, legs_of
from economy.entry import (
    Asset,
    Entry,
    Key,
    Party,
    PendingRef,
    PeriodClose,
    Phase,
    Policy,
    hold,
    move,
    release,
    settle,
)
from economy.seal import make_seal, state_root
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from tests.common.economy import COIN, OTHER, House
from tests.common.ledger_databases import Migrated, emptied
from tests.common.ledger_model import Model
from tests.common.ledger_replayed import replayed
from tests.common.servers import new_database

MEMBERS = 3
SEAL_KEY = SigningKey(b"k" * 32)
OFFICERS = [SigningKey(bytes([number]) * 32) for number in range(1, 5)]
HOLDERS = (0, 1, 2, 0)
STRANGER = "pty_" + "0" * 26
_databases: dict[str, Database] = {}


@pytest.fixture(scope="module", autouse=True)
def databases(postgres_url, tmp_path_factory):
    """One migrated database of each kind for all examples."""
    url = new_database(postgres_url, f"property{os.getpid()}")
    image = tmp_path_factory.mktemp("image") / "ledger.db"
    SqlStore(Database(url)).close()
    SqlStore(Database(f"sqlite:///{image}")).close()
    _databases.update(postgres=Migrated(url), sqlite=Migrated(f"sqlite:///{image}"))
    yield
    _databases.pop("postgres").close()


class Lasting(SqlStore):
    """A store whose database outlives it."""

    def close(self) -> None:
        self._closed = True


class Kernel(RuleBasedStateMachine):
    accounts = st.sampled_from(["source", *((code, n) for n in range(MEMBERS) for code in ("wallet", "claim"))])
    amounts = st.integers(1, 100)

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        shutil.copy(_databases["sqlite"].url.removeprefix("sqlite:///"), self.folder / "ledger.db")
        sqlite = SqlStore(Migrated(f"sqlite:///{self.folder}/ledger.db"))
        stores = (MemoryStore(), sqlite, Lasting(emptied(_databases["postgres"])))
        self.houses = [House(store, self.clock, MEMBERS) for store in stores]
        self.house, self.count, self.seals = self.houses[0], 0, []
        parties = {self.house.issuer: "network", **dict.fromkeys(self.house.members, "node")}
        self.model = Model(parties, [COIN, OTHER], self.house.ledger.get("setup/all").recorded_us)
        self.model.entries["setup/all"] = None
        self.agree(
            [Entry(f"fund/{n}", "test.done", (move(self.house.source(), self.house.wallet(n), 300),)) for n in range(2)]
        )

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
    past_s = st.none() | st.sampled_from([0, 1, 5, 60])

    def name(self, again=1):
        self.count += 1
        return f"e/{self.count if again else max(self.count - 2, 1)}"

    @rule(batch=st.lists(st.tuples(legs, past_s), min_size=1, max_size=5), again=st.integers(0, 9), bulk=st.booleans())
    def post(self, batch, again, bulk):
        entries = []
        for legs, past_s in batch:
            transfers = tuple(leg for leg in map(self.leg, legs) if leg)
            effective_ms = None if past_s is None else self.clock.now_ms() - past_s * 1000
            entries.append(Entry(self.name(again), "test.done", transfers, effective_ms=effective_ms))
        self.agree(entries, bulk=bulk)

    @rule(debit=st.integers(0, 1), amount=amounts, timeout_s=st.none() | st.integers(1, 30), ahead=st.integers(0, 3))
    def hold_one(self, debit, amount, timeout_s, ahead):
        """Also as the last of a batch, so that its time is some microseconds after the batch's."""
        pair = (self.house.wallet(debit), self.house.wallet(2))
        entries = [Entry(self.name(), "test.before") for _ in range(ahead)]
        self.agree([*entries, Entry(self.name(), "test.held", (hold(*pair, amount, timeout_s),))])

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), spoiled=st.booleans(), ahead=st.integers(0, 3), bulk=st.booleans())
    def resolve_some(self, data, spoiled, ahead, bulk):
        """Post or void one or two holds, exactly, partly or beyond; sometimes with a last leg that undoes it all."""
        legs = []
        for ref in data.draw(st.lists(st.sampled_from(sorted(self.model.holds)), min_size=1, max_size=2)):
            whole = self.model.holds[ref]["amount"]
            amount = data.draw(st.sampled_from([None, 1, max(whole - 1, 1), whole, whole + 1, "void"]))
            legs.append(release(ref) if amount == "void" else settle(ref, amount))
        if spoiled:
            legs.append(move(self.house.wallet(0), self.house.wallet(1), 10_000))
        entries = [Entry(self.name(), "test.before") for _ in range(ahead)]
        name = self.name()
        entries.append(Entry(name, "test.resolved", tuple(legs)))
        if spoiled:
            entries.append(Entry(name, "test.resolved", tuple(legs[:-1])))
        self.agree(entries, bulk=bulk)

    declared = st.one_of(
        st.builds(lambda n, revoked: ("key", "officer", n, revoked), st.integers(0, 3), st.booleans()),
        st.builds(lambda revoked: ("key", "seal", None, revoked), st.booleans()),
        st.builds(lambda n: ("key", "officer", n, "stranger"), st.integers(0, 3)),
        st.builds(lambda s: ("period", s), st.sampled_from([-1, 0, 1, 7])),
        st.builds(lambda v, n: ("policy", v, n), st.integers(1, 3), st.integers(0, 1)),
        st.builds(lambda n: ("party", n), st.integers(0, 1)),
        st.builds(lambda scale: ("asset", scale), st.integers(0, 1)),
    )

    def declaration(self, what):
        verb, *rest = what
        if verb == "key":
            purpose, number, revoked = rest
            key = SEAL_KEY if number is None else OFFICERS[number]
            holder = STRANGER if revoked == "stranger" else self.house.members[HOLDERS[number or 0]]
            return Key(key.public_hex, purpose, holder, revoked is True)
        if verb == "period":
            return PeriodClose(self.clock.now_ms() - rest[0] * 1000)
        if verb == "policy":
            return Policy("rule", rest[0], 0, f'{{"n":{rest[1]}}}')
        if verb == "party":
            return Party(self.house.members[0], ("node", "operator")[rest[0]])
        return Asset("THIRD", rest[0], "test")

    @rule(
        things=st.lists(declared, min_size=1, max_size=3),
        signers=st.lists(st.integers(0, 3), max_size=2, unique=True),
        legs=st.lists(st.tuples(st.just("move"), accounts, accounts, amounts), max_size=1),
        forged=st.sampled_from([False, False, False, True]),
    )
    def declare(self, things, signers, legs, forged):
        transfers = tuple(leg for leg in map(self.leg, legs) if leg)
        self.approved([self.declaration(thing) for thing in things], transfers, signers, forged=forged)

    @rule(one=st.sampled_from([0, 3]), other=st.sampled_from([1, 2]))
    def appoint(self, one, other):
        """Two officers of different parties: from then on they decide together."""
        self.approved([self.declaration(("key", "officer", number, False)) for number in (one, other)], (), (), False)

    @precondition(lambda self: len(set(self.model._officers(self.model.keys).values())) > 1)
    @rule(thing=declared, data=st.data())
    def decide_together(self, thing, data):
        able = [n for n, key in enumerate(OFFICERS) if key.public_hex in self.model._officers(self.model.keys)]
        signers = data.draw(st.permutations(able))[:2]
        self.approved([self.declaration(thing)], (), signers, forged=False)

    def approved(self, declares, transfers, signers, forged):
        entry = Entry(self.name(), "test.declared", transfers, declares=tuple(declares))
        for number in signers:
            entry = approve(entry, OFFICERS[number])
        if forged and signers:
            was = str(entry.facts["approval-1"])
            facts = {**entry.facts, "approval-1": was[:-1] + ("0" if was[-1] != "0" else "1")}
            entry = Entry(entry.entry_id, entry.kind, transfers, facts, tuple(declares))
        names = [OFFICERS[number].public_hex for number in signers]
        self.model.signers[entry.request_hash] = None if forged and signers else names
        self.agree([entry])

    @precondition(lambda self: any(isinstance(entry, Entry) for entry in self.model.entries.values()))
    @rule(place=st.integers(0, 200), number=st.integers(1, 2))
    def correct(self, place, number):
        """What a correction does is what the model says undoes the entry; posting it is decided as any entry."""
        known = [entry for entry in self.model.entries.values() if isinstance(entry, Entry)]
        was = known[place % len(known)]
        name = f"correction/{was.entry_id}/{number}"
        with self.house.store.reading() as snapshot:
            legs = legs_of(snapshot, snapshot.find([was.entry_id])[was.entry_id])
        undoing = self.model.undoing(was)
        found = [(item.credit, item.debit, item.amount) for item in legs if item.phase in (Phase.SINGLE, Phase.POST)]
        assert found == [item for item in undoing if len(item) == 3]
        assert [item.leg for item in legs if item.open] == [item[0].leg for item in undoing if len(item) == 1]
        if not undoing or len(name) > 100:
            return
        transfers = tuple(move(*item) if len(item) == 3 else release(*item) for item in undoing)
        facts = {"corrects": was.entry_id, "reason": "a test"}
        entry = Entry(name, "entry.corrected", transfers, facts)
        said = {
            _said(lambda house=house: correct(house.ledger, was.entry_id, "a test", number)) for house in self.houses
        }
        if name in self.model.entries:
            assert said == {"replay"}
        else:
            assert said == set(self.model.post_all([entry], self.clock.now_ms() * 1000))

    @rule()
    def replay(self):
        known = [entry for entry in self.model.entries.values() if isinstance(entry, Entry)]
        self.agree(known[-2:])

    def agree(self, entries, *, bulk=False):
        if not entries:
            return
        answers = [house.ledger.post_all(entries, bulk=bulk) for house in self.houses]
        said = [[_word(answer) for answer in some] for some in answers]
        places = [[getattr(answer, "seq", None) for answer in some] for some in answers]
        assert said[0] == said[1] == said[2]
        assert places[0] == places[1] == places[2]
        assert said[0] == self.model.post_all(entries, self.clock.now_ms() * 1000)

    @rule(seconds=st.one_of(st.floats(0, 20), st.integers(1, 30)))
    def wait(self, seconds):
        self.clock.advance_s(seconds)

    @rule()
    def expire(self):
        counts = {house.ledger.expire() for house in self.houses}
        assert counts == {self.model.expire(self.clock.now_ms() * 1000)}

    @rule()
    def seal(self):
        seals = set()
        said = set()
        for house in self.houses:
            try:
                seals.add(make_seal(house.store, SEAL_KEY, self.clock))
            except BitHiveError as error:
                said.add(error.code)
        said |= {"nothing" if seal is None else "sealed" for seal in seals}
        assert said == {self.model.seals_with(SEAL_KEY.public_hex)}
        assert len(seals) <= 1, "three stores, one log, one signature"

    @invariant()
    def all_agree(self):
        if not hasattr(self, "houses"):
            return
        found = [house.ledger.balances() for house in self.houses]
        assert len({state_root(some) for some in found}) == 1
        totals = {
            item.account: [item.debit_pending, item.debit_posted, item.credit_pending, item.credit_posted]
            for item in found[0]
        }
        assert totals == {name: some for name, some in self.model.totals.items() if name in totals}
        assert all(not any(some) for name, some in self.model.totals.items() if name not in totals)

    def teardown(self):
        try:
            if hasattr(self, "houses"):
                self.end()
        finally:
            for house in getattr(self, "houses", ()):
                house.ledger.close()
            shutil.rmtree(getattr(self, "folder", "/nonexistent"), ignore_errors=True)

    def end(self):
        """Three logs, word for word; what they declare; nothing for the checker; and the same from the words alone."""
        leaves, declared = [], []
        for house in self.houses:
            findings = check(house.store).findings
            assert findings == [], findings
            with house.store.reading() as snapshot:
                leaves.append([row.leaf_hash for row in snapshot.log(0, 100_000)])
                known = snapshot.declared()
            policies = sorted(known.policies, key=lambda item: (item.kind, item.version))
            declared.append(known._replace(policies=policies))
        assert leaves[0] == leaves[1] == leaves[2]
        assert declared[0] == declared[1] == declared[2]
        assert declared[0].closed_until_ms == self.model.closed_until_ms
        counting = {name for name, row in declared[0].keys.items() if row.revoked_seq is None}
        assert counting == {name for name, row in self.model.keys.items() if row["counts"]}
        assert len(leaves[0]) == len(self.model.entries)
        with self.houses[1].store.reading() as snapshot:
            assert replayed(snapshot) == (leaves[0], state_root(self.house.ledger.balances()))


def _said(call):
    try:
        return _word(call())
    except BitHiveError as error:
        return error.code


def _word(answer):
    if isinstance(answer, BitHiveError):
        return answer.code
    return "replay" if answer.replayed else "recorded"


def _settings(examples, steps):
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=health)


TestKernel = Kernel.TestCase
TestKernel.settings = _settings(25, 20)


@pytest.fixture
def kernel():
    """The same machine, led by hand to where chance seldom comes."""
    kernel = Kernel()
    kernel.begin()
    kernel.clock.advance_s(10)
    yield kernel
    kernel.all_agree()
    kernel.teardown()


def declares(kernel, *things, legs=()):
    return Entry(kernel.name(), "test.declared", legs, declares=things)


def test_what_a_refused_entry_declared_is_free_again(kernel):
    """In the very batch, where the planner's own book is all there is."""
    house, now_ms = kernel.house, kernel.clock.now_ms()
    key = Key(OFFICERS[0].public_hex, "officer", house.members[0])
    wallets = (house.wallet(0), house.wallet(1))
    spoil = (move(house.source(), wallets[0], 50), move(*wallets, 20), move(*wallets, 10_000))
    for first, then in (
        (Policy("rule", 1, 0, '{"n":0}'), Policy("rule", 1, 0, '{"n":1}')),
        (Asset("THIRD", 0, "test"), Asset("THIRD", 1, "test")),
        (PeriodClose(now_ms - 1_000), PeriodClose(now_ms - 1_000)),
        (key, key),
    ):
        kernel.agree([declares(kernel, first, legs=spoil), declares(kernel, then, legs=spoil[:1])])
    kernel.agree([declares(kernel, Policy("rule", 1, 0, '{"n":0}'))])
    ended = Key(key.public_key, key.purpose, key.party_id, revoked=True)
    kernel.agree([declares(kernel, ended, legs=spoil), declares(kernel, ended)])
    kernel.agree([declares(kernel, ended), declares(kernel, key)])


def test_a_closed_period_stays_closed(kernel):
    until_ms = kernel.clock.now_ms() - 5_000
    kernel.agree([declares(kernel, PeriodClose(until_ms))])
    for value_ms in (until_ms, until_ms - 1):
        kernel.agree([Entry(kernel.name(), "test.done", effective_ms=value_ms)])
    for again_ms in (until_ms - 1, until_ms, kernel.clock.now_ms() + 1):
        kernel.agree([declares(kernel, PeriodClose(again_ms))])


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_a_hold_ends_at_its_microsecond(kernel, ahead):
    pair = (kernel.house.wallet(0), kernel.house.wallet(1))
    held = Entry(kernel.name(), "test.held", (hold(*pair, 10, 1),))
    kernel.agree([Entry(kernel.name(), "test.before"), held])
    kernel.clock.advance_s(1)
    before = [Entry(kernel.name(), "test.before") for _ in range(ahead)]
    kernel.agree([*before, Entry(kernel.name(), "test.settled", (settle(PendingRef(held.entry_id, 0)),))])
    kernel.clock.advance_s(1)
    kernel.expire()


def test_officers_are_two_parties_and_stay_two(kernel):
    kernel.appoint(one=0, other=1)
    third = kernel.declaration(("key", "officer", 3, False))
    kernel.approved([third], (), (0, 1), forged=False)
    for signers in ((0, 3), (0,), (), (3, 1)):
        kernel.approved([Policy("rule", 1 + len(signers), 0, "{}")], (), signers, forged=False)
    last = kernel.declaration(("key", "officer", 1, True))
    kernel.approved([last], (), (0, 1), forged=False)
    kernel.approved([last, kernel.declaration(("key", "officer", 2, False))], (), (0, 1), forged=False)


def test_a_settled_part_is_corrected(kernel):
    pair = (kernel.house.wallet(0), kernel.house.wallet(1))
    held = Entry(kernel.name(), "test.held", (hold(*pair, 100, None), hold(*pair, 30, None)))
    kernel.agree([held])
    kernel.agree([Entry(kernel.name(), "test.settled", (settle(PendingRef(held.entry_id, 0), 60),))])
    last = len(kernel.model.entries)
    for back in (2, 3, 2):
        kernel.correct(place=last - back, number=1)


def test_a_revoked_key_seals_no_more(kernel):
    for revoked in (False, True):
        kernel.agree([declares(kernel, kernel.declaration(("key", "seal", None, revoked)))])
        kernel.seal()


@pytest.mark.soak
@pytest.mark.timeout(7200)
class TestKernelAtLength(Kernel.TestCase):
    settings = _settings(2000, 50)
