"""What a machine's profile and settings mean for those who run bundles on it: what it loads, lends and says of itself.

Imported behind the wall only: numpy and what it brings start threads.
"""

from __future__ import annotations

from pathlib import Path

from bithive.clock import SystemClock
from bithive.ids import RandomIds
from bithive.keys import SigningKey
from bithive.settings import Mode, Settings
from cluster import loading, measure
from cluster.agent_view import Identity
from cluster.attester_simulated import SimulatedAttester
from cluster.attesting import Attesting, EvidenceSide
from cluster.labels import Tier
from cluster.loading import Stock
from cluster.plan import Plan
from cluster.profile import Profile
from cluster.runner import Runner
from models.catalog import Catalog

_GIVES_WAY = 10
_HOMELY = frozenset({Tier.HOME, Tier.WORKSTATION})


def open_runner(settings: Settings, profile: Profile) -> Runner:
    """Ray with replicas that can run every bundle of the catalogue whose weights are here. Raises `RunnerDied`."""
    from cluster.lending_ray import machine_of
    from cluster.runner_ray import RayRunner, RaySettings

    stock = stock_of(settings)
    tls = profile.head is not None and profile.head.tls
    kept = RaySettings(machine_of(settings, profile, stock), settings.cell.replicas_min, tls)
    return RayRunner(kept, stock, SystemClock())


def stock_of(settings: Settings) -> Stock:
    """The bundles that this machine can run."""
    store = settings.model_store.absolute()
    return loading.Stock(lambda: Catalog.of(settings), store, SystemClock())


def plan_of(settings: Settings, profile: Profile, stock: Stock) -> Plan:
    """What a replica on this machine loads, and how, within the contributor's bounds."""
    cell, caps, key_path = settings.cell, profile.caps, _node_key(settings)
    SigningKey.load_or_create(key_path)
    first, later = loading.in_order(stock.bundles())
    own_memory = caps.slot_memory_bytes(profile.slots)
    gives_way = caps.pause_when_used or profile.tier in _HOMELY
    return Plan(
        store=str(settings.model_store.absolute()),
        trusted_keys=tuple(sorted(Catalog.of(settings).trusted())),
        first=first,
        later=later,
        engine=cell.engine,
        threads=caps.threads_of(measure.threads(), profile.slots),
        warm_max=cell.warm_max,
        memory_bytes=measure.slot_memory_bytes(own_memory, profile.slots, measure.memory_bytes()),
        key_path=str(key_path),
        log_level=settings.log_level,
        nice=_GIVES_WAY if gives_way else 0,
    )


def identity_of(settings: Settings, profile: Profile) -> Identity:
    """Who the cell says it is."""
    cell_key = SigningKey.load_or_create(settings.state.absolute() / "keys" / "cell.key")
    node_key = SigningKey.load_or_create(_node_key(settings))
    return Identity(
        cell_key.public_hex,
        profile.operator,
        profile.data_class_max,
        terms=profile.terms,
        tier=str(profile.tier),
        residency=profile.residency,
        node_keys=(node_key,),
    )


def attesting_of(settings: Settings, network: EvidenceSide, identity: Identity) -> Attesting | None:
    """Who vouches for this cell's software, if anybody does: in a demonstration, itself."""
    if not settings.cell.simulated_attester or settings.mode is not Mode.DEMO:
        return None
    clock = SystemClock()
    path = settings.state.absolute() / "keys" / "attester.key"
    key = SigningKey.load_or_create(path)
    path.with_suffix(".pub").write_text(key.public_hex + "\n")  # for the hub's settings
    attester = SimulatedAttester(key, clock)
    return Attesting(attester, network, identity.cell_key, clock, RandomIds(clock).token())


def _node_key(settings: Settings) -> Path:
    return settings.state.absolute() / "keys" / "node.key"
