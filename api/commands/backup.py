"""`bithive backup`: take cuts of a hub that runs, look after them, and make a state folder out of one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.backup.cut import Cut
from api.backup.errors import BackupBusy, BackupFull
from api.backup.keyring import read_passphrase
from api.backup.pruning import prune as prune_cuts
from api.backup.restoring import Wish, fetch_blobs
from api.backup.restoring import restore as restore_cut
from api.backup.restoring import verify as verify_cuts
from api.backup.taking import ALL_BLOBS, Backup, Means
from api.backup.vault import Vault
from bithive.clock import SystemClock, as_iso
from bithive.errors import BadInput
from bithive.ids import RandomIds
from bithive.settings import load

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Back up a hub that runs, and restore it.")

_FOLDER = Annotated[Path, typer.Argument(help="The folder of backups; not on the disk of the state folder.")]
_KEYS_HELP = "File (mode 600) whose first line is the passphrase of the keys."
_DAY_MS = 86_400_000
_DAMAGE_SHOWN = 50


@contextmanager
def _backup(to: Path, keys: Path | None, follow: bool) -> Iterator[Backup]:
    clock = SystemClock()
    passphrase = None if keys is None else read_passphrase(keys)
    means = Means(load(), Vault.create(to), clock, RandomIds(clock), passphrase)
    with Backup.opened(means, follow) as backup:
        yield backup


@app.command()
def create(
    to: _FOLDER, with_keys: Annotated[Path | None, typer.Option(metavar="FILE", help=_KEYS_HELP)] = None
) -> None:
    """Take one cut that stands alone, while the hub runs; only what is not in the backup yet is copied."""
    with _backup(to, with_keys, follow=False) as backup:
        cut = backup.cut()
    _tell(cut)
    if with_keys is None:
        typer.echo("the keys are not in it: keep a copy of the folder `keys`, or give --with-keys", err=True)
    raise typer.Exit(1 if cut.missing else 0)


@app.command()
def run(
    to: _FOLDER,
    every: Annotated[float, typer.Option(min=1.0, help="Seconds from one cut to the next.")] = 10.0,
    full: Annotated[float, typer.Option(min=0.1, help="Hours from one cut that stands alone to the next.")] = 24.0,
    keep: Annotated[float, typer.Option(min=0.0, help="Days that cuts are kept; 0 for ever.")] = 0.0,
    with_keys: Annotated[Path | None, typer.Option(metavar="FILE", help=_KEYS_HELP)] = None,
    cuts: Annotated[int, typer.Option(hidden=True, help="End after that many.")] = 0,
) -> None:
    """Take a cut every few seconds until a signal ends it: the hub can be restored to any of these moments."""
    clock, stop, taken = SystemClock(), threading.Event(), 0
    next_full_ms = 0
    with _backup(to, with_keys, follow=True) as backup:
        while not stop.is_set() and (not cuts or taken < cuts):
            start_s = clock.monotonic_s()
            whole = clock.now_ms() >= next_full_ms
            try:
                cut = backup.cut(full=whole)
            except (BackupBusy, BackupFull) as error:
                typer.echo(f"{as_iso(clock.now_ms())}  no cut: {error.detail} [{error.code}]", err=True)
            else:
                taken += 1
                _tell(cut)
                if not cut.base:
                    next_full_ms = clock.now_ms() + round(full * 3_600_000)
                    if keep:
                        prune_cuts(backup.writer, clock.now_ms() - round(keep * _DAY_MS))
            stop.wait(max(0.0, every - (clock.monotonic_s() - start_s)) if not cuts or taken < cuts else 0)


@app.command("list")
def list_cuts(to: _FOLDER) -> None:
    """List cuts: the moment, whether it stands alone, files of the archive, how long writers waited."""
    vault, table, bad = Vault(to), Table("moment", "cut", "kind", "files", "missing", "held ms"), 0
    for name in vault.names():
        try:
            cut = vault.cut(name)
        except (BadInput, Exception) as error:  # noqa: BLE001 - one bad manifest hides no other
            table.add_row("", name, getattr(error, "code", "unreadable"), "", "", "")
            bad += 1
            continue
        kind = "adds to the one before" if cut.base else "stands alone"
        table.add_row(as_iso(cut.at_ms), cut.cut_id, kind, str(cut.blob_count), str(len(cut.missing)), str(cut.held_ms))
    Console().print(table)
    raise typer.Exit(1 if bad else 0)


@app.command()
def verify(
    to: _FOLDER, at: Annotated[str | None, typer.Option(help="Only the cut of that time (ISO 8601).")] = None
) -> None:
    """Read everything that the cuts need and open their databases; the exit code is 0 only if all is as written."""
    vault = Vault(to)
    cuts = [vault.cut(name) for name in vault.names()] if at is None else vault.chain(vault.at(_ms(at)))
    damage = list(verify_cuts(vault, cuts))
    for item in damage[:_DAMAGE_SHOWN]:
        typer.echo(f"{item.fault}  {item.place}", err=True)
    typer.echo(f"{len(cuts)} cuts: {len(damage)} findings")
    raise typer.Exit(1 if damage or not cuts else 0)


@app.command()
def restore(
    to: Annotated[Path, typer.Argument(metavar="FROM", help="The folder of backups.")],
    into: Annotated[Path, typer.Option(help="The new state folder: empty or absent.")],
    at: Annotated[str | None, typer.Option(help="ISO 8601; the newest cut not later than this is taken.")] = None,
    keys: Annotated[Path | None, typer.Option(metavar="FILE", help=_KEYS_HELP)] = None,
    incomplete: Annotated[bool, typer.Option(help="Go on although files of the archive are damaged.")] = False,
    postgresql: Annotated[bool, typer.Option(help="Fill PostgreSQL databases from the cut.")] = True,
) -> None:
    """Make a state folder as it was at a cut, checked: databases, ledger and every file of the archive."""
    passphrase = None if keys is None else read_passphrase(keys)
    wish = Wish(_ms(at) if at else None, passphrase, incomplete, postgresql, _check_ledger)
    done = restore_cut(Vault(to), load(state=into), wish)
    typer.echo(f"restored {into} to {as_iso(done.cut.at_ms)}: {done.blobs} files of the archive, each checked")
    for item in done.damage[:_DAMAGE_SHOWN]:
        typer.echo(f"{item.fault}  {item.place}", err=True)
    if not done.has_keys:
        typer.echo("the keys are not in it: put the folder `keys` there before the hub starts", err=True)
    raise typer.Exit(1 if done.damage else 0)


@app.command()
def blobs(to: Annotated[Path, typer.Argument(metavar="FROM", help="The folder of backups.")]) -> None:
    """Put back the archive's files that its database names and that are missing or damaged in the state folder."""
    from api.backup.live_sql import column

    settings = load()
    named = column(settings.database_url("clinic"), ALL_BLOBS)
    count, damage = fetch_blobs(Vault(to), settings.state / "blobs", named)
    for item in damage[:_DAMAGE_SHOWN]:
        typer.echo(f"{item.fault}  {item.place}", err=True)
    typer.echo(f"{len(named)} files are named, {count} were put back, {len(damage)} are not in the backup")
    raise typer.Exit(1 if damage else 0)


@app.command()
def prune(to: _FOLDER, keep: Annotated[float, typer.Option(min=0.0, help="Days that cuts are kept.")]) -> None:
    """Forget old cuts and what only they needed; the newest cut that stands alone stays, with what builds on it."""
    with Vault(to).writing() as writer:
        gone = prune_cuts(writer, SystemClock().now_ms() - round(keep * _DAY_MS))
    typer.echo(f"forgot {gone.cuts} cuts, {gone.pieces} pieces and {gone.blobs} files of the archive")


def _tell(cut: Cut) -> None:
    kind = "adds to the one before" if cut.base else "stands alone"
    typer.echo(f"{as_iso(cut.at_ms)}  {cut.cut_id}  {kind}; {cut.blob_count} files; writers waited {cut.held_ms} ms")
    for digest in cut.missing[:_DAMAGE_SHOWN]:
        typer.echo(f"missing in the archive: {digest}", err=True)


def _ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput("a time is written as 2026-11-23T08:15:30Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _check_ledger(state: Path) -> Sequence[str]:
    """Replay the restored ledger, if there is one in the state folder."""
    if not (state / "ledger.db").exists():
        return ()
    from bithive.database_sql import Database
    from economy.check import check
    from economy.store_sql import SqlStore

    store = SqlStore(Database(f"sqlite:///{(state / 'ledger.db').absolute()}"))
    try:
        return [f"{finding.fault} {finding.place}" for finding in check(store).findings]
    finally:
        store.close()
