"""`bithive pipelines`: what this site can run, and its own files of pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from api.errors import PipelineAbsent
from api.repertoire import InstalledRepertoire
from bithive.clock import SystemClock
from bithive.log import configure
from bithive.settings import Settings, load
from pipelines.catalog import Repertoire, declared
from pipelines.from_file import PipelineFile
from pipelines.match import reasons
from pipelines.outputs import MeasurementOutput, SegmentOutput
from pipelines.site import BUNDLE_ABSENT, SUFFIXES, Problem, Site, read_file, site
from pipelines.spec import Pipeline

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, check and show pipelines.")


def looked(settings: Settings) -> tuple[Repertoire, Site]:
    """What a hub with these settings can run now, and what its folder of files declares."""
    configure("error")
    found = InstalledRepertoire(settings, SystemClock()).now()
    return found, site(settings.pipeline_files, found.bundles, declared())


@app.command("list")
def show_all() -> None:
    """List pipelines: bundle, where they are declared, whether they are on; then files that declare none, and why."""
    settings = load()
    found, own = looked(settings)
    table = Table("pipeline", "title", "bundle", "from", "state")
    table.columns[0].overflow = "fold"
    for name, pipeline in sorted(found.pipelines.items()):
        bundle = f"{pipeline.bundle} {pipeline.bundle_version}"
        table.add_row(name, pipeline.title, bundle, origin(name, own), pipeline.withheld or "on")
    Console().print(table)
    for problem in own.problems:
        typer.echo(told(problem))
    for name in sorted(set(settings.clinic.pipelines).difference(found.pipelines)):
        typer.echo(f"BITHIVE_CLINIC__PIPELINES: there is no pipeline {name}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A YAML file of one pipeline, in the folder or elsewhere.")],
) -> None:
    """Read a file of one pipeline and say what is wrong with it, with the line. Fails when it is refused."""
    if not file.is_file() or file.suffix not in SUFFIXES:
        raise typer.BadParameter(f"{file} is no file that ends in {' or '.join(SUFFIXES)}")
    found, _ = looked(load())
    problems = [item for item in site(file.parent, found.bundles, declared()).problems if item.file == file.name]
    for problem in problems:
        typer.echo(told(problem))
    if any(problem.code != BUNDLE_ABSENT for problem in problems):
        raise typer.Exit(1)
    if not problems:
        typer.echo(f"{file.name}: declares {read_file(file).name}")


@app.command()
def show(name: str) -> None:
    """Print what one pipeline takes and gives: its rule for series, its outputs with their codes, its intended use."""
    found, own = looked(load())
    pipeline = found.pipelines.get(name)
    if pipeline is None:
        raise PipelineAbsent("there is no pipeline of that name; `bithive pipelines list` has them")
    table = Table(show_header=False)
    for label, value in rows(pipeline, origin(name, own), _file(name, own)):
        table.add_row(label, value)
    Console().print(table)


def origin(name: str, own: Site) -> str:
    """Where a pipeline is declared."""
    file = next((key for key, item in own.files.items() if item.name == name and name in own.pipelines), None)
    if file is not None:
        return file
    return "BitHive" if name in declared() else "its bundle"


def told(problem: Problem) -> str:
    """One line about a file that declares no pipeline."""
    return f"{problem.file}:{problem.line}: {problem.detail} [{problem.code}]"


def rows(pipeline: Pipeline, declared_in: str, file: PipelineFile | None) -> list[tuple[str, str]]:
    """Label and text of everything that is decided about a pipeline."""
    selector = pipeline.selector
    state = f"{pipeline.withheld}: {reasons()[pipeline.withheld]}" if pipeline.withheld else "on"
    found: list[tuple[str, str]] = [
        ("pipeline", f"{pipeline.name}: {pipeline.title}"),
        ("state", state),
        ("declared in", declared_in),
        ("bundle", f"{pipeline.bundle} {pipeline.bundle_version}"),
        ("intended use", pipeline.intended_use),
        ("modality", ", ".join([selector.modality, *sorted(selector.further_modalities)])),
        ("body parts", ", ".join(sorted(selector.body_parts)) or "any"),
        ("voxels, slices, extent", _size(pipeline)),
        ("ages", f"{selector.age_years[0]:g} to {selector.age_years[1]:g} years, or unknown"),
        ("contrast agent", "with or without" if selector.with_contrast else "without"),
    ]
    found += [("slices lie", ", ".join(sorted(selector.planes)))] if selector.planes else []
    found += [("views", ", ".join(sorted(selector.views)))] if selector.views else []
    found += [("gives", _output(item)) for item in pipeline.outputs]
    found.append(("payload's data class", str(pipeline.data_class)))
    reason = file.members.get("data_class_reason") if file else None
    return [*found, ("why that class", str(reason))] if reason else found


def _size(pipeline: Pipeline) -> str:
    selector = pipeline.selector
    return (
        f"at most {selector.spacing_mm_max:g} mm apart; {selector.slices_min} or more; "
        f"{selector.extent_mm_min:g} mm or more along each axis"
    )


def _output(item: Any) -> str:
    if isinstance(item, SegmentOutput):
        side = f", {item.laterality.meaning}" if item.laterality else ""
        return f"segment {item.label}: {item.type.scheme} {item.type.value} {item.type.meaning}{side}"
    if isinstance(item, MeasurementOutput):
        return f"measurement {item.name.meaning} of {item.finding.meaning} in {item.unit.value}"
    return type(item).__name__.removesuffix("Output").lower()


def _file(name: str, own: Site) -> PipelineFile | None:
    return next((item for item in own.files.values() if item.name == name), None)
