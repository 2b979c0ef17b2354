"""A statement as a PDF to file: whose, over which period, opening, lines, closing, and the seal that covers it."""

from __future__ import annotations

from dataclasses import replace

from bithive.clock import as_utc
from bithive.limits import STATEMENT_PDF_LINES_MAX
from economy.errors import StatementTooLong
from economy.party_rewards import rewards
from economy.party_rewards_pdf import reward_blocks
from economy.party_statement import AccountPart, Line, PartyStatement, lines
from economy.pdf_paper import (
    ACCENT,
    BOLD,
    BOTTOM,
    FAINT,
    FIXED,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    Block,
    Pen,
    figure,
    printed,
    wrapped,
)
from economy.store import Store

_WHAT, _DEBIT, _CREDIT = LEFT + 92, RIGHT - 160, RIGHT - 80
_WHAT_WIDTH = 208.0
_TRACE_WIDTH = RIGHT - _WHAT
_LINE, _TRACE = 11.0, 8.2
_HEADING = 22.0


def statement_pdf(store: Store, statement: PartyStatement) -> bytes:
    """The whole statement.

    Raises
    ------
    StatementTooLong
        Beyond `STATEMENT_PDF_LINES_MAX` lines; the CSV has them all.
    """
    if statement.line_count > STATEMENT_PDF_LINES_MAX:
        raise StatementTooLong(lines=statement.line_count, lines_max=STATEMENT_PDF_LINES_MAX)
    blocks = [_party(statement), *_sums(statement)]
    for part in statement.accounts:
        blocks += _account(store, statement, part)
    blocks += reward_blocks(rewards(store, statement), STATEMENT_PDF_LINES_MAX)
    blocks += _covering(statement)
    title = f"Statement {statement.period.text}, {statement.party_id}"

    def dress(pen: Pen, number: int, count: int) -> float:
        return _page(pen, statement, number, count)

    return printed(blocks, dress, title=title, subject=f"BitHive ledger, {statement.kind} {statement.party_id}")


def _page(pen: Pen, statement: PartyStatement, number: int, count: int) -> float:
    """What every page has; where its blocks begin."""
    pen.cells(LEFT + 6.5, HEIGHT - 42, 7.5)
    pen.text(LEFT + 19, HEIGHT - 46, "BitHive", 13, BOLD)
    pen.right(RIGHT, HEIGHT - 46, "Statement", 13, BOLD, ACCENT)
    pen.rule(HEIGHT - 56, ACCENT, 1.0)
    pen.rule(BOTTOM - 14)
    seal = statement.seal
    covered = (
        f"Covered by seal {seal.seal_id}, log root {seal.log_root[:16]}..." if seal else "Not all of it is sealed yet"
    )
    pen.text(LEFT, BOTTOM - 25, f"{statement.party_id}, {statement.period.text}. {covered}.", 7, colour=FAINT)
    pen.right(RIGHT, BOTTOM - 25, f"Page {number} of {count}", 7, colour=FAINT)
    return TOP - 18


def _party(statement: PartyStatement) -> Block:
    period = statement.period
    rows = (
        ("Party", f"{statement.kind.capitalize()} {statement.party_id}"),
        ("Period", f"{period.first_day} to {period.last_day}, by booking date in UTC"),
        ("Entries of the log", _entries(statement)),
        (
            "Made",
            _moment(statement.made_ms) + (", before the period ended" if period.to_ms > statement.made_ms else ""),
        ),
    )

    def draw(pen: Pen, y: float) -> None:
        for place, (name, text) in enumerate(rows):
            pen.text(LEFT, y - 12 - 13 * place, name, 8.5, colour=FAINT)
            pen.text(_WHAT, y - 12 - 13 * place, text, 9.5 if place == 0 else 8.5, BOLD if place == 0 else "Helvetica")

    return Block(13.0 * len(rows) + 14, draw)


def _entries(statement: PartyStatement) -> str:
    if statement.to_seq == statement.after_seq:
        return "none in this period"
    return f"{statement.after_seq + 1} to {statement.to_seq}"


def _sums(statement: PartyStatement) -> list[Block]:
    """One row an account, with the sums stated."""
    if not statement.accounts:
        return [_sentence("Nothing was booked for this party up to the end of this period.")]
    columns = (RIGHT - 240, RIGHT - 160, RIGHT - 80, RIGHT)

    def head(pen: Pen, y: float) -> None:
        pen.band(y - 16, 16)
        pen.text(LEFT + 4, y - 11, "Account", 7.5, BOLD, FAINT)
        for x, name in zip(columns, ("Opening", "Debits", "Credits", "Closing"), strict=True):
            pen.right(x - 3, y - 11, name, 7.5, BOLD, FAINT)

    def row(part: AccountPart) -> Block:
        def draw(pen: Pen, y: float) -> None:
            pen.text(LEFT + 4, y - 11, f"{_name(part)}", 8.5, BOLD)
            for x, amount in zip(columns, (part.opening, part.debits, part.credits, part.closing), strict=True):
                pen.right(x - 3, y - 11, _amount(part, amount), 8.5, BOLD if x == RIGHT else "Helvetica")
            pen.rule(y - 16)

        return Block(16.0, draw)

    said = "Closing is opening plus credits less debits. Credits are what the ledger owes the party or lets it spend."
    return [Block(16.0, head, keep=1), *map(row, statement.accounts), _sentence(said)]


def _account(store: Store, statement: PartyStatement, part: AccountPart) -> list[Block]:
    def title(pen: Pen, y: float) -> None:
        pen.text(LEFT, y - 26, _name(part), 11, BOLD)
        pen.text(LEFT, y - 37, f"{part.meaning}. Amounts in {part.asset.code}.", 7.5, colour=FAINT)

    def head(pen: Pen, y: float) -> None:
        pen.band(y - 16, 16)
        for x, name in ((LEFT + 4, "Booked (UTC)"), (_WHAT, "What for")):
            pen.text(x, y - 11, name, 7.5, BOLD, FAINT)
        for x, name in ((_DEBIT, "Debit"), (_CREDIT, "Credit"), (RIGHT, "Balance")):
            pen.right(x - 3, y - 11, name, 7.5, BOLD, FAINT)

    opening = _bound(
        part, statement.period.first_day, "Opening balance", part.opening, part.reserved_opening, sums=False
    )
    closing = _bound(
        part, statement.period.last_day, _closing(statement), part.closing, part.reserved_closing, sums=True
    )
    top = Block(16.0, head, keep=2)
    rows = [_line(part, line, top) for line in lines(store, statement, part)]
    if not rows:
        rows = [_sentence("No lines in this period.", _WHAT)]
    return [Block(42.0, title, keep=3), top, opening, *rows, replace(closing, head=top)]


def _closing(statement: PartyStatement) -> str:
    return "Balance so far" if statement.period.to_ms > statement.made_ms else "Closing balance"


def _bound(part: AccountPart, day: str, words: str, amount: int, reserved: int, *, sums: bool) -> Block:
    text = f"{words}; {_amount(part, reserved)} of it reserved" if reserved else words

    def draw(pen: Pen, y: float) -> None:
        pen.text(LEFT + 4, y - 11, day, 8.5, BOLD)
        pen.text(_WHAT, y - 11, text, 8.5, BOLD)
        if sums:
            pen.right(_DEBIT - 3, y - 11, _amount(part, part.debits), 8.5, BOLD)
            pen.right(_CREDIT - 3, y - 11, _amount(part, part.credits), 8.5, BOLD)
        pen.right(RIGHT - 3, y - 11, _amount(part, amount), 8.5, BOLD)
        pen.rule(y - 16)

    return Block(16.0, draw)


def _line(part: AccountPart, line: Line, head: Block) -> Block:
    said, trace = wrapped(_words(part, line), _WHAT_WIDTH), wrapped(_trace(line), _TRACE_WIDTH, 6.3)
    value = as_utc(line.value_ms).strftime("%Y-%m-%d")
    booked = as_utc(line.booked_us // 1000).strftime("%Y-%m-%d %H:%M:%S")
    height = max(_LINE * len(said) + _TRACE * len(trace) + 6, 26.0)

    def draw(pen: Pen, y: float) -> None:
        pen.text(LEFT + 4, y - 11, booked, 8)
        if value != booked[:10]:
            pen.text(LEFT + 4, y - 20, f"value {value}", 6.8, colour=FAINT)
        for place, text in enumerate(said):
            pen.text(_WHAT, y - 11 - _LINE * place, text)
        for x, amount in ((_DEBIT, line.debit), (_CREDIT, line.credit)):
            if amount:
                pen.right(x - 3, y - 11, _amount(part, amount))
        pen.right(RIGHT - 3, y - 11, _amount(part, line.balance))
        for place, text in enumerate(trace):
            pen.text(_WHAT, y - 9 - _LINE * len(said) - _TRACE * place, text, 6.3, colour=FAINT)
        pen.rule(y - height)

    return Block(height, draw, head=head)


def _words(part: AccountPart, line: Line) -> str:
    held = []
    if line.reserved:
        held.append(f"{_amount(part, abs(line.reserved))} {'reserved' if line.reserved > 0 else 'no longer reserved'}")
    if line.expected:
        held.append(f"{_amount(part, abs(line.expected))} {'expected' if line.expected > 0 else 'no longer expected'}")
    return "; ".join([line.words, *held])


def _trace(line: Line) -> str:
    """Where it is found again: entry, receipt, seal."""
    receipt = f", receipt {line.receipt}" if line.receipt and line.receipt not in line.entry_id else ""
    sealed = f"seal {line.seal_id}" if line.seal_id else "not sealed yet"
    return f"No. {line.seq}, {line.entry_id}{receipt}, {sealed}, with {line.other}"


def _covering(statement: PartyStatement) -> list[Block]:
    """The seal that an auditor checks it against."""
    seal = statement.seal
    if seal is None:
        text = "Not all of this statement is covered by a seal yet: lines may be added until the period ends and a seal is made."
        return [_title("Seal"), _sentence(text)]
    rows = (
        ("Seal", f"{seal.seal_id}, over the first {seal.to_seq} entries of the log"),
        ("Signed", _moment(seal.sealed_ms)),
        ("By key", seal.public_key),
        ("Root of the log", seal.log_root),
        ("Root of the balances", seal.state_root),
    )

    def draw(pen: Pen, y: float) -> None:
        for place, (name, text) in enumerate(rows):
            pen.text(LEFT, y - 10 - 12 * place, name, 8, colour=FAINT)
            pen.text(_WHAT, y - 10 - 12 * place, text, 7.5, FIXED if len(text) == 64 else "Helvetica")

    said = (
        "Every line names its entry in the log. That an entry is in the log that this seal signs is shown by its inclusion "
        "proof, which the ledger's auditor page checks without the ledger."
    )
    return [
        _title("The seal that covers this statement", keep=2),
        Block(12.0 * len(rows) + 6, draw, keep=1),
        _sentence(said),
    ]


def _title(text: str, keep: int = 1) -> Block:
    return Block(30.0, lambda pen, y: pen.text(LEFT, y - 24, text, 11, BOLD), keep)


def _sentence(text: str, x: float = LEFT) -> Block:
    rows = wrapped(text, RIGHT - x, 7.5)

    def draw(pen: Pen, y: float) -> None:
        for place, row in enumerate(rows):
            pen.text(x, y - 12 - 10 * place, row, 7.5, colour=FAINT)

    return Block(10.0 * len(rows) + 8, draw)


def _name(part: AccountPart) -> str:
    return f"{part.account.code.replace('-', ' ').capitalize()}, {part.asset.code}"


def _amount(part: AccountPart, amount: int) -> str:
    return figure(amount, part.asset.scale)


def _moment(ms: int) -> str:
    return as_utc(ms).strftime("%Y-%m-%d %H:%M:%S UTC")
