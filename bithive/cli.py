"""The command line: a table of commands, each in a module that is imported when it is asked for.

The kernel is the lowest layer, so it names the modules of `api.commands` without importing them. Each has an
`app: typer.Typer`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer

from bithive import __version__
from bithive.errors import BadSettings, BitHiveError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("api.commands.demo", "Run the main job on this machine, from a study to its findings and the ledger."),
    "serve": ("api.commands.serve", "Start the hub, with a local cell beside it."),
    "node": ("api.commands.node", "Contribute this machine: join, run, bound, leave."),
    "cell": ("api.commands.cell", "An operator's cell of several machines: make it, invite machines, watch it."),
    "submit": ("api.commands.submit", "Send a folder or zip of DICOM files to a hub, as a PACS would."),
    "ledger": ("api.commands.ledger", "Check, close and read the ledger."),
    "models": ("api.commands.models", "List, fetch and verify models."),
    "pipelines": ("api.commands.pipelines", "List, check and show pipelines, this site's own among them."),
    "account": ("api.commands.account", "Who may sign in: add, list, disable, link."),
    "backup": ("api.commands.backup", "Back up a hub that runs, and restore it to a moment."),
    "migrate": ("api.commands.migrate", "Bring the databases to this version's schema."),
    "settings": ("api.commands.settings", "Show the effective settings, secrets masked."),
}

EXIT_FAILED, EXIT_REFUSED = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        What follows `bithive` on the command line.

    Returns
    -------
    int
        The exit code: 0 done, 1 failed, 2 refused to start or not understood.
    """
    name = arguments[0] if arguments else ""
    try:
        if name == "--version":
            typer.echo(f"bithive {__version__}")
            return 0
        if name in COMMANDS:
            app = import_module(COMMANDS[name][0]).app
            return _run(app, f"bithive {name}", arguments[1:])
        return _run(_overview(), "bithive", arguments or ["--help"])
    except BitHiveError as error:
        typer.echo(f"bithive: {error.detail} [{error.code}]", err=True)
        return EXIT_REFUSED if isinstance(error, BadSettings) else EXIT_FAILED


def run() -> None:
    """The installed command `bithive`."""
    sys.exit(main(sys.argv[1:]))


def _run(app: Any, program: str, arguments: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    try:
        command.main(args=list(arguments), prog_name=program)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    return 0


def _overview() -> typer.Typer:
    """All commands by name and one line, for `--help` and for names that are not known."""
    overview = typer.Typer(
        help="AI on a hospital's imaging studies, run on contributed computers.", add_completion=False
    )
    for name, (_, line) in COMMANDS.items():
        overview.command(name, help=line)(_never)
    return overview


def _never() -> None:
    sys.exit(EXIT_FAILED)
