"""A year of the economy in one process, from one seed: institutions pay, nodes earn, and everything goes wrong that can.

The very Booking, Epochs, settlement, control, periods and seals of the product run on a clock of ours; only the network
that makes their events is played. What the world knows to be true (`Truth`) is kept beside, and compared at the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bithive.ids import SeededIds
from economy.economy import Economy
from economy.errors import LedgerUnavailable
from tests.common.year_attacks import attack
from tests.common.year_audit import Auditor
from tests.common.year_calendar import Calendar, write_secret
from tests.common.year_compare import compare
from tests.common.year_faults import FAIR, Courier, FaultyStore, WallClock, Weather
from tests.common.year_network import DAY_MS, HOUR_MS, Network, Scale, Truth
from tests.common.year_rules import Rules

START_MS = 1_800_403_200_000
"""2027-01-20, midnight UTC: every length has the end of a month in it."""
WHOLE = Scale(days=365, studies_a_day=280, changes_days=30)
SHORT = Scale(days=50, studies_a_day=30, changes_days=12, steps_a_day=4)
SMALL = Scale(days=16, studies_a_day=20, changes_days=7, steps_a_day=4, institutions=20, operators=15, nodes=60)

OpenStore = Callable[[], tuple[Any, Callable[[], None]]]
"""Opens the ledger's store as a starting process does: the store, and what ends with the process."""


class World:
    """One year.

    Parameters
    ----------
    seed
        All chance comes from here.
    scale, weather
        How much, and how bad.
    open_store
        Where the ledger is kept.
    folder
        For the keys.
    """

    def __init__(self, seed: int, scale: Scale, weather: Weather, open_store: OpenStore, folder: Path) -> None:
        self.seed, self.scale, self.weather, self.folder, self._open_store = seed, scale, weather, folder, open_store
        self.luck = random.Random(f"{seed}/faults")
        self.clock, self.truth, self.true_ms = WallClock(START_MS), Truth(), START_MS
        self.courier = Courier(random.Random(f"{seed}/courier"), weather, self.truth.counts)
        network_ids = SeededIds(2 * seed, self.clock)
        self.network = Network(scale, random.Random(f"{seed}/network"), network_ids, self.truth)
        self.ids = SeededIds(2 * seed + 1, self.clock)
        self._swept = 0
        for name in ("ledger", "parties"):
            write_secret(folder / "keys" / f"{name}.key", seed, f"{name}/0")
        self.start()
        self.rules = Rules()
        self.auditor = Auditor(self.within, [self.rules], self.rules.sealed)
        self.calendar = Calendar(self, seed, scale.changes_days)

    def start(self) -> None:
        """A process starts: it has nothing in memory but what it reads."""
        self.within, release = self._open_store()
        self.store = FaultyStore(self.within, release)
        self.economy = Economy.on(self.store, self.folder / "keys", self.clock, self.ids, DAY_MS / 1000)

    def die(self) -> None:
        """The process is killed, wherever it is; another starts."""
        self.truth.counts["killed"] += 1
        self.store.dead = True
        self.economy.close()
        self.start()
        self.auditor.store = self.within

    def run(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Let the whole of it happen, and end in peace; `tell` hears of each month."""
        for number in range(self.scale.days * self.scale.steps_a_day):
            self.step()
            if number % (30 * self.scale.steps_a_day) == 0:
                tell(f"day {number // self.scale.steps_a_day}: {self.told()}")
        self.end()

    def step(self) -> None:
        """Some hours, and then everything is checked."""
        before_ms = self.true_ms
        self._pass(DAY_MS // self.scale.steps_a_day)
        self.network.plan(before_ms, self.true_ms)
        if self.true_ms % DAY_MS == 0:
            self.network.declare_online(self.true_ms - DAY_MS, self.true_ms)
        for when_ms, event in self.network.until(self.true_ms):
            self.courier.send(event, when_ms)
        self._deliver()
        self.calendar.step()
        self._close_epoch()
        self._check()
        attack(self, self.luck, self.auditor.steps)

    def _check(self) -> None:
        self.store.down = False
        self.auditor.step()
        if self.auditor.sealed != self._swept:
            self.auditor.sweep()
            self._swept = self.auditor.sealed

    def end(self) -> None:
        """Fair weather until everything under way has come and everything due is settled."""
        self.weather = FAIR
        self.clock.set_ms(self.true_ms)
        self.store.down = False
        self._pass(10 * DAY_MS)
        for when_ms, event in self.network.until(self.true_ms):
            self.courier.send(event, when_ms)
        self.courier.flush(self.true_ms)
        while self.courier.waiting:
            self._deliver()
        for _ in range(6):
            self._close_epoch()
            self._pass(DAY_MS)
        self._check()
        self.auditor.sweep()
        compare(self)

    def told(self) -> str:
        """What there was, for a person."""
        counts = " ".join(f"{name}={count}" for name, count in sorted(self.truth.counts.items()))
        size = f"{len(self.truth.studies)} studies, {self.auditor.entries} entries, {self.auditor.transfers} transfers"
        attacks = f"{self.truth.attacks.total()} attempts refused as due"
        return f"{size}, {self.auditor.sealed} seals in {self.auditor.steps} steps; {attacks}; {counts}; {self.rules.rewards.counts}"

    def _pass(self, ms: int) -> None:
        self.true_ms += ms
        off_ms = self.clock.now_ms() + ms - self.true_ms
        self.clock.advance_ms(ms)
        if off_ms and self.luck.random() < 0.5:
            self.clock.set_ms(self.true_ms)
        elif self.luck.random() < self.weather.clock_set:
            self.truth.counts["clock set"] += 1
            self.clock.set_ms(self.true_ms + self.luck.randrange(-20 * HOUR_MS, 3 * HOUR_MS))

    def _deliver(self) -> None:
        self.store.down = self.luck.random() < self.weather.outage
        self.truth.counts["outage"] += self.store.down
        if self.luck.random() < self.weather.kill_taking:
            self.store.writes_left = self.luck.randrange(40)
        self.courier.deliver(self.true_ms, self._take)
        if self.store.writes_left is not None:
            self.die()

    def _take(self, event: Any) -> None:
        chance = self.luck.random()
        if chance < self.weather.refused / 2:
            self.store.lose_answer = True
        elif chance < self.weather.refused:
            raise LedgerUnavailable
        self.economy.booking.take(event)

    def _close_epoch(self) -> None:
        counts = self.truth.counts
        self.store.lose_answer = False
        if self.luck.random() < self.weather.kill_closing:
            self.store.writes_left = self.luck.randrange(9)
        try:
            self.economy.tick()
        except LedgerUnavailable:
            counts["close interrupted"] += 1
        if self.store.writes_left is not None:
            self.die()
        counts["steps"] += 1
