"""`bithive node join` and `bithive cell init`: what both ask, measure and say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import typer

from api.commands.node_words import gib
from api.startup import is_loopback
from bithive.clock import Clock, SystemClock
from bithive.errors import BadInput, BitHiveError
from bithive.keys import SigningKey, fingerprint
from bithive.offer import DataClass
from bithive.settings import Settings
from cluster import bandwidth, machine, measure
from cluster.caps import Caps
from cluster.data_classes import Terms
from cluster.errors import HubDiffers
from cluster.invites_cell import CellInvite
from cluster.join import NODE_KEY, Lent, bounded, join_cell, join_hub, lowered, namespace_name, refuse_joined
from cluster.labels import residency, tier
from cluster.likely import Rates, likely
from cluster.loading import Stock, fetch
from cluster.network_call import trusting
from cluster.node_benchmark import Speed, benchmark
from cluster.plan import Plan
from cluster.presets import PRESETS, timetable
from cluster.profile import Profile, hub_certificate, hub_token
from cluster.protocol import ROOTS, VERSION_HEADER
from cluster.protocol_join import Invite, Joined
from cluster.register_client import redeem
from cluster.standing_words import may_receive
from cluster.timetable import Timetable
from cluster.uninstall import check_folder
from cluster.wall import WallSpec
from models.catalog import Catalog

_BENCHMARK_S = 45.0
_TIMEOUT_S = 30.0
_PERCENT_BP = 100


def lent_of(
    place: str,
    country: str,
    slots: int,
    *,
    threads: int | None,
    memory: str | None,
    gpu: int | None,
    bandwidth_mbit: float | None,
    pause_when_used: bool | None,
    hours: str | None,
    zone: str | None,
    data_class_max: str | None,
) -> Lent:
    """What the contributor lends: the place's preset, and what the options say otherwise. Raises `BadInput`."""
    kind = tier(place)
    preset, local = PRESETS[kind], zone or machine.zone()
    said: dict[str, Any] = {
        "threads": threads,
        "memory_bytes": None if memory is None else gib(memory),
        "gpu_fraction_bp": None if gpu is None else gpu * _PERCENT_BP,
        "bandwidth_bps": None if bandwidth_mbit is None else round(bandwidth_mbit * 1e6),
        "pause_when_used": pause_when_used,
    }
    caps = replace(preset.caps, **{name: value for name, value in said.items() if value is not None})
    table = timetable(kind, local) if hours is None else Timetable.parse(hours, local)
    if data_class_max is not None and data_class_max not in list(DataClass):
        raise BadInput(f"a data class is one of {', '.join(DataClass)}")
    return Lent(kind, residency(country), slots, caps, table, DataClass(data_class_max or preset.data_class_max))


def look(state: Path) -> machine.Machine:
    """Measure this machine, show it, and refuse it if it is not fit. Raises `MachineUnfit`."""
    found = machine.measured(state)
    for line in found.lines():
        typer.echo(f"  {line}")
    machine.check(found)
    return found


def check_address(hub_url: str) -> None:
    """A hub is reached by TLS, or on this very machine. Raises `HubDiffers`."""
    parts = urlsplit(hub_url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise HubDiffers("the invite's hub has no https address: tokens and payloads leave this machine by TLS only")


def say_receives(terms: Terms, lent: Lent) -> None:
    """What the machine may receive and never will."""
    typer.echo("This machine:")
    for line in may_receive(bounded(terms, lent)).lines:
        typer.echo(f"  {line}")


def say_profile_receives(profile: Profile) -> None:
    """The same of a machine that has joined."""
    for line in may_receive(lowered(profile)).lines:
        typer.echo(f"  {line}")


def say_earns(settings: Settings, profile: Profile, *, run: bool) -> None:
    """Measure bandwidth and bundles, and say what comes of it."""
    clock = SystemClock()
    rates = _network(settings, profile, clock)
    speeds = _speeds(settings, profile, clock) if run else []
    for speed in speeds:
        typer.echo(f"  {speed.bundle}: {speed.work_units:,} work units in {speed.wall_ms / 1000:.2f} s")
    typer.echo("Earnings:")
    for line in likely(speeds, profile.slots, profile.timetable, clock.now_ms(), rates).lines:
        typer.echo(f"  {line}")


def client_of(settings: Settings, profile: Profile) -> httpx2.Client:
    """Speaks with the hub as this cell, for what needs no signature."""
    certificate = hub_certificate(settings)
    return httpx2.Client(
        base_url=profile.hub_url.rstrip("/") + ROOTS["2"],
        headers={"Authorization": f"Bearer {hub_token(settings)}", VERSION_HEADER: "2"},
        timeout=_TIMEOUT_S,
        verify=trusting(certificate),
        trust_env=False,
    )


def _network(settings: Settings, profile: Profile, clock: Clock) -> Rates | None:
    """Show the bandwidth; what the hub tells of its rates, if it does."""
    with client_of(settings, profile) as client:
        try:
            typer.echo(f"  {bandwidth.measure(client, clock).words}")
            answer = client.get("/rates")
            answer.raise_for_status()
            return Rates.from_json(answer.json())
        except (BitHiveError, httpx2.HTTPError, ValueError):
            typer.echo("  the hub did not answer the measurement")
            return None


def _speeds(settings: Settings, profile: Profile, clock: Clock) -> Sequence[Speed]:
    """Of the bundles whose weights are here or can be had now."""
    typer.echo(f"Running bundles as in service, for {_BENCHMARK_S:.0f} s at most ...")
    catalog = Catalog.of(settings)
    fetch(catalog)
    stock = Stock(lambda: Catalog.of(settings), settings.model_store.absolute(), clock)
    plan = Plan(
        store=str(settings.model_store.absolute()),
        trusted_keys=tuple(sorted(catalog.trusted())),
        first=(),
        later=(),
        engine=settings.cell.engine,
        threads=profile.caps.threads_of(measure.threads(), profile.slots),
        warm_max=settings.cell.warm_max,
        memory_bytes=slot_memory_bytes(profile.caps, profile.slots),
        key_path="",
        log_level="error",
    )

    def sample(name: str) -> Path | None:
        try:
            return catalog.sample(name)
        except BitHiveError:
            return None

    try:
        return list(benchmark(plan, stock.bundles(), sample, clock, _BENCHMARK_S))
    except BitHiveError as error:
        typer.echo(f"  bundles could not be run: {error.detail} [{error.code}]")
        return []


def slot_memory_bytes(caps: Caps, slots: int) -> int:
    """What one Attempt may take on this machine."""
    return measure.slot_memory_bytes(caps.slot_memory_bytes(slots), slots, measure.memory_bytes())


def join_as_cell(settings: Settings, line: str, lent: Lent, *, run: bool) -> None:
    """Make this machine a cell of one with a hub's invite, up to its start."""
    invite = Invite.from_line(line)
    found = begin(settings, lent)
    check_address(invite.hub_url)
    check_wall_can_stand()
    joined = join_hub(settings.state.absolute(), invite, lent, redeem, None, WallSpec("private"))
    typer.echo(f"Joined {invite.hub_url} as {joined.cell}; {joined.operator} is paid.")
    typer.echo(f"Its key: {fingerprint_of(settings)}; accelerator: {found.accelerator}")
    say(settings, joined, lent, run=run)


def begin(settings: Settings, lent: Lent) -> machine.Machine:
    """Check folder and machine, and show both with what is lent. Raises `AlreadyJoined`, `MachineUnfit`."""
    state = settings.state.absolute()
    refuse_joined(state)
    check_folder(state)
    typer.echo(f"Checking this machine ({lent.tier}: {PRESETS[lent.tier].words}):")
    found = look(state)
    typer.echo(f"  bounds: {', '.join(lent.caps.words())}; {lent.slots} at once")
    typer.echo(f"  hours: {lent.timetable.words()} ({lent.timetable.zone})")
    return found


def say(settings: Settings, joined: Joined, lent: Lent, *, run: bool) -> None:
    """What follows from having joined; the one-time address of its own page last."""
    say_receives(joined.terms, lent)
    profile = Profile.of(settings)
    say_earns(settings, profile, run=run)
    if joined.contributor_path:
        typer.echo(f"Its own page, once: {profile.hub_url.rstrip('/')}{joined.contributor_path}")


def join_as_member(
    settings: Settings, line: str, lent: Lent, code: str, address: str, attach: str, interface: str
) -> None:
    """Make this machine a further one of a cell, up to its start."""
    invite = CellInvite.open(line, code, SystemClock().now_ms())
    found, state = begin(settings, lent), settings.state.absolute()
    name = namespace_name(state)
    profile = join_cell(state, invite, lent, address, name)
    if interface:
        make_wall(state, profile.wall, attach, interface)
    typer.echo(f"A machine of {profile.operator}'s cell at {invite.gcs_address}; accelerator: {found.accelerator}")
    say_profile_receives(profile)


def make_wall(state: Path, wall: WallSpec, attach: str, interface: str) -> None:
    """The network namespace that holds the operator's network alone. Raises `WallAbsent`."""
    from cluster.namespaces import Attach, keep_attach, make_namespace

    kind = {"bridge": "bridge", "macvlan": "macvlan", "move": "move"}.get(attach)
    if kind is None:
        raise BadInput("a namespace is attached by bridge, macvlan or move")
    how = Attach.from_json({"kind": kind, "interface": interface})
    make_namespace(wall, how)
    keep_attach(state, how)
    typer.echo(f"network namespace {wall.name}: {wall.address} in {wall.network}, by {kind} on {interface}")


def check_wall_can_stand() -> None:
    """Refuse a machine that cannot keep others away from Ray. Raises `WallAbsent`, `WallOpen`."""
    from cluster import wall_linux

    wall_linux.try_wall(WallSpec("private"))


def fingerprint_of(settings: Settings) -> str:
    """The short name of this machine's key."""
    return fingerprint(SigningKey.load_or_create(settings.state.absolute() / NODE_KEY).public_hex)
