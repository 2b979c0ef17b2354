"""`bithive submit`: send a study as a PACS would."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from api.sender import collect, send
from bithive.clock import SystemClock
from bithive.errors import BadSettings
from bithive.ids import RandomIds

app = typer.Typer(add_completion=False)


@app.command()
def submit(
    study: Annotated[Path, typer.Argument(help="A DICOM file, a folder of them, or a zip.")],
    hub: Annotated[str, typer.Option(help="Address of the hub.")] = "http://127.0.0.1:8042",
    token_file: Annotated[
        Path | None, typer.Option(help="File with a bearer token that holds dicom:write; standard input when absent.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file that the hub's certificate is checked against.")] = None,
) -> None:
    """Send DICOM files to a hub by STOW-RS."""
    given = token_file.read_text("ascii") if token_file else typer.get_text_stream("stdin").readline()
    secret = given.strip()
    if not secret:
        raise BadSettings("no token was given")
    sources = collect(study)
    headers = {"Authorization": f"Bearer {secret}"}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    verify = ssl.create_default_context(cafile=ca) if ca else True
    with (
        httpx2.Client(base_url=hub, headers=headers, verify=verify) as client,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task(f"{len(sources)} instances", total=sum(source.size_bytes for source in sources))
        answer = send(client, sources, RandomIds(SystemClock()), lambda count: progress.advance(task, count))
    for study_uid in answer.study_uids:
        typer.echo(study_uid)
    console.print(f"{answer.stored} stored, {answer.refused} refused")
    if answer.refused:
        reasons = ", ".join(f"{reason:#06x}" for reason in sorted(set(answer.reasons)))
        console.print(f"failure reasons (PS3.18 annex I): {reasons}")
        raise typer.Exit(1)
