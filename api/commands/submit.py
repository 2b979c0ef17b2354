"""`bithive submit`: send a study as a PACS would."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from api.public_check import PublicSources, check_public
from api.sender import SendingFailed, collect, said, send
from bithive.clock import SystemClock
from bithive.errors import BadSettings, Unavailable
from bithive.ids import RandomIds
from bithive.offer import DataClass

app = typer.Typer(add_completion=False)


@app.command()
def submit(
    study: Annotated[Path, typer.Argument(help="A DICOM file, a folder of them, or a zip.")],
    hub: Annotated[str, typer.Option(help="Address of the hub.")] = "http://127.0.0.1:8042",
    token_file: Annotated[
        Path | None, typer.Option(help="File with a bearer token that holds dicom:write; standard input when absent.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file that the hub's certificate is checked against.")] = None,
    data_class: Annotated[
        str | None,
        typer.Option("--class", help="P0: images of a published set, which any contributed machine may have."),
    ] = None,
    public_set: Annotated[str | None, typer.Option(help="With --class P0: the name of the published set.")] = None,
    licence: Annotated[str | None, typer.Option(help="With --class P0: its licence, an SPDX identifier.")] = None,
) -> None:
    """Send DICOM files to a hub by STOW-RS."""
    named = _public_set(data_class, public_set, licence)
    given = token_file.read_text("ascii") if token_file else typer.get_text_stream("stdin").readline()
    secret = given.strip()
    if not secret:
        raise BadSettings("no token was given")
    sources = collect(study)
    checked = check_public(study, sources, *named) if named else None
    headers = {"Authorization": f"Bearer {secret}"}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    verify = ssl.create_default_context(cafile=ca) if ca else True
    with (
        httpx2.Client(base_url=hub, headers=headers, verify=verify) as client,
        Progress(*columns, console=console) as progress,
    ):
        if named and checked:
            declare(client, checked, *named)
        task = progress.add_task(f"{len(sources)} instances", total=sum(source.size_bytes for source in sources))
        answer = send(client, sources, RandomIds(SystemClock()), lambda count: progress.advance(task, count))
    for study_uid in answer.study_uids:
        typer.echo(study_uid)
    console.print(f"{answer.stored} stored, {answer.refused} refused")
    if answer.refused:
        reasons = ", ".join(f"{reason:#06x}" for reason in sorted(set(answer.reasons)))
        console.print(f"failure reasons (PS3.18 annex I): {reasons}")
        raise typer.Exit(1)


def _public_set(data_class: str | None, name: str | None, licence: str | None) -> tuple[str, str] | None:
    """Name and licence of the published set, where there is one."""
    if data_class is None and name is None and licence is None:
        return None
    if data_class != str(DataClass.P0):
        raise BadSettings("only P0 can be asked for: what else an image is, its headers and its pipeline say")
    if not name or not licence:
        raise BadSettings("--class P0 needs --public-set and --licence")
    return name, licence


def declare(client: httpx2.Client, checked: PublicSources, name: str, licence: str) -> None:
    """Declare the studies public before any image is sent. Raises `SendingFailed`, `Unavailable`."""
    body = {"name": name, "licence": licence, "basis": str(checked.basis), "study_uids": list(checked.study_uids)}
    try:
        answer = client.post("/api/public-sets", json=body)
    except httpx2.TransportError as error:
        raise Unavailable("the hub cannot be reached") from error
    if answer.status_code != 201:
        raise SendingFailed(f"the hub answered {answer.status_code}: {said(answer)}", status=answer.status_code)
