"""`bithive models`: list, fetch, verify and audit models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.commands.evaluate import evaluate, evaluation_rows
from bithive.clock import as_iso
from bithive.errors import BitHiveError
from bithive.keys import fingerprint
from bithive.settings import load
from models.audit import Check, Judge
from models.bundle import Bundle
from models.catalog import Catalog
from models.errors import BundleAbsent
from models.pins import BundledSource, ConvertedSource, InstalledSource, PinnedFile, WheelSource
from pipelines.site import Reference, references

_CARD = (
    *("name", "task", "description", "intended_use", "population", "eval_metrics"),
    *("data_source", "references", "license", "copyright"),
)

_ORIGINS: Mapping[type, str] = {
    BundledSource: "comes with BitHive",
    InstalledSource: "came with the bundle when it was installed",
}

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, fetch, verify, audit and evaluate models.")
app.command()(evaluate)


def catalog() -> Catalog:
    """The catalogue of this process's settings."""
    return Catalog.of(load())


def judge() -> Judge:
    """Says whether what a bundle declares can be carried out on a node."""
    from inference.zoo_detector import carried_out

    return carried_out


def pull_shown(
    models: Catalog, names: list[str], console: Console, *, sha256: str | None = None, renew: bool = False
) -> list[str]:
    """Fetch and install bundles and samples with a progress bar each; their names."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    pulled = []
    with Progress(*columns, console=console) as progress:
        for name in names:
            task: TaskID = progress.add_task(name, total=1.0)

            def tell(_what: str, fraction: float, task: TaskID = task) -> None:
                progress.update(task, completed=fraction)

            pulled.append(models.pull(name, tell, sha256=sha256, judge=judge(), renew=renew))
    return pulled


def pull_each(models: Catalog, wanted: Mapping[str, Reference], console: Console, *, renew: bool) -> dict[str, str]:
    """Fetch and install several; one that cannot be had stops no other.

    Parameters
    ----------
    wanted
        Where each is had from, by what it is called; an empty source is what the catalogue knows by that name.
    renew
        As for `Catalog.pull`.

    Returns
    -------
    dict
        The name of each that is here now, by what it was called. What is not is told on the console with its code.
    """
    found: dict[str, str] = {}
    for called, item in wanted.items():
        try:
            (found[called],) = pull_shown(models, [item.source or called], console, sha256=item.sha256, renew=renew)
        except BitHiveError as error:
            console.print(f"{called}: not fetched, {error.code}: {error.detail}", style="yellow", markup=False)
            continue
        if item.bundle not in {"", found[called]}:
            console.print(f"{called}: what came is {found[called]}, not {item.bundle}", style="yellow", markup=False)
    return found


@app.command("list")
def show() -> None:
    """List bundles: name, version, licence, where they come from, whether they and their weights are sound."""
    models = catalog()
    table = Table("bundle", "version", "licence", "from", "state")
    own = models.built_in()
    for bundle in models.bundles().values():
        origin = "BitHive" if bundle.name in own else _origin(models.manifest(bundle))
        table.add_row(bundle.name, bundle.version, bundle.licence, origin, _state(models, bundle))
    for item in _broken(models):
        table.add_row(*item)
    Console().print(table)


@app.command()
def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Bundles, samples, bundles' folders, zips or HTTPS addresses; all bundles when none."),
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the one zip that is named.")] = None,
) -> None:
    """Fetch bundles, audit, sign and install them; fetch weights, checked by SHA-256."""
    models = catalog()
    if sha256 is not None and len(names or []) != 1:
        raise typer.BadParameter("--sha256 goes with exactly one name")
    known, console = references(load().pipeline_files), Console(stderr=True)
    if sha256 is not None:
        known = dict.fromkeys(names or (), Reference(sha256=sha256))
    if not names:
        here = models.bundles()
        known = {name: item for name, item in known.items() if name == item.bundle and name not in here}
    wanted = {name: known.get(name, Reference()) for name in names or sorted({*models.bundles(), *known})}
    found = pull_each(models, wanted, console, renew=bool(names))
    for name in found.values() if names else ():
        bundle = models.bundles().get(name)
        if bundle is not None:
            typer.echo(f"{bundle.name} {bundle.version}: {bundle.licence}, sha256 {bundle.sha256}")
    if names and len(found) < len(wanted):
        raise typer.Exit(1)


@app.command()
def verify() -> None:
    """Check every bundle's signature and files, and read every stored file of weights again."""
    models = catalog()
    states = [(bundle.name, bundle.version, _state(models, bundle)) for bundle in models.bundles().values()]
    states += [(name, version, state) for name, version, _, _, state in _broken(models)]
    for name, version, state in states:
        typer.echo(f"{name} {version}: {state}")
    if any(state != "verified" for _, _, state in states):
        raise typer.Exit(1)


@app.command()
def card(name: str) -> None:
    """Print what a bundle is for, for whom, how it was evaluated, its licence, and who signed what."""
    models = catalog()
    bundle = models.bundle(name)
    evaluated = evaluation_rows(models, load().model_store, name)
    table = Table(show_header=False)
    for label, value in [*card_rows(bundle), *evaluated, *manifest_rows(models.manifest(bundle))]:
        table.add_row(label, value)
    Console().print(table)


@app.command()
def audit(
    name: Annotated[str, typer.Argument(help="A bundle's folder or zip, or the name of one that is here.")],
) -> None:
    """Print each static check of a bundle with its outcome and code; nothing of it is run. Fails when it is refused."""
    checks = audit_checks(catalog(), name)
    table = Table("check", "outcome", "code", "detail")
    for check in checks:
        table.add_row(check.name, check.outcome, check.code, check.detail)
    Console().print(table)
    if any(check.outcome == "refused" for check in checks):
        raise typer.Exit(1)


def audit_checks(models: Catalog, name: str) -> list[Check]:
    """The checks of a folder, a zip, a mirror's bundle, an installed bundle or one that comes with BitHive.

    Raises
    ------
    BundleAbsent
        If it is none of them.
    """
    installed = models.installed().get(name)
    if name in models.built_in():
        return [_own_configuration(models.built_in()[name])]
    if installed is None:
        try:
            return list(models.audit(name, judge()).checks)
        except BundleAbsent:
            raise
        except BitHiveError as error:
            return [Check("files", "refused", error.code, error.detail)]
    rows = installed.manifest.get("audit", [])
    checks = [Check(row["check"], row["outcome"], row["code"], row["detail"]) for row in rows]
    if installed.error is not None:
        return [*checks, Check("installed", "refused", installed.error.code, installed.error.detail)]
    return [*checks, Check("installed", "passed", "", f"signed by {fingerprint(installed.manifest['signer'])}")]


def card_rows(bundle: Bundle) -> list[tuple[str, str]]:
    """The model card: label and text."""
    rows = [("bundle", f"{bundle.name} {bundle.version}"), ("sha256", bundle.sha256)]
    rows += [(key.replace("_", " "), _plain(bundle.metadata.get(key, ""))) for key in _CARD]
    rows += [("licence of the weights", bundle.licence), ("engines", ", ".join(bundle.engines))]
    if bundle.structures:
        rows.append(("structures", ", ".join(structure.name for structure in bundle.structures)))
    rows.append(("weights", "\n".join(map(weights_row, bundle.weights)) or "none: it is made of rules"))
    return [*rows, ("payload's data class", str(bundle.data_class))]


def weights_row(pinned: PinnedFile) -> str:
    """One line about a file of weights: how large, and where it comes from."""
    source = pinned.source
    if isinstance(source, ConvertedSource):
        origin = f"made by {source.converter} from what its authors published"
    elif isinstance(source, WheelSource):
        origin = f"in the wheel of {source.distribution} {source.version}"
    else:
        origin = _ORIGINS.get(type(source), "published at an address")
    return f"{pinned.file}: {pinned.size_bytes / 1e6:.1f} MB, {origin}"


def manifest_rows(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """Who installed a bundle, when, from where, and what the audit found; nothing for one that comes with BitHive."""
    if not manifest:
        return []
    found = "\n".join(f"{row['check']}: {row['outcome']}, {row['detail']}" for row in manifest["audit"])
    return [
        ("from", _origin(manifest)),
        ("installed", as_iso(manifest["created_ms"])),
        ("signed by", fingerprint(manifest["signer"])),
        ("audit", found),
    ]


def _own_configuration(bundle: Bundle) -> Check:
    from inference.config import audit as audit_own

    try:
        files = audit_own(bundle.inference())
    except BitHiveError as error:
        return Check("configuration", "refused", error.code, error.detail)
    return Check("configuration", "passed", "", f"comes with BitHive; loads {', '.join(files) or 'no network: rules'}")


def _broken(models: Catalog) -> list[tuple[str, str, str, str, str]]:
    """A row for each installed bundle that is not sound."""
    rows = []
    for item in models.installed().values():
        if item.error is not None:
            version, licence = (str(item.manifest.get(key, "?"))[:40] for key in ("version", "licence"))
            rows.append((item.name, version, licence, _origin(item.manifest), item.error.code))
    return rows


def _origin(manifest: dict[str, Any]) -> str:
    origin = manifest.get("origin")
    named = str(origin.get("named", "?")) if isinstance(origin, dict) else "?"
    return "the zoo or a mirror" if named == manifest.get("name") else named


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "\n".join(_plain(item) for item in value)
    return str(value)


def _state(models: Catalog, bundle: Bundle) -> str:
    try:
        models.weights(bundle)
    except BitHiveError as error:
        return error.code
    return "verified"
