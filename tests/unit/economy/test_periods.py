"""Trial balances at any entry, and months that are closed once and for ever."""

from __future__ import annotations

import pytest

from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.check import check
from economy.entry import Entry, PendingRef, hold, move, settle
from economy.errors import BadPeriod, DeclarationDiffers, EntryUnknown, PeriodClosed, PeriodRunning
from economy.periods import TrialBalance, TrialLine, close_period, period_end_ms, trial_balance
from economy.seal import make_seal
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from tests.common.economy import OTHER, House

OCTOBER_MS, NOVEMBER_MS = 1_790_812_800_000, 1_793_491_200_000
KEY = SigningKey(b"k" * 32)


@pytest.fixture(params=["memory", "sqlite"])
def house(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SqlStore(Database(f"sqlite:///{tmp_path}/ledger.db"))
    house = House(store, ManualClock(OCTOBER_MS))
    house.fund(0, 1000)
    yield house
    assert check(store).findings == []
    house.ledger.close()


@pytest.mark.parametrize(
    ("period", "end_ms"), [("2026-09", OCTOBER_MS), ("2026-10", NOVEMBER_MS), ("2026-12", 1_798_761_600_000)]
)
def test_a_month_ends_where_the_next_begins(period, end_ms):
    assert period_end_ms(period) == end_ms


@pytest.mark.parametrize("period", ["", "2026", "2026-13", "2026-00", "2026-1", "26-10", "2026-10-01", "1969-12", "x"])
def test_what_is_no_month_is_refused(period):
    with pytest.raises(BadPeriod):
        period_end_ms(period)


def test_the_trial_balance_at_each_entry(house):
    wallets = (house.wallet(0), house.wallet(1))
    lines = {2: [("COIN", "credit", 0, 0, 0, 1000), ("COIN", "issuance", 0, 1000, 0, 0)]}
    house.ledger.post(Entry("hold/1", "test.held", (hold(*wallets, 100, None),)))
    lines[3] = [("COIN", "credit", 100, 0, 100, 1000), ("COIN", "issuance", 0, 1000, 0, 0)]
    house.ledger.post(Entry("settle/1", "test.settled", (settle(PendingRef("hold/1", 0), 70),)))
    lines[4] = [("COIN", "credit", 0, 70, 0, 1070), ("COIN", "issuance", 0, 1000, 0, 0)]
    house.ledger.post(Entry("gift/1", "test.given", (move(house.source(OTHER), house.wallet(2, OTHER), 9),)))
    lines[5] = [*lines[4], ("OTHER", "credit", 0, 0, 0, 9), ("OTHER", "issuance", 0, 9, 0, 0)]
    lines[0] = lines[1] = []
    digests = set()
    for seq, expected in lines.items():
        found = trial_balance(house.store, seq)
        assert found == TrialBalance(seq, tuple(TrialLine(*line) for line in expected))
        assert found.adds_up
        digests.add(found.digest)
    assert len(digests) == len(lines)
    assert trial_balance(house.store) == trial_balance(house.store, 5)
    assert trial_balance(house.store).totals == {"COIN": (0, 1070, 0, 1070), "OTHER": (0, 9, 0, 9)}
    assert [line.net for line in trial_balance(house.store).lines] == [1000, -1000, 9, -9]
    for seq in (-1, 6):
        with pytest.raises(EntryUnknown):
            trial_balance(house.store, seq)


def test_a_month_is_closed_once_it_is_over(house):
    with pytest.raises(PeriodRunning):
        close_period(house.store, "2026-10", house.clock.now_ms())
    house.clock.advance_s((NOVEMBER_MS - OCTOBER_MS) / 1000)
    house.ledger.post(
        Entry("pay/1", "test.paid", (move(house.wallet(0), house.wallet(1), 3),), effective_ms=OCTOBER_MS)
    )
    entry = close_period(house.store, "2026-10", house.clock.now_ms())
    assert (entry.facts["at_seq"], entry.facts["total-COIN"]) == (2, "1000/0")
    house.ledger.post(entry)
    assert house.ledger.post(entry).replayed
    with pytest.raises(DeclarationDiffers):
        close_period(house.store, "2026-10", house.clock.now_ms())
    with pytest.raises(DeclarationDiffers):
        close_period(house.store, "2026-09", house.clock.now_ms())
    with pytest.raises(PeriodClosed):
        house.ledger.post(Entry("late/1", "test.paid", effective_ms=NOVEMBER_MS - 1))
    house.ledger.post(Entry("late/1", "test.paid", effective_ms=NOVEMBER_MS))
    make_seal(house.store, KEY, house.clock)


def test_a_month_is_not_closed_while_an_epoch_of_it_is_being_booked(house):
    opened = {"epoch": 1, "from_ms": OCTOBER_MS, "to_ms": OCTOBER_MS + 5, "pool": 0, "asset": "OTHER", "emission": 1}
    house.ledger.post(Entry("epoch/1/open", "epoch.opened", facts=opened, effective_ms=OCTOBER_MS + 5))
    house.clock.advance_s((NOVEMBER_MS - OCTOBER_MS) / 1000)
    with pytest.raises(PeriodRunning, match="epoch"):
        close_period(house.store, "2026-10", house.clock.now_ms())
    house.ledger.post(Entry("epoch/1/end", "epoch.closed", facts={"epoch": 1}, effective_ms=OCTOBER_MS + 5))
    assert close_period(house.store, "2026-10", house.clock.now_ms()).facts["trial_balance"]
