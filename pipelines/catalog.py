"""Every clinical task that this installation has: the modules of `pipelines/tasks/`, and one for each installed bundle."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from models.bundle import Bundle
from pipelines import tasks
from pipelines.errors import NoPipeline, PipelineFileRefused
from pipelines.from_bundle import pipeline_of
from pipelines.from_file import PipelineFile, pipeline_from
from pipelines.match import LICENCE_NOT_ACCEPTED, SWITCHED_OFF, WEIGHTS_ABSENT
from pipelines.site import read_file
from pipelines.spec import Pipeline

_ZOO = Path(__file__).parent / "zoo"
_NONE: Mapping[str, Bundle] = MappingProxyType({})
_NO_PIPELINES: Mapping[str, Pipeline] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Repertoire:
    """What can be run at one moment.

    Attributes
    ----------
    bundles
        Installed ones, by name.
    pipelines
        What they serve, by name.
    """

    bundles: Mapping[str, Bundle]
    pipelines: Mapping[str, Pipeline]


@cache
def zoo_files() -> Mapping[str, PipelineFile]:
    """What is known here of bundles of the zoo that they do not say themselves, by the bundle's name."""
    found = [read_file(path) for path in sorted(_ZOO.glob("*.yaml"))]
    return MappingProxyType({file.bundle["name"]: file for file in found})


@cache
def _load() -> MappingProxyType[str, Pipeline]:
    found: dict[str, Pipeline] = {}
    for module in sorted(pkgutil.iter_modules(tasks.__path__), key=lambda item: item.name):
        pipeline = importlib.import_module(f"{tasks.__name__}.{module.name}").PIPELINE
        assert isinstance(pipeline, Pipeline), f"{module.name} declares no PIPELINE"
        assert pipeline.name == module.name, f"{module.name} declares {pipeline.name}"
        found[pipeline.name] = pipeline
    return MappingProxyType(found)


def pipelines(
    bundles: Mapping[str, Bundle] = _NONE,
    accepted: Callable[[Bundle], bool] = lambda _bundle: True,
    ready: Callable[[Bundle], bool] = lambda _bundle: True,
    own: Mapping[str, Pipeline] = _NO_PIPELINES,
    wanted: Collection[str] = (),
) -> dict[str, Pipeline]:
    """Every pipeline by name. A fresh dictionary; what is not on takes no series, and its `withheld` says why.

    Parameters
    ----------
    bundles
        The catalogue's. Those that no task names give a pipeline of their own, named as the bundle, if they can.
    accepted
        Whether a bundle's licence is; the pipeline of another takes no series, with `licence-not-accepted`.
    ready
        Whether a bundle's weights are on this machine; the declared task of another takes none, with `weights-absent`.
    own
        Tasks that this site declares in files, by name (`pipelines.from_file`).
    wanted
        Names of those that are on, where a site chose; the others take none, with `switched-off`.
    """
    found: dict[str, Pipeline] = {}
    for name, pipeline in (*_load().items(), *own.items()):
        bundle = bundles.get(pipeline.bundle)
        found[name] = pipeline if bundle is None or ready(bundle) else _held(pipeline, WEIGHTS_ABSENT)
        if name in own and bundle is not None and not accepted(bundle):
            found[name] = _held(found[name], LICENCE_NOT_ACCEPTED)
    for bundle in _others(bundles, own):
        try:
            found[bundle.name] = _held(_of_bundle(bundle), "" if accepted(bundle) else LICENCE_NOT_ACCEPTED)
        except NoPipeline:
            continue
    off = frozenset(found).difference(wanted) if wanted else frozenset()
    return {name: _held(pipeline, SWITCHED_OFF) if name in off else pipeline for name, pipeline in found.items()}


def _of_bundle(bundle: Bundle) -> Pipeline:
    """The task of an installed bundle, with what is known of the very release that it is. Raises `NoPipeline`."""
    base, file = pipeline_of(bundle), zoo_files().get(bundle.name)
    if file is None:
        return base
    try:
        return pipeline_from(file, bundle, base)
    except PipelineFileRefused:  # another release, or another bundle of that name: it speaks for itself
        return base


def _held(pipeline: Pipeline, code: str) -> Pipeline:
    return replace(pipeline, withheld=code) if code and pipeline.withheld != SWITCHED_OFF else pipeline


def without_pipeline(bundles: Mapping[str, Bundle]) -> dict[str, str]:
    """The code of why a bundle gives no pipeline, by its name, for each that gives none."""
    found: dict[str, str] = {}
    for bundle in _others(bundles):
        try:
            pipeline_of(bundle)
        except NoPipeline as reason:
            found[bundle.name] = reason.code
    return found


def declared() -> Mapping[str, Pipeline]:
    """The tasks of `pipelines/tasks/`, by name."""
    return _load()


def _others(bundles: Mapping[str, Bundle], own: Mapping[str, Pipeline] = _NO_PIPELINES) -> list[Bundle]:
    """Those that no task runs, in order of their names."""
    named = {**_load(), **own}
    run = {pipeline.bundle for pipeline in named.values()} | set(named)
    return [bundle for name, bundle in sorted(bundles.items()) if name not in run]
