"""`bithive models evaluate`: how right a bundle is on cases with known answers, with intervals and calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.evaluated import brief, interval, rows
from bithive.clock import SystemClock
from bithive.errors import BadInput
from bithive.log import configure
from bithive.settings import load
from models.catalog import Catalog
from models.evaluations import Evaluations, Record, is_current, ship

_SEED = 20_041


def evaluate(
    name: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle whose weights are here.")],
    path: Annotated[Path, typer.Argument(metavar="DATASET", help="An npz file, or a folder of pictures or volumes.")],
    split: Annotated[str, typer.Option(help="test, val, train or all; the first of them that is there.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many cases, spread evenly; 0 for all.")] = 0,
    engine: Annotated[str, typer.Option(help="auto, or one that the bundle lists.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = _SEED,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the record into this file as well.")] = None,
    into_card: Annotated[
        bool, typer.Option("--into-card", help="Put the record into the folder of a bundle that comes with BitHive.")
    ] = False,
) -> None:
    """Run a bundle on cases with known answers; print metrics with 95 % intervals, and keep the record for its card."""
    from inference.evaluation import evaluate as evaluated
    from inference.evaluation_cases import open_dataset
    from inference.evaluation_task import task_of
    from inference.run import load as loaded

    if split not in {"", "test", "val", "train", "all"}:
        raise typer.BadParameter("test, val, train or all", param_hint="--split")
    configure("warning")
    settings, clock = load(), SystemClock()
    models = Catalog.of(settings)
    bundle = models.bundle(name)
    if into_card and bundle.name not in models.built_in():
        raise BadInput("--into-card is for bundles that come with BitHive; of others the store keeps the record")
    dataset = open_dataset(path, task_of(bundle), split, limit)
    running = loaded(bundle, models.weights(bundle), engine, settings.cell.threads)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"{bundle.name} on {dataset.name}", total=dataset.count)
        record = evaluated(
            bundle, running, dataset, clock.now_ms(), seed, lambda done, _of: progress.update(bar, completed=done)
        )
    Evaluations(settings.model_store).write(record)
    if into_card:
        ship(bundle.folder, record)
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    if out is not None:
        out.write_text(text + "\n", "utf-8")
    if as_json:
        typer.echo(text)
    else:
        show(record, Console())


def show(record: Record, console: Console) -> None:
    """Print a record for people: a table of what was measured, then what has to be said with it."""
    table = Table("what", "value", "95 % interval")
    for row in rows(record):
        table.add_row(*row)
    console.print(table)
    if record["kind"] == "classes":
        console.print(_confusion(record["metrics"]["confusion"]))
    bins = record["metrics"].get("reliability") or []
    if bins:
        shown = Table("said", "seen", "95 % interval", "cases", title="reliability")
        for row in bins:
            shown.add_row(f"{row['said']:.3f}", f"{row['seen']:.3f}", interval(row), str(row["cases"]))
        console.print(shown)
    for remark in record["metrics"]["remarks"]:
        console.print(remark)


def evaluation_rows(models: Catalog, store: Path, name: str) -> list[tuple[str, str]]:
    """The rows of `bithive models card` that say what was measured here."""
    bundle = models.bundle(name)
    found = [brief(record, is_current(record, bundle)) for record in Evaluations(store).records(bundle)]
    return [("evaluated", line) for line in found] or [("evaluated", "not evaluated here")]


def _confusion(counts: Mapping[str, Mapping[str, int]]) -> Table:
    answers = sorted({answer for row in counts.values() for answer in row})
    table = Table("truth", *answers, title="answers")
    for truth, row in counts.items():
        table.add_row(truth, *(str(row.get(answer, "")) for answer in answers))
    return table
