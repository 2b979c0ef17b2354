"""`bithive ledger`: check it, close an epoch, read it, take it away."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.commands import ledger_control, ledger_move, ledger_proofs, ledger_statements
from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.ids import RandomIds
from bithive.settings import Settings, load
from economy.check import check as replay
from economy.economy import Economy
from economy.export import FORMATS
from economy.export import export as pieces_of
from economy.ledger import Ledger
from economy.money import BTT, RU, format_amount
from economy.seal import make_seal
from economy.statement import OfferStatement, of_offer
from economy.store_sql import SqlStore

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Check, close and read the ledger.")
ledger_proofs.add_to(app)
ledger_control.add_to(app)
ledger_statements.add_to(app)
app.command("move")(ledger_move.move)
_FINDINGS_SHOWN = 50
_PROGRESS_MS = 2_000
_FORMS = (*FORMATS, ledger_statements.VERIFIER)


@contextmanager
def stored(settings: Settings) -> Iterator[SqlStore]:
    """The ledger's store, whether or not the hub runs."""
    store = SqlStore(Database(settings.database_url("ledger")))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def economy(settings: Settings) -> Iterator[Economy]:
    """The whole economy, to write into; a hub that runs may write at the same time."""
    clock = SystemClock()
    opened = Economy.open(settings, clock, RandomIds(clock))
    try:
        yield opened
    finally:
        opened.close()


@app.command()
def check(
    since: Annotated[int | None, typer.Option(help="Number of a seal: replay only what came after it.")] = None,
) -> None:
    """Replay every entry and compare; the exit code is 0 only if everything agrees."""
    with stored(load()) as store:
        checked = replay(store, since=since, progress=_progress())
    counts = (
        f"{checked.entries} entries, {checked.transfers} transfers, {checked.accounts} accounts, {checked.seals} seals"
    )
    typer.echo(f"{counts}: {len(checked.findings)} findings")
    for notice in checked.notices:
        typer.echo(f"notice: {notice.fault}  {notice.place}")
    for finding in checked.findings[:_FINDINGS_SHOWN]:
        typer.echo(f"{finding.fault}  {finding.place}", err=True)
    raise typer.Exit(1 if checked.findings else 0)


def _progress() -> Callable[[int, int], None]:
    """Says every few seconds how far a long check has come, on a terminal."""
    clock = SystemClock()
    shown_ms = clock.now_ms()

    def say(done: int, last: int) -> None:
        nonlocal shown_ms
        if sys.stderr.isatty() and clock.now_ms() - shown_ms >= _PROGRESS_MS:
            shown_ms = clock.now_ms()
            typer.echo(f"entry {done} of {last}, {100 * done // max(last, 1)} %", err=True)

    return say


@app.command()
def export(
    form: Annotated[str, typer.Argument(metavar="FORM", help=f"One of {', '.join(_FORMS)}.")],
    to: Annotated[Path | None, typer.Option(help="File to write; standard output when absent.")] = None,
) -> None:
    """Write the ledger out: its log, CSV tables, Beancount text; or the auditor's page, which checks proofs by itself."""
    if form not in _FORMS:
        raise typer.BadParameter(f"one of {', '.join(_FORMS)}")
    if form == ledger_statements.VERIFIER:
        ledger_statements.write_verifier(to)
        return
    with stored(load()) as store:
        if to is None:
            for piece in pieces_of(store, form):
                typer.echo(piece, nl=False)
            return
        with to.open("w", newline="", encoding="utf-8") as file:
            file.writelines(pieces_of(store, form))


@app.command()
def seal() -> None:
    """Sign the log and all balances as they stand."""
    with economy(load()) as opened:
        made = make_seal(opened.ledger.store, opened.key, SystemClock())
    if made is None:
        typer.echo("nothing is recorded since the last seal")
    else:
        typer.echo(f"seal {made.seal_id}: entries {made.from_seq} to {made.to_seq}, log root {made.log_root}")


@app.command("close-epoch")
def close_epoch() -> None:
    """Close the epoch under way: pay its BTT for its work units, and seal. An interrupted close is finished."""
    with economy(load()) as opened:
        closed = opened.epochs.close()
    paid, units, residue = (
        format_amount(*pair) for pair in ((closed.paid, BTT), (closed.units, RU), (closed.residue, BTT))
    )
    typer.echo(f"epoch {closed.number}: {paid} to {closed.nodes} nodes for {units}, {residue} to the reserve")
    typer.echo(f"root of the claims: {closed.claims}")


@app.command()
def balances() -> None:
    """Show every account: whose (a random id), what for, and how much."""
    table = Table("owner", "account", "net", "pending in", "pending out")
    with stored(load()) as store, store.reading() as snapshot:
        assets = snapshot.declared().assets
        for item in snapshot.accounts():
            amounts = (item.net, item.credit_pending, item.debit_pending)
            texts = (format_amount(amount, assets[item.asset_id]) for amount in amounts)
            table.add_row(item.account.owner, item.account.code, *texts)
    Console().print(table)


@app.command()
def statement(offer: Annotated[str, typer.Argument(help="Id of an Offer (off_...).")]) -> None:
    """Show what one study came to: hold, charge, its parts, and what the node earned."""
    with stored(load()) as store:
        ledger = Ledger(store, SystemClock())
        try:
            found = of_offer(ledger, offer)
        finally:
            ledger.close()
    for label, text in statement_lines(found):
        typer.echo(f"{label:<14}{text}")


def statement_lines(found: OfferStatement) -> Iterator[tuple[str, str]]:
    """A statement as pairs of label and text, for a terminal."""
    yield "state", f"{found.state}" + (f" ({found.flag})" if found.flag else "")
    yield "hold", found.text(found.hold)
    yield "charge", found.text(found.charge)
    for share in found.split:
        yield f"  {share.label}", found.text(share.amount)
    if found.work_units is not None:
        yield "work units", str(found.work_units)
        yield "receipt", found.receipt or ""
        yield "reward", f"{found.reward_text} ({found.reward_state}, epoch {found.epoch})"
