"""`bithive demo`: the main job on this machine, from a study to its findings and the ledger."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from api.commands.account import opened
from api.commands.models import pull_shown
from api.demonstration import Outcome, Reader, Step, Watch
from api.demonstration_check import Checked, check_outcome, lines
from api.errors import StepFailed
from api.hub_process import HubProcess
from api.sender import Source, collect, send
from api.sessions import enter_path
from bithive.clock import Clock, SystemClock
from bithive.errors import BitHiveError
from bithive.ids import RandomIds
from bithive.log import configure
from bithive.settings import Mode, Settings, load

app = typer.Typer(add_completion=False)

PORT = 8042
START_S, CELL_S, STUDY_S = 60.0, 240.0, 900.0
SAMPLE, SAMPLE_PIPELINE = "head_t1", "intracranial_volume_t1"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to be shown.

    Attributes
    ----------
    settings
        Of the hub that will run.
    sources
        The study's files.
    pacs, clinician
        Tokens of two accounts.
    """

    settings: Settings
    sources: list[Source]
    pacs: str
    clinician: str


@app.command()
def demo(
    study: Annotated[
        Path | None, typer.Option(help="A folder or zip of DICOM files; a public head when absent.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when it is done; exit code 0 only if every step held.")
    ] = False,
    state: Annotated[Path | None, typer.Option(help="State folder, kept; a temporary one when absent.")] = None,
    port: Annotated[int, typer.Option(help=f"Port on loopback; 0 takes {PORT} or a free one.")] = 0,
) -> None:
    """Start a hub and a local cell, send a head MR study as a PACS would, and show what happens until it is paid."""
    console = Console()
    configure("error")
    clock = SystemClock()
    _on_terminate()
    with _state_folder(state, console) as folder:
        settings = load(
            mode=Mode.DEMO, state=folder, http={"port": port or _free_port()}, models={"store": _model_store()}
        )
        plan = _prepare(settings, study, console)
        on = {"BITHIVE_CLINIC__PIPELINES": SAMPLE_PIPELINE} if study is None else {}
        hub = HubProcess(settings.state, settings.model_store, settings.http.port, clock, on)
        try:
            _show(plan, hub, clock, console, once=once)
        except KeyboardInterrupt:
            console.print("\nStopped.")
        except BitHiveError:
            console.print(f"[dim]Logs: {hub.log_path.parent}[/dim]")
            if state is None:
                _keep_logs(hub.log_path.parent, console)
            raise
        finally:
            hub.stop()


def _prepare(settings: Settings, study: Path | None, console: Console) -> Plan:
    """Weights, the study and two accounts."""
    from clinic.sample import write_sample
    from models.catalog import Catalog
    from models.nearby import STARTS_WITH

    models = Catalog.of(settings)
    pull_shown(models, sorted(STARTS_WITH) + ([SAMPLE] if study is None else []), console)
    if study is None:
        study = settings.state / "sample"
        with console.status("writing the sample as a DICOM series"):
            settings.state.mkdir(parents=True, exist_ok=True)
            image = settings.state / "sample.nii.gz"
            shutil.copyfile(models.sample(SAMPLE), image)
            write_sample(image, study)
    sources = collect(study)
    with opened(settings) as accounts:
        pacs = accounts.token(accounts.ensure("demo-pacs", "pacs"))
        clinician = accounts.token(accounts.ensure("demo-clinician", "clinician"))
    return Plan(settings, sources, pacs, clinician)


def _show(plan: Plan, hub: HubProcess, clock: Clock, console: Console, *, once: bool) -> None:
    with console.status("starting the hub and its local cell (Ray Serve, one node)"):
        hub.start(os.getpid())
        hub.wait_ready(START_S)
        hub.wait_ready(CELL_S, cells=1)
    outcome = _run_study(plan, hub, clock, console)
    checked = check_outcome(outcome, plan.settings, hub.peak_memory_bytes(), clock)
    _report(checked, console)
    if not once:
        _show_link(plan, checked.outcome.study_uid, console)
        console.print("Serving until Ctrl-C.")
        hub.wait()
        raise StepFailed("the hub ended by itself; its log says why")


def _run_study(plan: Plan, hub: HubProcess, clock: Clock, console: Console) -> Outcome:
    """Send the study and follow it to its end."""
    reader = Reader(hub.url, plan.clinician)
    watch = Watch(reader, hub.url, plan.clinician, clock)
    with Live(console=console, refresh_per_second=8, get_renderable=lambda: _steps(watch)):
        with _client(hub.url, plan.pacs) as client:
            watch.begin()
            answer = send(client, plan.sources, RandomIds(clock), watch.sent)
        return watch.follow(answer, STUDY_S)


@contextmanager
def _client(url: str, token: str) -> Iterator[Any]:
    import httpx2

    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=url, headers=headers, trust_env=False) as client:
        yield client


def _steps(watch: Watch) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for step in Step:
        at_s = watch.seen.at_s.get(step)
        mark = (
            Text("✓", "green")
            if watch.is_over(step)
            else Text("●" if at_s is not None else "·", "cyan" if at_s is not None else "dim")
        )
        time = "" if at_s is None else f"{at_s:6.2f} s"
        table.add_row(mark, Text(str(step), "" if at_s is not None else "dim"), time, Text(watch.said(step)))
    return table


def _report(checked: Checked, console: Console) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines(checked):
        table.add_row(name, value)
    console.print()
    console.print(table)
    console.print("[dim]Not for diagnosis.[/dim]")


def _show_link(plan: Plan, study_uid: str, console: Console) -> None:
    with opened(plan.settings) as accounts:
        link = accounts.link(accounts.named("demo-clinician"))
    address = f"http://127.0.0.1:{plan.settings.http.port}{enter_path(link, f'/studies/{study_uid}')}"
    console.print("The study's page (this link signs you in once):")
    console.print(Text(address, "bold", overflow="fold", no_wrap=True), soft_wrap=True)


@contextmanager
def _state_folder(given: Path | None, console: Console) -> Iterator[Path]:
    if given is not None:
        yield given.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="bithive-demo-"))
    console.print(f"[dim]State: {folder} (removed at the end)[/dim]")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep_logs(logs: Path, console: Console) -> None:
    kept = Path(tempfile.mkdtemp(prefix="bithive-demo-logs-"))
    shutil.copytree(logs, kept, dirs_exist_ok=True)
    console.print(f"[dim]Kept: {kept}[/dim]")


def _free_port() -> int:
    for port in (PORT, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise StepFailed("no port is free on loopback")


def _model_store() -> Path:
    """Weights are kept between demonstrations: by BITHIVE_MODELS__STORE, or in the user's cache."""
    return load().models.store or Path.home() / ".cache" / "bithive" / "models"


def _on_terminate() -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
