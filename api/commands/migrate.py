"""`bithive migrate`: bring the databases to this version's schema."""

from __future__ import annotations

import typer

from api.databases import OF_ROLE, upgrade
from api.startup import lock_state
from bithive.settings import load

app = typer.Typer(add_completion=False)


@app.command()
def migrate() -> None:
    """Bring every database of this role to this version's schema. `bithive serve` does the same when it starts."""
    settings = load()
    with lock_state(settings.state):
        for name in OF_ROLE[settings.role]:
            upgrade(settings, name).close()
            typer.echo(f"{name}: up to date")
