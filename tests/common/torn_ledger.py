"""The life of a ledger on a disk that loses its power: what it did, what it answered, and what must be true afterwards.

Everything follows from the seed. A life has some eras; each ends with the power gone, in the middle of something or
right after the last answer, and the next begins with what the disk kept. The store, the kernel and the SQL are the
product's own; only the file system beneath SQLite is not.
"""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.book import Seal
from economy.check import check
from economy.entry import Entry, Key, PendingRef, PeriodClose, Phase, Transfer, hold, move, release, settle
from economy.errors import LedgerFault, LedgerUnavailable
from economy.ledger import Ledger, Recorded
from economy.seal import make_seal
from economy.store_sql import SqlStore
from tests.common.apsw_connection import ApswConnection
from tests.common.economy import House
from tests.common.ledger_databases import Migrated
from tests.common.torn import TornDisk, TornVfs

NAME = "torn.db"
MEMBERS = 3
SEAL_KEY = SigningKey(b"k" * 32)
_WAL_PAGES = (4, 12, 40, 1000)


@functools.cache
def template() -> tuple[bytes, tuple[str, ...]]:
    """A new ledger's file with its parties declared, and the parties: the issuer, then the members."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        house = House(SqlStore(Database(f"sqlite:///{path}")), ManualClock(), MEMBERS)
        parties = (house.issuer, *house.members)
        house.ledger.close()
        return path.read_bytes(), parties


@functools.cache
def _vfs() -> TornVfs:
    return TornVfs()


class Broken(AssertionError):
    """A promise was not kept; says by which seed."""


class Life:
    """One seed's ledger.

    Parameters
    ----------
    seed
        Decides everything.
    eras
        How often the power goes.
    lies
        The disk answers syncs that it does not carry out: then promises must be broken, or nothing is tested.
    database
        Opens the ledger; exchanged by tests that spoil it.
    """

    def __init__(
        self, seed: int, eras: int = 2, *, lies: bool = False, database: type[Database] = Migrated, length: int = 12
    ) -> None:
        self.seed, self.eras, self._lies, self._length = seed, eras, lies, length
        self._random = random.Random(f"life {seed}")
        image, (self._issuer, *self._members) = template()
        self.disk = TornDisk({NAME: image})
        self.clock = ManualClock()
        self.clock.advance_s(60)
        self.attempted: dict[str, Entry] = {}
        self.answered: dict[str, Recorded] = {}
        self.seals: list[Seal] = []
        self.holds: list[PendingRef] = []
        self.cuts: list[str] = []
        self._count = 0
        pages = self._random.choice(_WAL_PAGES)
        pragmas = ("locking_mode=EXCLUSIVE", f"wal_autocheckpoint={pages}")
        self._database = database(
            f"sqlite:///{NAME}", lambda: ApswConnection(NAME, _vfs().name, pragmas), connections_max=1
        )
        self._house = House.__new__(House)
        self._house.issuer, self._house.members = self._issuer, self._members

    def run(self) -> None:
        """Live all eras. Raises `Broken`."""
        files = {name: bytes(file.content) for name, file in self.disk.files.items()}
        for era in range(self.eras):
            cut_at = self._random.choice((self._random.randrange(400), self._random.randrange(60), None))
            failing = self._random.randrange(200) if self._random.random() < 0.2 else 0
            fails_at = range(failing, failing + self._random.choice((1, 3, 20)) if failing else 0)
            files = self._era(TornDisk(files, f"{self.seed} {era}", cut_at, fails_at, lies=self._lies))
        self._verify(files)

    @contextmanager
    def _opened(self, disk: TornDisk) -> Iterator[Ledger]:
        self.disk = _vfs().disk = disk
        ledger = Ledger(SqlStore(self._database), self.clock)
        try:
            yield ledger
        finally:
            ledger.close()

    def _era(self, disk: TornDisk) -> dict[str, bytes]:
        with self._opened(disk) as ledger:
            for _ in range(self._length):
                if disk.is_dead:
                    break
                self._act(ledger)
            if self._random.random() < 0.8:
                disk.cut()
        files = disk.cut()
        self.cuts.append(f"{disk.kept} after {disk.changes}")
        self._verify(files)
        return files

    def _act(self, ledger: Ledger) -> None:
        chance = self._random.random()
        try:
            if chance < 0.08:
                self._seal(ledger)
            elif chance < 0.12:
                ledger.expire()
            else:
                self.clock.advance_s(self._random.choice((0, 0, 0.001, 1, 7)))
                self._post(ledger, self._drawn(), bulk=chance > 0.9)
        except LedgerUnavailable:
            if not (self.disk.is_dead or self.disk.failures):
                raise Broken(f"seed {self.seed}: it was unavailable without a cause") from None

    def _seal(self, ledger: Ledger) -> None:
        seal = make_seal(ledger.store, SEAL_KEY, self.clock)
        if seal is not None:
            self.seals.append(seal)

    def _post(self, ledger: Ledger, entries: list[Entry], *, bulk: bool) -> None:
        self.attempted.update({entry.entry_id: entry for entry in entries})
        answers = ledger.post_all(entries, bulk=bulk)
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Recorded):
                self.answered[entry.entry_id] = answer
                for leg, transfer in enumerate(entry.transfers):
                    if transfer.phase is Phase.PENDING:
                        self.holds.append(PendingRef(entry.entry_id, leg))
            elif isinstance(answer, LedgerFault) and not self._lies:
                raise Broken(f"seed {self.seed}: {entry.entry_id} met a rule of the database behind the planner's back")
        if any(isinstance(answer, LedgerUnavailable) for answer in answers):
            raise LedgerUnavailable

    def _drawn(self) -> list[Entry]:
        """A batch: mostly new entries; sometimes ones that were posted before, answered or not."""
        entries = []
        for _ in range(self._random.randint(1, 5)):
            self._count += 1
            entries.append(self._entry(f"e/{self._count}"))
        if self.attempted and self._random.random() < 0.4:
            unanswered = [entry for name, entry in self.attempted.items() if name not in self.answered]
            again = unanswered[-3:] or [self._random.choice(list(self.attempted.values()))]
            entries += again
        return entries

    def _entry(self, name: str) -> Entry:
        chance = self._random.random()
        if chance < 0.05:
            return self._declaration(name)
        if chance < 0.1:
            legs = [self._leg() for _ in range(self._random.randint(20, 60))]
        else:
            legs = [self._leg() for _ in range(self._random.choice((1, 1, 2, 3)))]
        return Entry(name, "test.done", tuple(legs))

    def _leg(self) -> Transfer:
        house, roll = self._house, self._random
        one, two = roll.sample(range(MEMBERS), 2)
        amount = roll.randint(1, 50)
        chance = roll.random()
        if chance < 0.4:
            return move(house.source(), house.wallet(one), amount)
        if chance < 0.6:
            return move(house.wallet(one), house.wallet(two), amount)
        if chance < 0.8 or not self.holds:
            return hold(house.source(), house.wallet(two), amount, roll.choice((None, 5, 30)))
        ref = roll.choice(self.holds)
        return release(ref) if roll.random() < 0.3 else settle(ref, roll.choice((None, 1)))

    def _declaration(self, name: str) -> Entry:
        if self._random.random() < 0.5:
            return Entry(name, "test.closed", declares=(PeriodClose(self.clock.now_ms() - 1_000),))
        return Entry(
            name, "key.declared", declares=(Key(SigningKey(b"o" * 32).public_hex, "officer", self._members[0]),)
        )

    def _verify(self, files: dict[str, bytes]) -> None:
        """Open what the disk kept, with power, and hold it against what was answered."""
        with self._opened(TornDisk(files)) as ledger:
            broken = self._broken(ledger)
        if broken:
            raise Broken(f"seed {self.seed}, cuts {self.cuts}: {broken}")

    def _broken(self, ledger: Ledger) -> list[str]:
        try:
            checked = check(ledger.store)
            with ledger.store.reading() as snapshot:
                found = {row.entry_id: row for row in snapshot.log()}
                seals = snapshot.seals()
            with self._database.read() as connection:
                whole = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
        except Exception as error:
            return [f"it does not open: {error!r} {error.__cause__!r}"]
        broken = [] if whole == "ok" else [f"SQLite says {whole}"]
        broken += [f"{item.fault} {item.place}" for item in checked.findings]
        for name, answer in self.answered.items():
            row = found.get(name)
            if row is None or (row.seq, row.recorded_us) != answer[:2]:
                broken.append(f"{name} was acknowledged and is lost")
        for name, row in found.items():
            if name.startswith(("setup/", "expiry/")):
                continue
            entry = self.attempted.get(name)
            if entry is None or entry.content.decode() != row.content:
                broken.append(f"{name} was invented")
        return broken + [f"seal {seal.seal_id} was made and is lost" for seal in self.seals if seal not in seals]
