"""Statements as CSV and PDF, read back by other programs."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal

import pytest
from pypdf import PdfReader

from economy import party_statement_pdf, pdf_paper
from economy.economy import Economy
from economy.entry import Account, Entry, move
from economy.errors import StatementTooLong
from economy.money import decimal_text
from economy.party_rewards import rewards
from economy.party_rewards_pdf import reward_blocks
from economy.party_statement import lines, open_statement
from economy.party_statement_csv import COLUMNS, REWARD_COLUMNS, statement_csv
from economy.party_statement_pdf import statement_pdf
from economy.pdf_paper import figure, printable, wrapped
from economy.seal import make_seal
from economy.statement_period import Period
from economy.store import MemoryStore

FORMULA = re.compile(r"[=+@\t\r]")


@pytest.fixture
def economy(tmp_path, clock, ids):
    """In memory: what a statement says does not depend on the store (`test_party_statement`)."""
    opened = Economy.on(MemoryStore(), tmp_path / "keys", clock, ids, epoch_s=3600)
    yield opened
    opened.close()


@pytest.fixture
def lived_in(economy, network, clock):
    """An epoch with charges, holds and rewards, sealed to its end."""
    for number in range(12):
        offer = network.ids.new("off")
        economy.booking.take(network.opened(offer, work_units=1000 + number))
        if number % 4 != 3:
            economy.booking.take(network.accepted(offer, work_units=990 + 7 * number))
    clock.advance_s(1000)
    economy.epochs.close()
    make_seal(economy.ledger.store, economy.key, clock)
    return economy


def statement(economy, kind, ref="", period=None):
    party = economy.parties.find(kind, ref)
    now_ms = economy.ledger.clock.now_ms()
    return open_statement(economy.ledger.store, party, period or Period.month_of(now_ms), now_ms)


def of(economy, network, kind):
    refs = {"institution": network.institution, "node": network.node, "operator": "Dr Jane Roe's basement"}
    return statement(economy, kind, refs.get(kind, ""))


def tables(economy, found):
    """Head, lines and rewards of a CSV."""
    rows = list(csv.reader(io.StringIO("".join(statement_csv(economy.ledger.store, found)), newline="")))
    start = rows.index(list(COLUMNS))
    end = next((place for place, row in enumerate(rows) if place > start and not row), len(rows))
    head = {row[0]: row[1] for row in rows[:start] if row}
    body = [dict(zip(COLUMNS, row, strict=False)) for row in rows[start + 1 : end]]
    rest = [dict(zip(REWARD_COLUMNS, row, strict=True)) for row in rows[end + 2 :]]
    return head, body, rest


@pytest.mark.parametrize("kind", ["institution", "node", "operator", "hub", "protocol", "network"])
def test_a_csv_adds_up_by_other_arithmetic(lived_in, network, kind):
    found = of(lived_in, network, kind)
    head, rows, _ = tables(lived_in, found)
    assert (head["party"], head["kind"]) == (found.party_id, kind)
    assert head["seal"] == str(found.seal.seal_id)
    assert head["seal_log_root"] == found.seal.log_root
    for part in found.accounts:
        own = [row for row in rows if (row["account"], row["asset"]) == (part.account.code, part.asset.code)]
        assert [own[0]["row"], own[-1]["row"]] == ["opening", "closing"]
        balance, reserved, expected = (Decimal(own[0][name]) for name in ("balance", "reserved", "expected"))
        for row in own[1:-1]:
            balance += Decimal(row["credit"]) - Decimal(row["debit"])
            reserved += Decimal(row["reserved"])
            expected += Decimal(row["expected"])
            assert Decimal(row["balance"]) == balance
        closing = own[-1]
        assert (Decimal(closing["balance"]), Decimal(closing["reserved"])) == (balance, reserved)
        assert Decimal(closing["expected"]) == expected
        for side in ("debit", "credit"):
            assert Decimal(closing[side]) == sum(Decimal(row[side]) for row in own[1:-1])
        assert len(own) == part.line_count + 2


def test_a_csv_has_no_formula_and_no_name(lived_in, network):
    text = "".join(statement_csv(lived_in.ledger.store, of(lived_in, network, "operator")))
    for row in csv.reader(io.StringIO(text, newline="")):
        for cell in row:
            assert not FORMULA.match(cell)
            assert not cell.startswith("-") or Decimal(cell) < 0
    assert "Jane" not in text
    assert "basement" not in text
    assert network.institution not in text


def test_a_reason_that_is_a_formula_does_not_become_one(economy, clock):
    hub, network = economy.parties.of("hub"), economy.parties.of("network")
    legs = (move(Account(network, "credit-issue", "EUR"), Account(hub, "revenue", "EUR"), 1),)
    facts = {"reason": '=HYPERLINK("http://x","y")\r\n=1', "bundle": "\u202e\x07@SUM(1)", "receipt": "=1"}
    economy.ledger.post(Entry("test/formula", "test.moved", legs, facts))
    found = statement(economy, "hub")
    ((line,), (row,)) = (
        list(lines(economy.ledger.store, found, found.accounts[0])),
        [row for row in tables(economy, found)[1] if row["row"] == "line"],
    )
    assert row["what"] == line.words
    assert line.words.startswith("Test moved: ")
    assert line.words.isprintable()
    assert line.receipt is None
    assert "\x07" not in pdf_text(statement_pdf(economy.ledger.store, found))


def pdf_text(content):
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)


@pytest.mark.parametrize("kind", ["institution", "node", "operator", "hub", "protocol", "network"])
def test_a_pdf_says_what_the_statement_says(lived_in, network, kind):
    found = of(lived_in, network, kind)
    content = statement_pdf(lived_in.ledger.store, found)
    text = pdf_text(content)
    flat = re.sub(r"\s+", "", text)
    for said in (
        found.party_id,
        found.period.first_day,
        found.period.last_day,
        found.seal.log_root,
        found.seal.state_root,
    ):
        assert said in flat, said
    for part in found.accounts:
        for amount in (part.opening, part.debits, part.credits, part.closing):
            assert re.sub(r"\s+", "", figure(amount, part.asset.scale)) in flat
        for line in lines(lived_in.ledger.store, found, part):
            assert line.entry_id in flat
            assert re.sub(r"\s+", "", figure(line.balance, part.asset.scale)) in flat
            assert line.receipt is None or line.receipt in flat
    count = len(PdfReader(io.BytesIO(content)).pages)
    assert [f"Page {number} of {count}" in text for number in range(1, count + 1)] == [True] * count
    assert "Jane" not in text
    assert network.institution not in text


def test_every_receipt_of_a_reward_is_on_the_pdf_and_in_the_csv(lived_in, network):
    found = of(lived_in, network, "node")
    text = re.sub(r"\s+", "", pdf_text(statement_pdf(lived_in.ledger.store, found)))
    rows = tables(lived_in, found)[2]
    (reward,) = rewards(lived_in.ledger.store, found)
    assert len(reward.receipts) == 9
    for part in reward.receipts:
        assert part.receipt in text
        assert re.sub(r"\s+", "", figure(part.amount, reward.asset.scale)) in text
    parts = [row for row in rows if row["row"] == "receipt"]
    (whole,) = (row for row in rows if row["row"] == "reward")
    assert sum(Decimal(row["amount"]) for row in parts) == Decimal(whole["amount"])
    assert sum(Decimal(row["reward_units"]) for row in parts) == Decimal(whole["reward_units"])
    assert Decimal(whole["amount"]) == Decimal(decimal_text(reward.amount, 6)) > 0


def test_the_same_statement_is_the_same_bytes(lived_in, network):
    found, store = of(lived_in, network, "hub"), lived_in.ledger.store
    assert statement_pdf(store, found) == statement_pdf(store, found)


def test_tables_have_their_head_on_every_page(lived_in, network, monkeypatch):
    monkeypatch.setattr(pdf_paper, "BOTTOM", 500.0)
    found = of(lived_in, network, "institution")
    pages = PdfReader(io.BytesIO(statement_pdf(lived_in.ledger.store, found))).pages
    assert len(pages) > 5
    for page in pages:
        text = page.extract_text()
        assert "Debit" in text or "No. " not in text


def test_an_empty_period_and_no_seal_are_said(economy, network):
    economy.booking.take(network.opened(network.ids.new("off")))
    found = of(economy, network, "institution")
    assert "Not all of" in pdf_text(statement_pdf(economy.ledger.store, found))
    later = statement(economy, "institution", network.institution, found.period.after())
    text = pdf_text(statement_pdf(economy.ledger.store, later))
    assert "No lines in this period." in text
    assert "none in this period" in text
    nothing = statement(economy, "institution", network.institution, Period.parse("1999"))
    assert "Nothing was booked" in pdf_text(statement_pdf(economy.ledger.store, nothing))


def test_a_pdf_has_an_end_and_the_csv_has_none(lived_in, network, monkeypatch):
    found = of(lived_in, network, "institution")
    monkeypatch.setattr(party_statement_pdf, "STATEMENT_PDF_LINES_MAX", found.line_count - 1)
    with pytest.raises(StatementTooLong):
        statement_pdf(lived_in.ledger.store, found)
    assert len(tables(lived_in, found)[1]) == found.line_count + 2 * len(found.accounts)
    with pytest.raises(StatementTooLong):
        reward_blocks(rewards(lived_in.ledger.store, of(lived_in, network, "node")), 9)


def test_text_for_paper():
    assert printable("1\u202f234 \u2212 5 \u2192 \u65e5") == "1\u00a0234 - 5 > ?"
    assert figure(-1234567, 2) == "-12\u00a0345.67"
    long = "x" * 500
    rows = wrapped(f"one two {long} three", 100)
    assert "".join(rows).replace(" ", "") == f"onetwo{long}three"
    assert wrapped("", 100) == [""]
    assert all(len(row) < 60 for row in rows)
