"""The head of an operator's cell of several machines: how it is made, and how it invites the others."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

import typer

from api.commands import node_join
from bithive import __version__
from bithive.clock import Clock, SystemClock
from bithive.errors import BadInput
from bithive.ids import Ids, RandomIds
from bithive.settings import Settings
from cluster.errors import CellUnconfigured
from cluster.invites_cell import CellInvite
from cluster.join import GCS_PORT, Lent, bounded, join_hub, namespace_name, ray_token
from cluster.machine import RAY_VERSION
from cluster.profile import HeadSpec, Profile, Role
from cluster.protocol_join import Invite
from cluster.register_client import redeem
from cluster.wall import WallSpec

TLS = Path("tls")

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where the head stands in the operator's network.

    Attributes
    ----------
    network, address
        The network (CIDR), and this machine's address in it.
    interface, attach
        Of the machine to it, and how the namespace gets it; no namespace is made without an interface.
    tls
        Whether the machines talk TLS.
    """

    network: str
    address: str
    interface: str
    attach: str
    tls: bool


def init(settings: Settings, line: str, lent: Lent, place: Place, *, run: bool) -> None:
    """Make the head of a cell, up to its start."""
    told, state = Invite.from_line(line), settings.state.absolute()
    node_join.begin(settings, lent)
    node_join.check_address(told.hub_url)
    wall = WallSpec("namespace", namespace_name(state), place.network, place.address)
    head = HeadSpec(f"{_host(place.address)}:{GCS_PORT}", place.address, place.tls)
    joined = join_hub(state, told, lent, redeem, head, wall)
    _secrets(settings, place, joined.operator)
    if place.interface:
        node_join.make_wall(state, wall, place.attach, place.interface)
    typer.echo(f"Joined {told.hub_url} as {joined.cell}, head at {head.gcs_address}; {joined.operator} is paid.")
    node_join.say(settings, joined, lent, run=run)


def invite(
    settings: Settings, ids: Ids, clock: Clock, address: str, hours: float, *, new_token: bool
) -> tuple[str, str]:
    """A line for a further machine, and its code. Raises `CellUnconfigured` on a machine that is no head."""
    state = settings.state.absolute()
    profile = Profile.load(state)
    if profile is None or profile.role is not Role.HEAD or profile.head is None:
        raise CellUnconfigured("only the head of a cell of several machines invites; see `bithive cell init --network`")
    if profile.head.tls and not address:
        raise BadInput("with TLS the certificate names the new machine's address: say --address")
    terms = bounded(profile.terms, _lent(profile)) if profile.terms else None
    authority, certificate, key = _certificate(state, address, clock) if profile.head.tls else ("", "", "")
    return CellInvite(
        gcs_address=profile.head.gcs_address,
        ray_token=ray_token(state, ids, new=new_token),
        network=profile.wall.network,
        address=address,
        operator=profile.operator,
        tier=str(terms.tier if terms else profile.tier),
        residency=terms.residency if terms else profile.residency,
        data_class_max=str(terms.data_class_max if terms else profile.data_class_max),
        institution=(terms.institution if terms else None) or "",
        vetted=terms is not None and terms.vetted,
        version=__version__,
        ray=RAY_VERSION,
        authority=authority,
        certificate=certificate,
        key=key,
        expires_ms=clock.now_ms() + round(hours * _HOUR_MS),
    ).seal(ids)


def _lent(profile: Profile) -> Lent:
    return Lent(profile.tier, profile.residency, profile.slots, profile.caps, profile.timetable, profile.data_class_max)


def _secrets(settings: Settings, place: Place, operator: str) -> None:
    """Ray's token, and with TLS the authority with this machine's own certificate."""
    clock, state = SystemClock(), settings.state.absolute()
    ray_token(state, RandomIds(clock))
    if place.tls:
        from cluster.certificates import issue, keep, make_authority

        make_authority(state / TLS, operator, clock)
        keep(state / TLS, issue(state / TLS, place.address, clock))


def _certificate(state: Path, address: str, clock: Clock) -> tuple[str, str, str]:
    from cluster.certificates import issue

    issued = issue(state / TLS, address, clock)
    return issued.authority, issued.certificate, issued.key


def _host(address: str) -> str:
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
