from __future__ import annotations

import pytest

from economy import party_statement
from economy.entry import Account, Entry, Party, PendingRef, Phase, hold, move, release, settle
from economy.errors import PartyUnknown
from economy.money import EUR
from economy.party_statement import lines, open_statement
from economy.seal import make_seal
from economy.statement_period import Period
from tests.unit.economy.oracle import folded

DAY_S = 86_400
NOBODY = "pty_0000000000000000000000N0NE"


@pytest.fixture
def month(economy, network, clock):
    """Two months with holds across their border, charges above and below the hold, and two sealed epochs."""
    held = network.ids.new("off")
    economy.booking.take(network.opened(held, work_units=900, deadline_s=40 * DAY_S))
    for number in range(5):
        offer = network.ids.new("off")
        economy.booking.take(network.opened(offer, work_units=1000 + number))
        if number == 3:
            economy.booking.take(network.closed(offer))
        elif number != 4:
            economy.booking.take(network.accepted(offer, work_units=900 + 100 * number))
    clock.advance_s(1000)
    economy.epochs.close()
    clock.advance_s(31 * DAY_S)
    economy.ledger.expire()
    economy.booking.take(network.accepted(held, work_units=400))
    for _ in range(3):
        economy.booking.take(network.accepted(network.ids.new("off")))
    clock.advance_s(4000)
    economy.epochs.close()
    economy.booking.take(network.opened(network.ids.new("off")))
    return economy


def periods(economy):
    """The first month, the second, and both."""
    first = Period.month_of(economy.ledger.clock.now_ms() - 32 * DAY_S * 1000)
    return [first, first.after(), Period(first.from_ms, first.after().to_ms)]


def everybody(economy):
    with economy.ledger.store.reading() as snapshot:
        return [party.party_id for party in snapshot.declared().parties.values()]


def opened(economy, party, period):
    return open_statement(economy.ledger.store, party, period, economy.ledger.clock.now_ms())


def of(economy, kind, ref=""):
    party = economy.parties.find(kind, ref)
    assert party is not None
    return party


def test_every_unit_of_every_party_is_on_a_line(month):
    store = month.ledger.store
    for period in periods(month):
        for party in everybody(month):
            statement = opened(month, party, period)
            for part in statement.accounts:
                found = list(lines(store, statement, part))
                assert part.closing == part.opening + part.credits - part.debits
                assert part.line_count == len(found)
                assert part.debits == sum(line.debit for line in found)
                assert part.credits == sum(line.credit for line in found)
                assert part.reserved_closing == part.reserved_opening + sum(line.reserved for line in found)
                assert part.expected_closing == part.expected_opening + sum(line.expected for line in found)
                assert [line.balance for line in found][-1:] in ([], [part.closing])
                assert all(period.from_ms <= line.booked_us // 1000 < period.to_ms for line in found)
                assert [(line.seq, line.leg) for line in found] == sorted({(line.seq, line.leg) for line in found})


def test_openings_and_closings_are_those_of_another_fold(month):
    """A reader of our own over the exported log alone knows every balance at both ends."""
    for period in periods(month):
        ends = [folded(month.ledger.store, until_us=ms * 1000) for ms in (period.from_ms, period.to_ms)]
        for party in everybody(month):
            for part in opened(month, party, period).accounts:
                name = str(part.account)
                before, after = (end.get(name, (0, 0, 0)) for end in ends)
                assert (part.opening, part.reserved_opening, part.expected_opening) == before
                assert (part.closing, part.reserved_closing, part.expected_closing) == after


def test_one_period_ends_where_the_next_begins(month):
    first, second, both = periods(month)
    for party in everybody(month):
        statements = [opened(month, party, period) for period in (first, second, both)]
        closing = {part.account: part for part in statements[0].accounts}
        whole = {part.account: part for part in statements[2].accounts}
        for part in statements[1].accounts:
            before = closing.get(part.account)
            assert part.opening == (before.closing if before else 0)
            assert part.reserved_opening == (before.reserved_closing if before else 0)
            assert whole[part.account].line_count == part.line_count + (before.line_count if before else 0)
            assert whole[part.account].closing == part.closing


def test_a_charge_is_traceable_to_receipt_seal_and_proof(month, network):
    institution = of(month, "institution", network.institution)
    statement = opened(month, institution, periods(month)[2])
    found = list(lines(month.ledger.store, statement, statement.part("credit:EUR")))
    charged = [line for line in found if line.kind == "charge.settled"]
    assert charged
    for line in charged:
        assert len(line.receipt) == 64
        assert line.offer.startswith("off_")
        assert line.words.startswith("Study charged: ")
        assert "work units" in line.words
        assert line.proof == f"/ledger/proofs/entry/{line.entry_id}?seal={line.seal_id}"
    open_now = found[-1]
    assert (open_now.kind, open_now.phase, open_now.seal_id, open_now.proof) == (
        "charge.held",
        Phase.PENDING,
        None,
        "",
    )
    assert (open_now.debit, open_now.credit) == (0, 0)
    assert open_now.reserved > 0
    assert statement.seal is None, "the last line is not sealed"


def test_the_seal_that_covers_a_statement_is_the_first_that_holds_all_of_it(month):
    store, party = month.ledger.store, of(month, "hub")
    first = periods(month)[0]
    before = opened(month, party, first)
    with store.reading() as snapshot:
        seals = snapshot.seals()
    assert before.seal == next(seal for seal in seals if seal.to_seq >= before.to_seq)
    make_seal(store, month.key, month.ledger.clock)
    last = opened(month, party, periods(month)[1])
    assert last.seal is not None
    assert last.seal.to_seq >= last.to_seq
    assert opened(month, party, first).seal == before.seal


def test_a_statement_may_be_read_from_any_entry_on(month, monkeypatch):
    monkeypatch.setattr(party_statement, "_STRETCH", 3)
    store = month.ledger.store
    for party in everybody(month):
        statement = opened(month, party, periods(month)[2])
        for part in statement.accounts:
            whole = list(lines(store, statement, part))
            for after in sorted({line.seq for line in whole} | {0, statement.to_seq}):
                assert list(lines(store, statement, part, after)) == [line for line in whole if line.seq > after]


@pytest.mark.parametrize("stretch", [1, 2, 7, 2_000])
def test_the_length_of_a_stretch_changes_nothing(month, monkeypatch, stretch):
    store, party, period = month.ledger.store, of(month, "network"), periods(month)[2]
    before = opened(month, party, period)
    expected = [list(lines(store, before, part)) for part in before.accounts]
    monkeypatch.setattr(party_statement, "_STRETCH", stretch)
    monkeypatch.setattr(party_statement, "_TOGETHER", max(stretch // 2, 1))
    monkeypatch.setattr(party_statement, "_NAMES_MAX", 1)
    again = opened(month, party, period)
    assert again == before
    assert [list(lines(store, again, part)) for part in again.accounts] == expected


def test_a_party_that_does_not_exist_has_no_statement(month):
    for party in (NOBODY, "", "network", "pty_' OR 1=1 --"):
        with pytest.raises(PartyUnknown):
            opened(month, party, periods(month)[0])


def test_a_period_without_lines_says_what_there_was(month):
    statement = opened(month, of(month, "hub"), periods(month)[1].after())
    assert statement.after_seq == statement.to_seq
    assert statement.line_count == 0
    assert all(part.opening == part.closing for part in statement.accounts)
    assert sum(part.closing for part in statement.accounts) > 0
    for part in statement.accounts:
        assert list(lines(month.ledger.store, statement, part)) == []


def test_before_anything_happened_there_are_no_accounts(month):
    statement = opened(month, of(month, "hub"), Period.parse("1999"))
    assert (statement.accounts, statement.to_seq, statement.seal) == ((), 0, None)


def test_an_empty_ledger_has_no_party(economy):
    with pytest.raises(PartyUnknown):
        opened(economy, NOBODY, Period.parse("2026"))


def test_what_comes_later_changes_no_line_of_the_past(month, network):
    period = periods(month)[0]
    store = month.ledger.store

    def said():
        found = {}
        for party in everybody(month):
            statement = opened(month, party, period)
            found[party] = [(part, list(lines(store, statement, part))) for part in statement.accounts]
        return found

    before = said()
    for _ in range(3):
        month.booking.take(network.accepted(network.ids.new("off"), work_units=7))
    month.ledger.clock.advance_s(9_000)
    month.epochs.close()
    after = said()
    assert {party: after[party] for party in before} == before


def test_holds_within_one_party_count_on_both_sides(economy, clock):
    """A hold from one account of a party to another, posted in part, across the border of two periods."""
    party, network = "pty_0000000000000000000000TW1N", economy.parties.of("network")
    wallet, aside = Account(party, "credit", EUR.code), Account(party, "payable", EUR.code)
    post = economy.ledger.post
    post(Entry("test/party", "party.declared", declares=(Party(party, "institution"),)))
    post(Entry("test/fund", "test.funded", (move(Account(network, "credit-issue", EUR.code), wallet, 100),)))
    post(Entry("test/hold", "test.held", (hold(wallet, aside, 30, None), hold(wallet, aside, 8, None))))
    first = Period.month_of(clock.now_ms())
    clock.advance_s(32 * DAY_S)
    post(Entry("test/post", "test.posted", (settle(PendingRef("test/hold", 0), 12),)))
    post(Entry("test/void", "test.voided", (release(PendingRef("test/hold", 1)),)))
    before, after = opened(economy, party, first), opened(economy, party, first.after())
    part = before.part("credit:EUR")
    assert (part.closing, part.reserved_closing, part.expected_closing) == (100, 38, 0)
    part = before.part("payable:EUR")
    assert (part.closing, part.reserved_closing, part.expected_closing) == (0, 0, 38)
    part = after.part("credit:EUR")
    assert (part.opening, part.debits, part.closing, part.reserved_closing) == (100, 12, 88, 0)
    found = list(lines(economy.ledger.store, after, part))
    assert [(line.debit, line.reserved, line.balance) for line in found] == [(12, -30, 88), (0, -8, 88)]
    part = after.part("payable:EUR")
    assert (part.credits, part.expected_opening, part.expected_closing) == (12, 38, 0)
    assert [line.other for line in lines(economy.ledger.store, after, part)] == [f"{party}:credit"] * 2


def test_a_hot_account_is_read_in_stretches(economy, clock, monkeypatch):
    """Memory stays that of a stretch: no call asks the store for more than a stretch of entries."""
    network, asked = economy.parties.of("network"), list[int]()
    source, hot = Account(network, "credit-issue", EUR.code), Account(economy.parties.of("hub"), "revenue", EUR.code)
    entries = [Entry(f"hot/{number}", "test.moved", (move(source, hot, number + 1),)) for number in range(500)]
    assert all(hasattr(answer, "seq") for answer in economy.ledger.post_all(entries))
    monkeypatch.setattr(party_statement, "_STRETCH", 50)
    store = economy.ledger.store
    statement = opened(economy, hot.owner, Period.month_of(clock.now_ms()))
    (part,) = statement.accounts
    with store.reading() as snapshot:
        kind = type(snapshot)
    read = kind.transfers

    def transfers(self, after_seq, to_seq, account_ids=None):
        asked.append(to_seq - after_seq)
        return read(self, after_seq, to_seq, account_ids)

    monkeypatch.setattr(kind, "transfers", transfers)
    found = lines(store, statement, part)
    first = next(found)
    assert len(asked) <= 3, "the first line comes before everything is read"
    assert first.balance == 1
    assert sum(line.credit for line in found) + 1 == 500 * 501 // 2
    assert max(asked) <= 50
