"""`bithive ledger parties | party-statement`, and the auditor's page: what is handed to those whom the ledger is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.settings import load
from economy.store_sql import SqlStore

VERIFIER = "verifier"
_PAGE = 1_000


class Form(StrEnum):
    """How a statement is written."""

    CSV = "csv"
    PDF = "pdf"


def add_to(app: typer.Typer) -> None:
    """Add the commands to `bithive ledger`."""
    app.command("parties")(parties)
    app.command("party-statement")(party_statement)


@contextmanager
def _stored() -> Iterator[SqlStore]:
    store = SqlStore(Database(load().database_url("ledger")))
    try:
        yield store
    finally:
        store.close()


def parties(
    kind: Annotated[str | None, typer.Option(help="Only of this kind: institution, operator, node.")] = None,
) -> None:
    """List everybody who owns accounts: a kind and a random id."""
    after = 0
    with _stored() as store:
        while True:
            with store.reading() as snapshot:
                found = snapshot.parties(after_id=after, limit=_PAGE, kind=kind)
            for item in found.values():
                typer.echo(f"{item.kind:<12}{item.party_id}")
            if len(found) < _PAGE:
                return
            after = max(found)


def party_statement(
    party: Annotated[str, typer.Argument(help="Id of a party (pty_...).")],
    period: Annotated[
        str, typer.Option(help="2026, 2026-10, 2026-10-03 or 2026-10-01..2026-10-15; this month if absent.")
    ] = "",
    form: Annotated[Form, typer.Option(help="How it is written.")] = Form.CSV,
    to: Annotated[Path | None, typer.Option(help="File to write; a CSV goes to standard output when absent.")] = None,
) -> None:
    """Write a party's statement: opening, every line, closing, and the seal that covers it."""
    from economy.party_statement import open_statement
    from economy.party_statement_csv import statement_csv
    from economy.party_statement_pdf import statement_pdf
    from economy.statement_period import Period

    if form is Form.PDF and to is None:
        raise typer.BadParameter("a PDF needs --to FILE")
    now_ms = SystemClock().now_ms()
    with _stored() as store:
        statement = open_statement(store, party, Period.parse(period) if period else Period.month_of(now_ms), now_ms)
        if to is None:
            for piece in statement_csv(store, statement):
                typer.echo(piece.replace("\r\n", "\n"), nl=False)
        elif form is Form.PDF:
            to.write_bytes(statement_pdf(store, statement))
        else:
            with to.open("w", newline="", encoding="utf-8") as file:
                file.writelines(statement_csv(store, statement))


def write_verifier(to: Path | None) -> None:
    """Write the page that checks checkpoints and proofs from files alone."""
    from api.pages.verifier_page import verifier_html

    if to is None:
        typer.echo(verifier_html(), nl=False)
    else:
        to.write_text(verifier_html(), encoding="utf-8", newline="")
