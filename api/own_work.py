"""The network's own public work in a hub: a loop of its own, paid by the network itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from api.relay import Loop
from bithive.clock import Clock
from bithive.errors import BitHiveError
from bithive.ids import Ids
from bithive.settings import Settings
from cluster.broker import Broker
from cluster.canary_answers import BundleAnswers
from cluster.plan import Plan
from cluster.public_work import PublicWork
from economy.economy import Economy
from models.bundle import Bundle
from models.catalog import Catalog
from models.licence import accepted

NAME = "own-work"
_GENTLEST = 19
_MEMORY_BYTES = 4 << 30


def own_work(
    settings: Settings,
    clock: Clock,
    ids: Ids,
    broker: Broker,
    economy: Economy,
    bundles: Callable[[], Mapping[str, Bundle]],
) -> Loop:
    """The loop that makes canaries and benchmarks for contributed cells, and keeps what they answer.

    Parameters
    ----------
    settings, clock, ids
        Of this hub.
    broker, economy
        Its network side.
    bundles
        What can be run, now, by name.
    """
    catalog = Catalog.of(settings)
    work = PublicWork(
        broker,
        broker.canaries,
        BundleAnswers(_plan(settings, catalog), clock),
        clock,
        ids,
        bundles=lambda: {name: item for name, item in bundles().items() if accepted(item, settings.models.licences)},
        samples=lambda name: _sample(catalog, name),
        folder=settings.state / "network" / "canaries",
        per_hour=settings.network.public_work_per_hour,
    )
    economy.booking.own_work = work.institution
    return Loop(NAME, work.tick)


def _plan(settings: Settings, catalog: Catalog) -> Plan:
    """What answers canaries on this machine: one thread, behind everything else."""
    return Plan(
        store=str(settings.model_store.absolute()),
        trusted_keys=tuple(sorted(catalog.trusted())),
        first=(),
        later=(),
        engine=settings.cell.engine,
        threads=1,
        warm_max=1,
        memory_bytes=_MEMORY_BYTES,
        key_path="",
        log_level=settings.log_level,
        nice=_GENTLEST,
    )


def _sample(catalog: Catalog, name: str) -> Path | None:
    """Where a public image lies, if it is here: nothing is fetched for it."""
    try:
        return catalog.sample(name)
    except BitHiveError:
        return None
