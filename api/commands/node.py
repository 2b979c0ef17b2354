"""`bithive node`: contribute this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from bithive.errors import BadSettings
from bithive.log import configure
from bithive.settings import load

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Contribute this machine: run a cell.")


@app.callback()
def _group() -> None:
    """Contribute this machine: run a cell."""


@app.command()
def run(
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process ends.")] = None,
) -> None:
    """Run a cell on this machine until it is told to stop: it pulls work, runs it under Ray Serve, and signs receipts.

    It needs BITHIVE_CELL__HUB_URL and BITHIVE_CELL__TOKEN (from `bithive account add NAME --role cell` on the hub).
    """
    from api.startup import check_interpreter, check_packages, check_peers, check_runtimes
    from api.supervise import die_with

    if parent is not None:
        die_with(parent)
    settings = load()
    configure(settings.log_level)
    check_interpreter()
    check_packages()
    check_runtimes()
    check_peers(settings)
    if settings.cell.hub_url is None or settings.cell.token is None:
        raise BadSettings("a cell needs BITHIVE_CELL__HUB_URL and BITHIVE_CELL__TOKEN")
    from cluster.cell import run_cell

    raise typer.Exit(run_cell(settings))
