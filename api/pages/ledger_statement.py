"""A party's statement as a page, as CSV and as PDF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from api.deps import ServicesDep
from api.ledger_access import OWN, OwnerDep, own_party, visible_party
from api.pages import ledger_words as said
from api.pages.faults import PageRoute
from api.pages.ledger_rewards import reward_shown
from api.pages.ledger_seals import SealLines, seal_lines
from api.pages.render import page
from api.services import Services
from economy.entry import Phase
from economy.errors import AccountUnknown
from economy.party_rewards import rewards
from economy.party_statement import AccountPart, Line, PartyStatement, lines, open_statement
from economy.party_statement_csv import statement_csv
from economy.statement_period import Period

router = APIRouter(route_class=PageRoute, include_in_schema=False)
LINES_SHOWN, LINES_A_PAGE = 25, 200
PeriodDep = Annotated[str | None, Query(max_length=32)]


class LineShown(NamedTuple):
    """A line as shown; amounts as text, empty where nothing moved."""

    booked: str
    value_day: str
    words: str
    other: str
    entry_id: str
    proof: str
    receipt: str
    seal_id: int | None
    debit: str
    credit: str
    held: str
    balance: str


class PartShown(NamedTuple):
    """An account's part as shown."""

    name: str
    heading: str
    unit: str
    meaning: str
    opening: str
    debits: str
    credits: str
    closing: str
    reserved: str
    expected: str
    line_count: int
    lines: list[LineShown]
    further: str
    """Address of the lines that are not shown; empty when all are."""
    proof: str


@router.get("/ledger/statements/{party}.csv")
def statement_as_csv(services: ServicesDep, principal: OwnerDep, party: str, period: PeriodDep = None) -> Response:
    """Every line, streamed."""
    statement = _statement(services, visible_party(services, principal, party), period)
    pieces = (piece.encode() for piece in statement_csv(services.ledger.store, statement))
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=_named(statement, "csv"))


@router.get("/ledger/statements/{party}.pdf")
def statement_as_pdf(services: ServicesDep, principal: OwnerDep, party: str, period: PeriodDep = None) -> Response:
    """A document to file. Raises `StatementTooLong`."""
    from economy.party_statement_pdf import statement_pdf

    statement = _statement(services, visible_party(services, principal, party), period)
    content = statement_pdf(services.ledger.store, statement)
    return Response(content, media_type="application/pdf", headers=_named(statement, "pdf"))


@router.get("/ledger/statements/{party}")
def statement_page(
    request: Request,
    services: ServicesDep,
    principal: OwnerDep,
    party: str,
    period: PeriodDep = None,
    account: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[int, Query(ge=0, lt=2**53)] = 0,
) -> Response:
    """Balances and lines; one account's lines alone when `account` names it.

    Raises
    ------
    PartyUnknown
        If the party is not the caller's to see.
    AccountUnknown
        If it has no such account in this period.
    """
    own = own_party(services, principal)
    if party == OWN and own is None and "ledger:read" not in principal.scopes:
        return page(request, "ledger_none.html", here="ledger")
    statement = _statement(services, visible_party(services, principal, party), period)
    if account is not None and statement.part(account) is None:
        raise AccountUnknown
    parts = [item for item in statement.accounts if account in (None, _name(item))]
    shown = [_part(services, statement, own, item, after if account else 0, account is not None) for item in parts]
    return page(
        request,
        "ledger_statement.html",
        here="ledger",
        statement=statement,
        kind=said.kind(statement.kind),
        is_own=statement.party_id == own,
        running=statement.period.to_ms > services.clock.now_ms(),
        parts=shown,
        account=account,
        after=after,
        base=f"/ledger/statements/{statement.party_id}",
        earlier=statement.period.before().text,
        later=statement.period.after().text,
        seal=_seal(services, statement),
        rewards=[reward_shown(item) for item in rewards(services.ledger.store, statement)] if not account else [],
    )


def _statement(services: Services, party: str, period: str | None) -> PartyStatement:
    now_ms = services.clock.now_ms()
    wanted = Period.month_of(now_ms) if not period else Period.parse(period)
    return open_statement(services.ledger.store, party, wanted, now_ms)


def _part(
    services: Services, statement: PartyStatement, own: str | None, part: AccountPart, after: int, alone: bool
) -> PartShown:
    store, many = services.ledger.store, LINES_A_PAGE if alone else LINES_SHOWN
    found, more = _taken(lines(store, statement, part, after or None), many)
    with store.reading() as snapshot:
        kinds = said.kinds_of(snapshot, {line.other.partition(":")[0] for line in found})
    query = {"period": statement.period.text, "account": _name(part)} | (
        {"after": found[-1].seq} if alone and more else {}
    )
    seal = statement.seal
    return PartShown(
        name=_name(part),
        heading=said.heading(part.account.code),
        unit=said.unit(part.asset),
        meaning=part.meaning,
        opening=said.amount(part.opening, part.asset),
        debits=said.amount(part.debits, part.asset),
        credits=said.amount(part.credits, part.asset),
        closing=said.amount(part.closing, part.asset),
        reserved=said.amount(part.reserved_closing, part.asset) if part.reserved_closing else "",
        expected=said.amount(part.expected_closing, part.asset) if part.expected_closing else "",
        line_count=part.line_count,
        lines=[_line(part, line, kinds, own) for line in found],
        further=f"?{urlencode(query)}" if more else "",
        proof=f"/ledger/proofs/balance/{part.account}?seal={seal.seal_id}" if seal and seal.version > 1 else "",
    )


def _taken(found: Iterator[Line], many: int) -> tuple[list[Line], bool]:
    """At least `many` lines, never part of an entry, and whether there are more."""
    taken: list[Line] = []
    for line in found:
        if len(taken) >= many and line.seq != taken[-1].seq:
            return taken, True
        taken.append(line)
    return taken, False


def _line(part: AccountPart, line: Line, kinds: dict[str, str], own: str | None) -> LineShown:
    owner, _, code = line.other.partition(":")
    value_day = said.day(line.value_ms)
    return LineShown(
        booked=said.booked(line.booked_us),
        value_day=value_day if value_day != said.day(line.booked_us // 1000) else "",
        words=line.words,
        other=f"{said.party(owner, kinds, own)}, {said.heading(code).lower()}",
        entry_id=line.entry_id,
        proof=line.proof,
        receipt=line.receipt or "",
        seal_id=line.seal_id,
        debit=said.amount(line.debit, part.asset) if line.debit else "",
        credit=said.amount(line.credit, part.asset) if line.credit else "",
        held=_held(part, line),
        balance=said.amount(line.balance, part.asset),
    )


def _held(part: AccountPart, line: Line) -> str:
    """What a line did to holds, in words."""
    change = line.reserved or line.expected
    if not change:
        return ""
    text = said.amount(abs(change), part.asset)
    if line.phase is Phase.PENDING:
        return f"{text} {'reserved' if line.reserved else 'expected'}"
    return f"{text} {'no longer reserved' if line.reserved else 'no longer expected'}"


def _seal(services: Services, statement: PartyStatement) -> SealLines | None:
    if statement.seal is None:
        return None
    with services.ledger.store.reading() as snapshot:
        cosigned = snapshot.cosignatures([statement.seal.seal_id])
    return seal_lines(services.settings.network.witnesses, statement.seal, cosigned)


def _name(part: AccountPart) -> str:
    return f"{part.account.code}:{part.account.asset}"


def _named(statement: PartyStatement, ending: str) -> dict[str, str]:
    name = f"statement-{statement.party_id}-{statement.period.text}.{ending}"
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
