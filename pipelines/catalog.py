"""Every clinical task that this installation has: the modules of `pipelines/tasks/`, and one for each installed bundle."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from models.bundle import Bundle
from pipelines import tasks
from pipelines.errors import NoPipeline
from pipelines.from_bundle import pipeline_of
from pipelines.match import LICENCE_NOT_ACCEPTED
from pipelines.spec import Pipeline

_NONE: Mapping[str, Bundle] = MappingProxyType({})


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
def _load() -> MappingProxyType[str, Pipeline]:
    found: dict[str, Pipeline] = {}
    for module in sorted(pkgutil.iter_modules(tasks.__path__), key=lambda item: item.name):
        pipeline = importlib.import_module(f"{tasks.__name__}.{module.name}").PIPELINE
        assert isinstance(pipeline, Pipeline), f"{module.name} declares no PIPELINE"
        assert pipeline.name == module.name, f"{module.name} declares {pipeline.name}"
        found[pipeline.name] = pipeline
    return MappingProxyType(found)


def pipelines(
    bundles: Mapping[str, Bundle] = _NONE, accepted: Callable[[Bundle], bool] = lambda _bundle: True
) -> dict[str, Pipeline]:
    """Every pipeline by name. A fresh dictionary: leave out what is switched off.

    Parameters
    ----------
    bundles
        The catalogue's. Those that no task names give a pipeline of their own, named as the bundle, if they can.
    accepted
        Whether a bundle's licence is; the pipeline of another takes no series, with `licence-not-accepted`.
    """
    found = dict(_load())
    for bundle in _others(bundles):
        try:
            found[bundle.name] = pipeline_of(bundle, "" if accepted(bundle) else LICENCE_NOT_ACCEPTED)
        except NoPipeline:
            continue
    return found


def without_pipeline(bundles: Mapping[str, Bundle]) -> dict[str, str]:
    """The code of why a bundle gives no pipeline, by its name, for each that gives none."""
    found: dict[str, str] = {}
    for bundle in _others(bundles):
        try:
            pipeline_of(bundle)
        except NoPipeline as reason:
            found[bundle.name] = reason.code
    return found


def _others(bundles: Mapping[str, Bundle]) -> list[Bundle]:
    """Those that no task runs, in order of their names."""
    declared = _load()
    run = {pipeline.bundle for pipeline in declared.values()} | set(declared)
    return [bundle for name, bundle in sorted(bundles.items()) if name not in run]
