"""`bithive ledger control | officers | trial-balance | close-period`: what takes two officers, and the books by the month.

`control approve` and `control officer-key` need no ledger and no settings: an officer runs them elsewhere, with a key
that the hub never sees.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bithive.canonical import canonical
from bithive.clock import SystemClock
from bithive.database_sql import Database
from bithive.ids import RandomIds
from bithive.keys import SigningKey
from bithive.settings import load
from economy.control import is_dual
from economy.drafts import (
    approve_draft,
    described,
    draft_key,
    draft_policy,
    draft_revocation,
    read_draft,
    withdrawal,
    write_draft,
)
from economy.economy import Economy
from economy.entry import Entry, Party, Policy
from economy.errors import BadPolicy
from economy.money import decimal_text
from economy.periods import close_period, trial_balance
from economy.store import Snapshot, seq_at
from economy.store_sql import SqlStore

control = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Draft, approve and submit what takes two officers."
)
drafting = typer.Typer(add_completion=False, no_args_is_help=True, help="Write a draft for two officers to approve.")
control.add_typer(drafting, name="draft")

DraftArgument = Annotated[Path, typer.Argument(metavar="DRAFT", exists=True, dir_okay=False, help="File of a draft.")]
ToOption = Annotated[Path | None, typer.Option("--to", help="File to write; standard output when absent.")]
KeyOption = Annotated[Path, typer.Option("--key", help="The officer's key file.")]


def add_to(app: typer.Typer) -> None:
    """Give `bithive ledger` these commands."""
    app.add_typer(control, name="control")
    app.command()(officers)
    app.command("trial-balance")(print_trial_balance)
    app.command("close-period")(close_month)


@control.command("officer-key")
def officer_key(to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to keep the secret key.")]) -> None:
    """Make an officer's key, or read it; prints its public half, which goes into a draft."""
    typer.echo(SigningKey.load_or_create(to).public_hex)


@drafting.command("policy")
def policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A policy, as JSON.")],
    to: ToOption = None,
) -> None:
    """Propose a policy: kind, version, effective_from_ms and content."""
    with _snapshot() as snapshot:
        _write(draft_policy(_read_policy(file), snapshot.signing_keys()), to)


@drafting.command("released")
def released(
    kind: Annotated[str, typer.Argument(help="Kind of a policy that came with this release.")],
    version: Annotated[int, typer.Argument(help="Its version.")],
    to: ToOption = None,
) -> None:
    """Propose a policy that came with this release and waits (`control waiting`)."""
    from economy import policies

    with _snapshot() as snapshot:
        found = [item for item in policies.load() if (item.kind, item.version) == (kind, version)]
        if not found:
            raise BadPolicy("this release has no such policy")
        _write(draft_policy(found[0], snapshot.signing_keys()), to)


@drafting.command("officer")
def officer(
    public_key: Annotated[str, typer.Argument(help="Public key, hexadecimal, as `control officer-key` prints it.")],
    to: ToOption = None,
) -> None:
    """Propose an officer, as a new party of its own."""
    _draft_key(public_key, "officer", to)


@drafting.command("seal-key")
def seal_key(
    public_key: Annotated[str, typer.Argument(help="Public key, hexadecimal, of the hub's new ledger.key.")],
    to: ToOption = None,
) -> None:
    """Propose another key that seals."""
    _draft_key(public_key, "seal", to)


@drafting.command("revoke")
def revoke(public_key: Annotated[str, typer.Argument(help="Public key, hexadecimal.")], to: ToOption = None) -> None:
    """Propose to end a key for ever."""
    with _snapshot() as snapshot:
        _write(draft_revocation(public_key, snapshot.signing_keys()), to)


@control.command("show")
def show(draft: DraftArgument) -> None:
    """Say what a draft would do, and who has approved it."""
    entry = read_draft(draft.read_bytes())
    for line in described(entry):
        typer.echo(line)


@control.command("approve")
def approve(
    draft: DraftArgument,
    key: KeyOption,
    ledger: Annotated[
        str | None, typer.Option(help="Name of the ledger you mean; any that the draft names when absent.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Approve a draft: shows it, asks, and writes your signature into the file."""
    entry = read_draft(draft.read_bytes())
    approved = approve_draft(entry, SigningKey.load_or_create(key) if key.exists() else _no_key(key), ledger)
    for line in described(entry):
        typer.echo(line)
    if not yes:
        typer.confirm("Approve exactly this?", abort=True)
    draft.write_text(write_draft(approved), encoding="utf-8")
    typer.echo(f"approved: {sum(name.startswith('approval-') for name in approved.facts)} of 2")


@control.command("submit")
def submit(draft: DraftArgument) -> None:
    """Record an approved draft. Safe to repeat."""
    entry = read_draft(draft.read_bytes())
    with _economy() as opened:
        recorded = opened.ledger.post(entry)
    typer.echo(f"entry {recorded.seq}: {entry.entry_id}" + (" (was recorded before)" if recorded.replayed else ""))


@control.command("withdraw")
def withdraw(draft: DraftArgument) -> None:
    """Make sure that a draft is never recorded, whoever approved it."""
    entry = read_draft(draft.read_bytes())
    with _economy() as opened:
        recorded = opened.ledger.post(withdrawal(entry))
    typer.echo(f"entry {recorded.seq}: {entry.entry_id} is withdrawn")


@control.command("waiting")
def waiting() -> None:
    """List the policies of this release that are not in the ledger, and wait for two officers."""
    with _economy() as opened:
        for item in opened.waiting:
            typer.echo(f"{item.kind} {item.version}, in force from {item.effective_from_ms} ms, {item.digest[:16]}")
        if not opened.waiting:
            typer.echo("nothing waits")


def officers() -> None:
    """List all keys: who may approve, who seals, and what is revoked."""
    table = Table("purpose", "public key", "party", "since entry", "revoked by entry")
    with _snapshot() as snapshot:
        keys = snapshot.signing_keys()
    for row in sorted(keys.values(), key=lambda row: (row.purpose, row.declared_seq)):
        revoked = "" if row.revoked_seq is None else str(row.revoked_seq)
        table.add_row(row.purpose, row.public_key, row.party_id, str(row.declared_seq), revoked)
    Console(width=200).print(table)
    typer.echo("two officers decide" if is_dual(keys) else "fewer than two officers: one person decides alone")


def print_trial_balance(
    at: Annotated[int | None, typer.Option(help="Entry of the log; the last when absent.")] = None,
    at_ms: Annotated[
        int | None, typer.Option("--at-ms", help="Time, in milliseconds since 1970, instead of an entry.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated instead of a table.")] = False,
) -> None:
    """Sum every account by asset and code: debits equal credits, posted and pending, or exit code 1."""
    store = SqlStore(Database(load().database_url("ledger")))
    try:
        with store.reading() as snapshot:
            assets = {asset.code: asset.scale for asset in snapshot.assets().values()}
            seq = seq_at(snapshot, at_ms * 1000) if at_ms is not None else at
        found = trial_balance(store, seq)
    finally:
        store.close()
    heads = ("asset", "code", "debit pending", "debit posted", "credit pending", "credit posted")
    rows = [(line.asset, line.code, *(decimal_text(n, assets[line.asset]) for n in line[2:])) for line in found.lines]
    rows += [
        (asset, "total", *(decimal_text(n, assets[asset]) for n in total)) for asset, total in found.totals.items()
    ]
    if as_csv:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([heads, *rows])
        typer.echo(text.getvalue(), nl=False)
    else:
        table = Table(*heads, title=f"entry {found.seq}, digest {found.digest}")
        for row in rows:
            table.add_row(*row)
        Console(width=140).print(table)
    raise typer.Exit(0 if found.adds_up else 1)


def close_month(
    period: Annotated[str, typer.Argument(help="A month that has ended: 2026-10.")], to: ToOption = None
) -> None:
    """Close a month: recorded at once while there are no two officers, else written as a draft for them."""
    with _economy() as opened:
        entry = close_period(opened.ledger.store, period, SystemClock().now_ms())
        with opened.ledger.store.reading() as snapshot:
            dual = is_dual(snapshot.signing_keys())
        if dual:
            _write(entry, to)
        else:
            recorded = opened.ledger.post(entry)
            typer.echo(f"entry {recorded.seq}: {period} is closed, trial balance {entry.facts['trial_balance']}")


def _draft_key(public_key: str, purpose: str, to: Path | None) -> None:
    party = Party(RandomIds(SystemClock()).new("pty"), purpose)
    with _snapshot() as snapshot:
        _write(draft_key(public_key, purpose, party, snapshot.signing_keys()), to)


def _read_policy(file: Path) -> Policy:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        content = canonical(value["content"]).decode()
        return Policy(value["kind"], value["version"], value["effective_from_ms"], content)
    except (KeyError, TypeError, ValueError) as error:
        raise BadPolicy(f"{file.name} is not a policy") from error


def _no_key(path: Path) -> SigningKey:
    raise typer.BadParameter(f"there is no key at {path}; make one with `control officer-key`")


def _write(entry: Entry, to: Path | None) -> None:
    if to is None:
        typer.echo(write_draft(entry), nl=False)
    else:
        to.write_text(write_draft(entry), encoding="utf-8")
        typer.echo(f"draft of {entry.entry_id} written")


@contextmanager
def _snapshot() -> Iterator[Snapshot]:
    store = SqlStore(Database(load().database_url("ledger")))
    try:
        with store.reading() as snapshot:
            yield snapshot
    finally:
        store.close()


@contextmanager
def _economy() -> Iterator[Economy]:
    clock = SystemClock()
    opened = Economy.open(load(), clock, RandomIds(clock))
    try:
        yield opened
    finally:
        opened.close()
