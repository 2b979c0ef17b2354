"""What people do in a year: pay, change prices under dual control, rotate keys, close periods."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bithive.canonical import canonical
from bithive.clock import as_iso
from bithive.keys import SigningKey
from economy.control import approve
from economy.entry import Account, Entry, Key, Party, Policy, move
from economy.errors import LedgerUnavailable, PeriodRunning, SealKeyUnknown
from economy.money import EUR
from economy.parties import HUB, NETWORK
from economy.periods import close_period
from economy.rules import policy_entry
from economy.seal import make_seal

if TYPE_CHECKING:
    from tests.common.year import World

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
Act = Callable[[], None]


class Calendar:
    """Everybody who is not a machine.

    Parameters
    ----------
    world
        Where they act: through the ledger of whichever process is running.
    every_days
        Time between two changes of prices, between two payments of an institution, and between two period closes.

    Attributes
    ----------
    officers, office
        Keys of all who may ever be one, and which of them are in office.
    """

    def __init__(self, world: World, seed: int, every_days: int) -> None:
        self.world, self.every_days = world, every_days
        self.chance = random.Random(f"{seed}/calendar")
        self.officers = [secret(seed, f"officer/{number}") for number in range(64)]
        self.parties = [world.ids.new("pty") for _ in self.officers]
        self.office: list[int] = []
        self.waiting: deque[Act] = deque([self._first_prices, self._first_officers])
        self.steps = self.seal_keys = 0

    def step(self) -> None:
        """What is due; what the ledger cannot take now is done later, with the same ids."""
        if self.steps % self.world.scale.steps_a_day == 1:
            self._day(self.steps // self.world.scale.steps_a_day)
        self.steps += 1
        while self.waiting:
            try:
                self.waiting[0]()
            except (LedgerUnavailable, PeriodRunning):
                self.world.truth.counts["act put off"] += 1
                return
            self.waiting.popleft()

    def _day(self, day: int) -> None:
        half = self.every_days // 2
        plan: dict[int, tuple[Act, ...]] = {
            0: (self._pay,),
            half: (lambda: self._new_prices(day),),
            half + 1: (lambda: self._new_officer(day), self._new_seal_key),
            half + 2: (lambda: self._new_rewards(day),),
        }
        if day:
            self.waiting.extend(plan.get(day % self.every_days, ()))
        if as_iso(self.world.true_ms)[8:10] == "01":
            self.waiting.append(self._close_period)

    def _post(self, entry: Entry) -> None:
        """An entry that two officers approve, once there are two."""
        if self.world.economy.ledger.find(entry.entry_id) is not None:
            return
        if len(self.office) >= 2:
            one, two = self.chance.sample(self.office, 2)
            entry = approve(approve(entry, self.officers[one]), self.officers[two])
        self.world.economy.ledger.post(entry)
        self.world.truth.counts[entry.kind] += 1

    def _policy(self, kind: str, version: int, from_ms: int, content: dict[str, Any]) -> None:
        rule = Policy(kind, version, from_ms, canonical(content).decode())
        self._post(policy_entry(rule))

    def _content(self, kind: str) -> tuple[int, dict[str, Any]]:
        """The last version declared of a kind, and its words."""
        with self.world.within.reading() as snapshot:
            rules = [rule for rule in snapshot.declared().policies if rule.kind == kind]
        last = max(rules, key=lambda rule: rule.version)
        content: dict[str, Any] = json.loads(last.content)
        return last.version, content

    def _first_prices(self) -> None:
        """Credit lines that some will pass."""
        version, content = self._content("rate-card")
        if content["credit_line"] > 10**8:
            self._policy("rate-card", version + 1, self.world.true_ms, content | {"credit_line": 8_000_000})

    def _first_officers(self) -> None:
        """Nobody can approve the first two."""
        parties = [Party(name, "officer") for name in self.parties[:2]]
        keys = [Key(self.officers[place].public_hex, "officer", self.parties[place]) for place in (0, 1)]
        self.world.economy.ledger.post(Entry("officers/first", "officer.declared", declares=(*parties, *keys)))
        self.office = [0, 1]

    def _new_prices(self, day: int) -> None:
        version, content = self._content("rate-card")
        bundle = self.chance.choice(("intracranial_t1", "spleen_ct", "chest_pneumonia@2.1.0", "*"))
        free = bundle != "*" and self.chance.random() < 0.3
        price = {"fixed": self.chance.randrange(10**5), "per_1000_work_units": self.chance.randrange(10**5)}
        split = [self.chance.randrange(1, 5_000) for _ in range(3)]
        rest = dict(zip(("operator", "hub", "protocol"), (part // 2 for part in split), strict=True))
        parts = {"node": 10_000 - sum(rest.values()), **rest}
        prices = content["prices"] | {bundle: {"fixed": 0, "per_1000_work_units": 0} if free else price}
        from_ms = self.world.true_ms + self.chance.randrange(3 * DAY_MS)
        self._policy("rate-card", version + 1, from_ms, content | {"prices": prices, "split_bp": parts})

    def _new_rewards(self, day: int) -> None:
        """An emission that falls from some day on."""
        version, content = self._content("emission")
        start_ms = self.world.true_ms - self.world.true_ms % DAY_MS + 2 * DAY_MS
        steps = [step for step in content["steps"] if step["from_ms"] < start_ms]
        steps.append({"from_ms": start_ms, "per_day": steps[-1]["per_day"] * 9 // 10 + 7})
        self._policy("emission", version + 1, start_ms, content | {"steps": steps})

    def _new_officer(self, day: int) -> None:
        """One more; then the one who served longest goes."""
        number = 2 + day // self.every_days
        party = self.parties[number]
        if number not in self.office:
            key = Key(self.officers[number].public_hex, "officer", party)
            declares = (Party(party, "officer"), key)
            self._post(Entry(f"key/{key.public_key}", "officer.declared", declares=declares))
            self.office.append(number)
        if len(self.office) > 3:
            gone = self.office[0]
            name = self.officers[gone].public_hex
            key = Key(name, "officer", self.parties[gone], revoked=True)
            self._post(Entry(f"key/{name}/revoked", "officer.revoked", declares=(key,)))
            self.office.remove(gone)

    def _new_seal_key(self) -> None:
        """The next key is declared, then it seals, then the last one is revoked."""
        world = self.world
        old, new = world.economy.key.public_hex, secret(world.seed, f"ledger/{self.seal_keys + 1}")
        holder = world.economy.parties.of(HUB)
        key = Key(new.public_hex, "seal", holder)
        self._post(Entry(f"key/{new.public_hex}", "key.declared", declares=(key,)))
        write_secret(world.folder / "keys" / "ledger.key", world.seed, f"ledger/{self.seal_keys + 1}")
        world.die()
        key = Key(old, "seal", holder, revoked=True)
        self._post(Entry(f"key/{old}/revoked", "key.revoked", declares=(key,)))
        try:
            make_seal(world.store, secret(world.seed, f"ledger/{self.seal_keys}"), world.clock)
        except SealKeyUnknown:
            world.truth.attacks["a revoked key that seals"] += 1
        self.seal_keys += 1

    def _close_period(self) -> None:
        """The month that has ended; a moment later if its last epoch is still being booked."""
        month = as_iso(self.world.true_ms - 5 * DAY_MS)[:7]
        if self.world.economy.ledger.find(f"period/{month}") is None:
            self._post(close_period(self.world.store, month, self.world.clock.now_ms()))

    def _pay(self) -> None:
        """Most institutions pay what they have used and what they owe."""
        economy, day = self.world.economy, self.world.true_ms // DAY_MS
        network = economy.parties.of(NETWORK)
        issue = Account(network, "credit-issue", EUR.code)
        for number, institution in enumerate(self.world.network.institutions):
            party = economy.parties.of("institution", institution)
            name = f"payment/{party}/{day}"
            if (number + day) % 10 == 0 or economy.ledger.find(name) is not None:
                continue
            owed, left = (economy.ledger.balance(Account(party, code, EUR.code)) for code in ("receivable", "credit"))
            due = -owed.net if owed else 0
            legs = [move(issue, Account(party, "receivable", EUR.code), due)] if due else []
            if left and left.net < 8_000_000:
                legs.append(move(issue, left.account, 8_000_000 - left.net))
            if legs:
                economy.ledger.post(Entry(name, "payment.received", tuple(legs)))
                self.world.truth.counts["payment"] += 1


def secret(seed: int, name: str) -> SigningKey:
    """A key of the year's, from its seed."""
    return SigningKey(random.Random(f"{seed}/{name}").randbytes(32))


def write_secret(path: Any, seed: int, name: str) -> None:
    """The same in a file, as the hub keeps it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(f"{seed}/{name}").randbytes(32))
    path.chmod(0o600)
