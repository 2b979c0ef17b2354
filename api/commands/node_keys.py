"""A machine's keys and what it signed with them: `bithive node receipts`, `bithive node rotate-keys`."""

from __future__ import annotations

from pathlib import Path

import typer

from api.commands.node_start import is_running
from bithive.keys import SigningKey, fingerprint
from bithive.settings import Settings
from cluster.errors import AgentRunning, CellUnconfigured
from cluster.join import CELL_ID, CELL_KEY, NETWORK_KEY, NODE_KEY
from cluster.kept import verify_kept
from cluster.network_http import HttpNetwork
from cluster.private_files import read_private
from cluster.profile import Profile, Role, hub_certificate, hub_token
from cluster.register_client import rotate_key

RECEIPTS = Path("receipts")
EXIT_BROKEN = 1


def show_receipts(state: Path) -> int:
    """Print what each chain of counter-receipts comes to; the exit code."""
    known = (read_private(state / NETWORK_KEY) or b"").decode("ascii", "replace")
    chains = verify_kept(state / RECEIPTS, known)
    if not chains:
        typer.echo("no Receipts are kept here yet")
        return 0
    for chain in chains:
        found = chain.verified
        holds = "holds" if chain.holds else "DOES NOT HOLD"
        counts = f"{found.accepted} accepted, {found.refused} refused, {found.work_units:,} work units"
        typer.echo(f"{chain.subject}: {holds}; {counts}")
        if found.broken is not None:
            typer.echo(f"  broken at {found.broken.sequence}: {found.broken.reason}")
        if chain.unanswered:
            typer.echo(f"  {len(chain.unanswered)} without the network's answer yet")
    return 0 if all(chain.holds for chain in chains) else EXIT_BROKEN


def rotate(settings: Settings) -> None:
    """A new key for the Node and one for the cell; both are the network side's before the old ones are gone.

    Raises
    ------
    AgentRunning
        If the agent runs: it signs with keys that it has read.
    NetworkUnreachable, NetworkRefused
        Nothing is lost: called again, it goes on where it stopped.
    """
    state = settings.state.absolute()
    profile, token, cell = Profile.load(state), hub_token(settings), read_private(state / CELL_ID)
    if profile is None or token is None or cell is None or profile.role is Role.MEMBER:
        raise CellUnconfigured("only a machine that has joined a hub rotates keys")
    if is_running(state):
        raise AgentRunning("stop it first: `bithive node leave`")

    def opened(key: SigningKey | None) -> HttpNetwork:
        signing = key or SigningKey.load_or_create(state / CELL_KEY)
        return HttpNetwork(profile.hub_url, token, hub_certificate(settings), key=signing)

    for path in (NODE_KEY, CELL_KEY):
        new = rotate_key(opened, cell.decode(), state / path)
        typer.echo(f"{path.stem} key: {fingerprint(new.public_hex)}")
