"""`bithive ledger prove | verify | witness | cosign`: what an operator hands out, and what an auditor does with it.

`verify` and `witness` need no ledger, no settings and no account: an auditor runs them elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bithive.clock import SystemClock, as_iso
from bithive.database_sql import Database
from bithive.errors import BitHiveError
from bithive.keys import SigningKey
from bithive.limits import PROOF_BYTES_MAX
from bithive.settings import load
from economy.cosigning import accept_cosignature, witness_keys
from economy.entry import Account
from economy.errors import LogRolledBack, LogSilent, LogSplit, NoteUnsigned, ProofMalformed
from economy.evidence import FORMAT as EVIDENCE
from economy.evidence import Evidence, read_evidence
from economy.notes import VerifierKey
from economy.proofs import Proofs, prove_claim
from economy.seal import log_keys
from economy.store_sql import SqlStore
from economy.verify import Verified, is_checkpoint, parse_plain, verify_proof
from economy.witness import Source, Witness
from economy.witness_folder import FolderSource
from economy.witness_http import HubSource

_LATEST_MS = 253_402_300_799_000
proving = typer.Typer(add_completion=False, no_args_is_help=True, help="Write proofs that anyone can check.")
SealOption = Annotated[int | None, typer.Option("--seal", help="Number of a seal; the newest when absent.")]
ToOption = Annotated[Path | None, typer.Option("--to", help="File to write; standard output when absent.")]
WitnessOption = Annotated[
    list[str] | None, typer.Option("--witness", help="Verifier key of a witness whose cosignature counts; repeatable.")
]


def add_to(app: typer.Typer) -> None:
    """Give `bithive ledger` these commands."""
    app.add_typer(proving, name="prove")
    for command in (verify, witness, cosign):
        app.command()(command)


@proving.command("entry")
def prove_entry(
    entry: Annotated[str, typer.Argument(help="Id of an entry, or its place in the log.")],
    seal: SealOption = None,
    to: ToOption = None,
) -> None:
    """Show that an entry is in the log."""
    with _proofs() as proofs:
        _write(proofs.entry(int(entry) if entry.isdecimal() else entry, seal), to)


@proving.command("balance")
def prove_balance(
    account: Annotated[str, typer.Argument(help="owner:code:asset")], seal: SealOption = None, to: ToOption = None
) -> None:
    """Show an account's totals as they were sealed."""
    with _proofs() as proofs:
        _write(proofs.balance(Account.parse(account), seal), to)


@proving.command("consistency")
def prove_consistency(
    old: Annotated[int, typer.Argument(help="How many entries the older seal has.")],
    new: Annotated[int | None, typer.Option(help="How many the newer one has; the newest when absent.")] = None,
    to: ToOption = None,
) -> None:
    """Show that the log only grew."""
    with _proofs() as proofs:
        _write(proofs.consistency(old, new), to)


@proving.command("claim")
def write_claim(
    party: Annotated[str, typer.Argument(help="Id of a node's party (pty_...).")],
    epoch: Annotated[int | None, typer.Option(help="Number of an epoch; the newest when absent.")] = None,
    to: ToOption = None,
) -> None:
    """Show what a node may claim, ever, by the tree that an epoch published."""
    with _store() as store:
        _write(prove_claim(store, party, epoch), to)


@proving.command("checkpoint")
def prove_checkpoint(seal: SealOption = None, to: ToOption = None) -> None:
    """Write a seal as a signed checkpoint, with its cosignatures."""
    with _proofs() as proofs:
        _write(proofs.checkpoint(seal), to)


@proving.command("keys")
def show_keys() -> None:
    """Print the verifier keys of this log: what auditors must have from you, by another way than the hub."""
    with _store() as store, store.reading() as snapshot:
        keys = log_keys(snapshot)
    if not keys:
        typer.echo("the ledger has no seal yet", err=True)
        raise typer.Exit(1)
    for key in keys:
        typer.echo(key)


def verify(
    files: Annotated[list[Path], typer.Argument(help="Proofs, checkpoints, or a witness's evidence.")],
    key: Annotated[list[str], typer.Option(help="Verifier key of the log (name+id+base64); repeatable.")],
    witness: WitnessOption = None,
    need: Annotated[int, typer.Option(min=0, help="How many of these witnesses must have cosigned.")] = 0,
) -> None:
    """Check files offline, with nothing but the log's key; the exit code is 0 only if all hold."""
    keys = [VerifierKey.parse(text) for text in key]
    witnesses = [VerifierKey.parse(text) for text in witness or ()]
    failed = False
    for path in files:
        try:
            for line in _checked(_read(path), keys, witnesses, need):
                typer.echo(f"{path}: {line}")
        except BitHiveError as error:
            failed = True
            typer.echo(f"{path}: does not hold: {error.detail} [{error.code}]", err=True)
    raise typer.Exit(1 if failed else 0)


def witness(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A hub's address, or a folder of exported files.")],
    state: Annotated[Path, typer.Option(help="File that remembers the log; keep it.")],
    key: Annotated[Path, typer.Option(help="File of the witness's private key; made when absent.")],
    log: Annotated[list[str] | None, typer.Option(help="Verifier key of the log; needed the first time.")] = None,
    name: Annotated[str, typer.Option(help="Name that the cosignatures bear.")] = "witness",
    every: Annotated[float | None, typer.Option(min=1, help="Look again after so many seconds, for ever.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with a bearer token for the hub.")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file that the hub's certificate is checked against.")] = None,
) -> None:
    """Watch a ledger: check that it only grew since the last look, and cosign. For auditors."""
    watching = Witness(
        state, SigningKey.load_or_create(key), name, SystemClock(), tuple(map(VerifierKey.parse, log or ()))
    )
    typer.echo(f"witness {watching.verifier}")
    asked = _source(source, token_file, ca)
    while True:
        try:
            seen = watching.observe(asked)
            _say(
                f"{seen.checkpoint.size} entries, seal {seen.checkpoint.seal_id}, {'grown' if seen.grew else 'unchanged'}"
            )
            _say(f"cosigned, handed back to {asked.hand_back(seen.text)}")
        except (LogRolledBack, LogSplit) as error:
            _say(f"evidence: {error.context['evidence']}")
            raise
        except LogSilent as error:
            if every is None:
                raise
            _say(f"{error.detail} [{error.code}]")
        if every is None:
            return
        threading.Event().wait(every)


def cosign(
    files: Annotated[list[Path], typer.Argument(help="Checkpoints with a witness's line, as the witness wrote them.")],
) -> None:
    """Take cosignatures that came as files. The witnesses are those of BITHIVE_NETWORK__WITNESSES."""
    known = witness_keys(load().network.witnesses)
    with _store() as store:
        for path in files:
            for item in accept_cosignature(store, _read(path), known, SystemClock()):
                state = "kept" if item.new else "was kept before"
                typer.echo(f"seal {item.seal_id}: cosigned by {item.witness} at {as_iso(item.witnessed_ms)}, {state}")


@contextmanager
def _store() -> Iterator[SqlStore]:
    store = SqlStore(Database(load().database_url("ledger")))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _proofs() -> Iterator[Proofs]:
    with _store() as store:
        yield Proofs(store)


def _write(text: str, to: Path | None) -> None:
    if to is None:
        typer.echo(text, nl=False)
    else:
        to.write_text(text, encoding="utf-8")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(PROOF_BYTES_MAX + 1)
    except OSError as error:
        raise ProofMalformed(f"it cannot be read: {error.strerror}") from error
    if len(content) > PROOF_BYTES_MAX:
        raise ProofMalformed("it is too large", bytes_max=PROOF_BYTES_MAX)
    return content


def _source(text: str, token_file: Path | None, ca: Path | None) -> Source:
    if "://" not in text:
        return FolderSource(Path(text))
    token = token_file.read_text("ascii").strip() if token_file else ""
    return HubSource(text, token, ca)


def _checked(content: bytes, keys: list[VerifierKey], witnesses: list[VerifierKey], need: int) -> Iterator[str]:
    if not is_checkpoint(content) and parse_plain(content).get("format") == EVIDENCE:
        yield from _evidence_words(read_evidence(content, keys))
    else:
        found = verify_proof(content, keys, witnesses)
        if len(found.cosigned) < need:
            raise NoteUnsigned(f"cosigned by {len(found.cosigned)} of the witnesses given, and {need} are needed")
        yield from _proof_words(found)


def _evidence_words(found: Evidence) -> Iterator[str]:
    sizes = f"{found.known.size} and {found.seen.size} entries"
    yield f"both checkpoints ({sizes}) are signed by {found.known.origin}"
    if found.reason:
        yield f"they contradict each other: {found.reason}"
    else:
        yield "they are connected by the hashes given" if found.connected else "nothing given connects them"


def _proof_words(found: Verified) -> Iterator[str]:
    said = ", ".join(f"{name} {value}" for name, value in found.said.items())
    yield f"holds: {found.kind}: {said}"
    yield f"sealed by {found.checkpoint.origin}, seal {found.checkpoint.seal_id}, {as_iso(found.checkpoint.time_ms)}"
    for seen in found.cosigned:
        yield f"cosigned by {seen.name} at {as_iso(min(seen.at_s * 1000, _LATEST_MS))}"


def _say(text: str) -> None:
    typer.echo(f"{as_iso(SystemClock().now_ms())}  {text}")
