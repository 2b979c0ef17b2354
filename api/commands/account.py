"""`bithive account`: who may sign in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.accounts import Accounts
from api.accounts_sql import SqlAccountStore
from api.auth import SCOPES
from api.invites import Wanted, make_invite
from api.sessions import enter_path
from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.errors import BadInput
from bithive.ids import RandomIds
from bithive.limits import INVITE_LIFETIME_S, LINK_LIFETIME_S
from bithive.settings import Settings, load
from cluster.register_sql import registrar

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Who may sign in: add, list, disable, link; invite, revoke-cell, revoke-node.",
)
MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


@contextmanager
def opened(settings: Settings) -> Iterator[Accounts]:
    """The accounts of the hub with these settings, whether or not it runs."""
    database = Database(settings.database_url("accounts"))
    try:
        database.upgrade(MIGRATIONS)
        clock = SystemClock()
        yield Accounts(SqlAccountStore(database), clock, RandomIds(clock))
    finally:
        database.close()


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Letters, digits and . _ - @")],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(SCOPES)}.")],
    institution: Annotated[
        str | None,
        typer.Option(help="Whose: ins_..., or `own` for this hub's; cells and auditors have none unless told."),
    ] = None,
) -> None:
    """Create an account and print its bearer token, this once."""
    with opened(load()) as accounts:
        whose = accounts.institution() if institution == "own" else institution
        typer.echo(accounts.token(accounts.add(name, role, whose)))


@app.command()
def token(name: str) -> None:
    """Replace the bearer token of an account and print the new one, this once.

    A cell that joined without an invite may come with another key then: its next signed hello says which.
    """
    settings, clock = load(), SystemClock()
    with opened(settings) as accounts:
        account = accounts.named(name)
        if account.role == "cell":
            with registrar(settings, clock, RandomIds(clock)) as register:
                register.release(account.cell or "")
        typer.echo(accounts.token(account))


@app.command("list")
def show() -> None:
    """List the accounts."""
    table = Table("name", "role", "institution", "state")
    with opened(load()) as accounts:
        for account in accounts.all():
            state = "disabled" if account.disabled else "active"
            table.add_row(account.name, account.role, account.institution or account.cell or "", state)
    Console().print(table)


@app.command()
def disable(name: str) -> None:
    """Void every credential of an account, for ever."""
    with opened(load()) as accounts:
        accounts.disable(name)


@app.command()
def invite(
    cell: Annotated[str, typer.Option(help="Name of the cell's account; made if there is none.")],
    institution: Annotated[
        str | None, typer.Option(help="Whose own cell: ins_..., or `own` for this hub's; a contributor's has none.")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="home, workstation, datacenter or hospital.")] = None,
    residency: Annotated[str, typer.Option(help="Country, two letters (ISO 3166-1).")] = "",
    data_class_max: Annotated[
        str | None, typer.Option(help="P0 to P3; as much as the other options allow when absent.")
    ] = None,
    vetted: Annotated[bool, typer.Option("--vetted", help="The network has vetted its operator.")] = False,
    operator: Annotated[str | None, typer.Option(help="Who is paid; the cell's name when absent.")] = None,
    hub_url: Annotated[str | None, typer.Option(help="Address of this hub; as set when absent.")] = None,
) -> None:
    """Print one line with which a machine joins as a cell, once; earlier ones of that cell are void."""
    settings = load()
    wanted = Wanted(cell, institution, tier, residency, data_class_max, vetted, operator or cell)
    with opened(settings) as accounts:
        made = make_invite(settings, accounts, wanted, hub_url or public_url(settings))
    typer.echo(made.line())
    typer.echo(f"valid once, for {INVITE_LIFETIME_S / 86_400:.0f} days", err=True)


@app.command()
def revoke_cell(name: str) -> None:
    """Refuse everything that a cell's key signs, from now on; only a new invite changes that."""
    settings, clock = load(), SystemClock()
    with opened(settings) as accounts, registrar(settings, clock, RandomIds(clock)) as register:
        account = accounts.named(name)
        if account.cell is None or account.role != "cell":
            raise BadInput("the account is no cell's")
        register.revoke_cell(account.cell)


@app.command()
def revoke_node(node: str) -> None:
    """Refuse everything that the key of a node (nod_...) signs, from now on, and for ever."""
    settings, clock = load(), SystemClock()
    with registrar(settings, clock, RandomIds(clock)) as register:
        register.revoke_node(node)


@app.command()
def link(name: str) -> None:
    """Print a link that signs this person in once, in a browser."""
    settings = load()
    with opened(settings) as accounts:
        path = enter_path(accounts.link(accounts.named(name)))
    typer.echo(f"{public_url(settings)}{path}")
    typer.echo(f"valid once, for {LINK_LIFETIME_S / 60:.0f} minutes", err=True)


def public_url(settings: Settings) -> str:
    """The address that people reach the hub by, without a slash at its end."""
    if settings.http.public_url:
        return settings.http.public_url.rstrip("/")
    scheme = "https" if settings.http.tls_certificate else "http"
    host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
    return f"{scheme}://{host}:{settings.http.port}"
