"""Every clinical task that this installation has: the modules of `pipelines/tasks/`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import MappingProxyType

from pipelines import tasks
from pipelines.spec import Pipeline


@cache
def _load() -> MappingProxyType[str, Pipeline]:
    found: dict[str, Pipeline] = {}
    for module in sorted(pkgutil.iter_modules(tasks.__path__), key=lambda item: item.name):
        pipeline = importlib.import_module(f"{tasks.__name__}.{module.name}").PIPELINE
        assert isinstance(pipeline, Pipeline), f"{module.name} declares no PIPELINE"
        assert pipeline.name == module.name, f"{module.name} declares {pipeline.name}"
        found[pipeline.name] = pipeline
    return MappingProxyType(found)


def pipelines() -> dict[str, Pipeline]:
    """Every pipeline by name. A fresh dictionary: leave out what is switched off."""
    return dict(_load())
