"""`bithive ledger move`: to another database, with every root, seal and cosignature as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from api.startup import lock_state
from bithive.database_sql import Database
from bithive.settings import load
from economy.check import check
from economy.errors import MoveDiffers
from economy.store_sql import SqlStore


def move(
    to: Annotated[str, typer.Option(help="SQLAlchemy address of a database without a ledger.")],
    source: Annotated[
        str | None, typer.Option("--from", help="Address to move from; the setting's when absent.")
    ] = None,
) -> None:
    """Move the ledger to another database (SQLite, PostgreSQL), checked before it counts; the hub must be stopped."""
    from economy.moving_sql import move as move_rows

    settings = load()
    with lock_state(settings.state):
        here, there = Database(source or settings.database_url("ledger")), Database(to)
        try:
            moved = move_rows(here, there, lambda line: typer.echo(line))
        finally:
            here.close()
        store = SqlStore(there)
        try:
            checked = check(store)
        finally:
            store.close()
    if checked.findings:
        raise MoveDiffers(f"the ledger arrived as it was, and does not pass its check: {checked.findings[0].fault}")
    typer.echo(
        f"{'was there already' if moved.before else 'moved'}: {checked.entries} entries, {checked.transfers} transfers,"
        f" {checked.seals} seals, 0 findings"
    )
    typer.echo("now set BITHIVE_NETWORK__LEDGER_DATABASE_URL to the new address; the old ledger takes no more entries")
