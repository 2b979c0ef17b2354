from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from economy.export import FORMATS, export


@pytest.fixture
def lived_in(economy, network, clock):
    """A ledger with a bit of everything."""
    for number in range(4):
        offer = network.ids.new("off")
        economy.booking.take(network.opened(offer, work_units=1000 + number))
        if number != 2:
            economy.booking.take(network.accepted(offer, work_units=1000 + 3 * number))
    clock.advance_s(1000)
    economy.epochs.close()
    clock.advance_s(90_000)
    economy.booking.take(network.accepted(network.ids.new("off")))
    economy.epochs.close()
    return economy


def table(economy, form):
    return list(csv.DictReader(io.StringIO("".join(export(economy.ledger.store, form)), newline="")))


def test_csv_is_exact(lived_in):
    accounts = table(lived_in, "accounts")
    by_asset = {}
    for row in accounts:
        by_asset[row["asset"]] = by_asset.get(row["asset"], 0) + Decimal(row["net"])
    assert by_asset == {"EUR": 0, "BTT": 0, "RU": 0}
    transfers = table(lived_in, "transfers")
    moved = {}
    for row in transfers:
        if row["phase"] in ("single", "post"):
            moved[row["credit"]] = moved.get(row["credit"], 0) + Decimal(row["amount"])
    for row in accounts:
        name = f"{row['owner']}:{row['code']}:{row['asset']}"
        assert moved.get(name, 0) == Decimal(row["credit_posted"])
    assert len(table(lived_in, "seals")) == 2
    assert [row["seq"] for row in table(lived_in, "entries")] == [
        str(n + 1) for n in range(len(table(lived_in, "entries")))
    ]


def test_beancount_balances_by_other_arithmetic(lived_in):
    """A reader of our own for the few directives used: every transaction sums to zero, every assertion holds."""
    opened, totals, sums, assertions = set(), {}, {}, 0
    for line in "".join(export(lived_in.ledger.store, "beancount")).splitlines():
        words = line.split()
        if " open " in line:
            opened.add(words[2])
        elif " balance " in line:
            assert totals.get((words[2], words[4]), 0) == Decimal(words[3])
            assertions += 1
        elif " * " in line:
            assert not any(sums.values())
            sums = {}
        elif line.startswith("  ") and words[0] != "seq:":
            assert words[0] in opened
            sums[words[2]] = sums.get(words[2], 0) + Decimal(words[1])
            totals[words[0], words[2]] = totals.get((words[0], words[2]), 0) + Decimal(words[1])
    assert not any(sums.values())
    assert assertions == len(opened) > 10


def test_an_empty_ledger_exports_little():
    from economy.store import MemoryStore

    for form in FORMATS:
        assert "".join(export(MemoryStore(), form)).count("\n") <= 1


def test_no_export_says_who_anybody_is(lived_in, network):
    marks = (network.institution, network.node, network.cell, "Jane", "Roe", "basement", "ins_", "nod_", "cel_")
    for form in FORMATS:
        content = "".join(export(lived_in.ledger.store, form))
        assert not [mark for mark in marks if mark in content]
