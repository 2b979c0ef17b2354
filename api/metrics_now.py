"""How things stand, read when a monitoring system asks: Offers, Cells, the ledger, the disk.

Nothing is kept between two readings, and a part that does not answer is left out rather than refused: its own alarm is
`bithive_ready`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from api.errors import SideAbsent
from api.instruments import OTHER
from api.services import Services
from bithive import __version__
from bithive.errors import BitHiveError
from bithive.limits import CELL_SILENCE_S
from bithive.log import get
from bithive.settings import Role
from clinic.workitem_store import Which
from cluster.census import CellLine, Census, OfferLine, Whose
from cluster.labels import Tier
from cluster.protocol import NodeState

CELLS_COUNTED_MAX = 200_000
_TIERS = frozenset(str(tier) for tier in Tier)
_NODE_STATES = frozenset(str(state) for state in NodeState)
_EVERYBODY = Whose(everything=True)
Key = TypeVar("Key", bound=tuple[str, ...])


def now(services: Services) -> CollectorRegistry:
    """A registry that reads everything once."""
    registry = CollectorRegistry()
    registry.register(_Reading(services))
    return registry


class _Reading:
    """A collector of one hub."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for part in PARTS:
            try:
                yield from list(part(self._services))
            except SideAbsent:
                continue
            except BitHiveError as error:
                get().warning("reading.failed", kind=part.__name__, code=error.code)


def hub(services: Services) -> Iterable[Metric]:
    """The program, its parts and its disk."""
    yield _gauge("build", "Always 1; the label says which version runs.", ("version",), {(__version__,): 1})
    checks, local = services.vitals.read()
    ready = {(name,): int(well) for name, well in checks.items()}
    yield _gauge("ready", "Whether a part is well.", ("check",), ready)
    yield _gauge("local_cells", "Cells that this process runs itself.", (), {(): local})
    usage = shutil.disk_usage(_existing(services.settings.state))
    yield _gauge("disk_free_bytes", "Free space where the state folder is.", (), {(): usage.free})
    yield _gauge("disk_size_bytes", "Size of that disk.", (), {(): usage.total})


def clinical(services: Services) -> Iterable[Metric]:
    """What the clinical side owes."""
    if services.settings.role is Role.NETWORK:
        return
    active = services.workitems.find(Which(active=True))
    states = Counter((str(item.state), "yes" if item.waiting else "no") for item in active)
    yield _gauge("workitems", "Analyses that have not ended.", ("state", "held_up"), states)


def offers(services: Services) -> Iterable[Metric]:
    """Offers that are not over."""
    queue = _census(services).queue()
    lines = queue.offers
    labels = ("state", "urgency", "data_class")
    counts = {(line.state, line.urgency, line.data_class): line.count for line in lines}
    yield _gauge("offers", "Offers that are not over.", labels, counts)
    yield _gauge("ledger_waiting_events", "Events that the ledger has not taken yet.", (), {(): queue.events})
    yield _gauge("spool_bytes", "Sealed payloads kept for them.", (), {(): sum(line.sealed_bytes for line in lines)})
    now_ms = services.clock.now_ms()
    yield _gauge("offer_oldest_seconds", "Age of the oldest that waits.", ("urgency",), _oldest(lines, now_ms))


def cells(services: Services) -> Iterable[Metric]:
    """Cells and Nodes by where they stand and how they are."""
    census, now_ms = _census(services), services.clock.now_ms()
    found, _ = census.cells(_EVERYBODY, CELLS_COUNTED_MAX)
    silent_ms = now_ms - round(CELL_SILENCE_S * 1000)
    heard = services.broker.presence.heard()
    live = {cell.cell for cell in found if heard.get(cell.cell, 0) >= silent_ms}
    kinds = Counter((_tier(cell), "revoked" if cell.revoked_ms else _is_live(cell.cell in live)) for cell in found)
    yield _gauge("cells", "Registered Cells.", ("tier", "state"), kinds)
    states = services.broker.presence.node_states()
    nodes: Counter[tuple[str, ...]] = Counter()
    slots = 0
    tiers = {cell.cell: _tier(cell) for cell in found}
    for node in census.nodes(None):
        told = str(states.get(node.node, "")) if node.cell in live else ""
        state = "revoked" if node.revoked_ms else told if told in _NODE_STATES else _is_live(node.cell in live)
        nodes[tiers.get(node.cell, OTHER), state] += 1
        slots += node.slots if state in {"up", "live"} else 0
    yield _gauge("nodes", "Registered Nodes.", ("tier", "state"), nodes)
    yield _gauge("slots", "Attempts that the Nodes that are up can take at once.", (), {(): slots})


def leases(services: Services) -> Iterable[Metric]:
    """Attempts under way, and strikes."""
    census = _census(services)
    counts = Counter((line.urgency, line.stage or "leased") for line in census.leases(_EVERYBODY, 10_000))
    yield _gauge("leases", "Attempts under way.", ("urgency", "stage"), counts)
    strikes: Counter[tuple[str, ...]] = Counter()
    for line in census.quality(None, services.clock.now_ms()).strikes:
        strikes[(services.metrics.code(line.code),)] += line.count
    family = CounterMetricFamily("bithive_strikes", "Receipts that did not hold, since ever.", labels=("code",))
    for labels, count in sorted(strikes.items()):
        family.add_metric(labels, count)
    yield family


def ledger(services: Services) -> Iterable[Metric]:
    """How far the ledger is behind, and how far its last seal is."""
    with services.ledger.store.reading() as snapshot:
        head, seal = snapshot.head(), snapshot.last_seal()
    sealed_seq, sealed_ms = (seal.to_seq, seal.sealed_ms) if seal else (0, 0)
    yield _gauge("ledger_entries", "Entries of the log.", (), {(): head.seq})
    yield _gauge("ledger_unsealed_entries", "Entries after the last seal.", (), {(): head.seq - sealed_seq})
    yield _gauge("ledger_sealed_timestamp_seconds", "When the last seal was made.", (), {(): sealed_ms / 1000})


PARTS: tuple[Callable[[Services], Iterable[Metric]], ...] = (hub, clinical, offers, cells, leases, ledger)


def _census(services: Services) -> Census:
    census = services.broker.census
    if census is None:
        raise SideAbsent
    return census


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Key, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"bithive_{name}", text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _oldest(lines: Iterable[OfferLine], now_ms: int) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for line in lines:
        if line.state == "OPEN":
            age_s = max(now_ms - line.oldest_ms, 0) / 1000
            found[line.urgency,] = max(age_s, found.get((line.urgency,), 0.0))
    return found


def _tier(cell: CellLine) -> str:
    return cell.tier if cell.tier in _TIERS else OTHER


def _is_live(live: bool) -> str:
    return "live" if live else "silent"


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
