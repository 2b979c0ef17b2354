"""How a machine becomes a cell of one, the head of a cell, or a further machine of one: what is written, in which order.

Keys come first, since an invite that was used once may be used again by the same key; the profile comes last, and only
a machine that has it has joined. Whatever is killed in between is begun again with the same invite.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from bithive import __version__
from bithive.ids import Ids
from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster.caps import Caps
from cluster.data_classes import Terms
from cluster.errors import AlreadyJoined, HubDiffers, MachineUnfit, NetworkUnreachable
from cluster.invites_cell import CellInvite
from cluster.labels import Tier
from cluster.machine import RAY_VERSION
from cluster.private_files import write_private
from cluster.profile import FILE, HUB_CERTIFICATE, HUB_TOKEN, RAY_TOKEN, HeadSpec, Profile, Role
from cluster.protocol_join import Invite, Joined
from cluster.timetable import Timetable
from cluster.wall import WallSpec

CELL_KEY = Path("keys") / "cell.key"
NODE_KEY = Path("keys") / "node.key"
NETWORK_KEY = Path("keys") / "network.pub"
CELL_ID = Path("keys") / "cell.id"
AUTHORITY, CERTIFICATE, CERTIFICATE_KEY = (Path("tls") / name for name in ("authority.pem", "node.pem", "node.key"))

GCS_PORT = 6379

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Lent:
    """What the contributor says when joining.

    Attributes
    ----------
    tier, residency
        What kind of place it is, and its country (empty: untold).
    slots
        Attempts at once.
    caps, timetable, data_class_max
        Bounds.
    """

    tier: Tier
    residency: str
    slots: int
    caps: Caps
    timetable: Timetable
    data_class_max: DataClass


class Redeem(Protocol):
    """Exchanges an invite at the hub (`cluster.register_client.redeem`)."""

    def __call__(self, invite: Invite, key: SigningKey, *, certificate: Path | None = None) -> Joined:
        """Raises `InviteSpent`, `NetworkUnreachable`."""


def refuse_joined(state: Path) -> None:
    """Raise `AlreadyJoined` if a state folder belongs to a cell."""
    if (state / FILE).exists():
        raise AlreadyJoined(
            "this machine has joined; `bithive node start` starts it, `bithive node uninstall` removes it"
        )


def join_hub(state: Path, invite: Invite, lent: Lent, redeem: Redeem, head: HeadSpec | None, wall: WallSpec) -> Joined:
    """Use a hub's invite: from then on the state folder is a cell's.

    Parameters
    ----------
    state
        The folder.
    invite
        From the hub's operator.
    lent
        What the contributor says.
    redeem
        Exchanges it.
    head, wall
        Of a cell of several machines; None and the private wall for a cell of one.

    Raises
    ------
    AlreadyJoined, HubDiffers, NetworkUnreachable
        And what `redeem` raises.
    """
    refuse_joined(state)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = SigningKey.load_or_create(state / CELL_KEY)
    SigningKey.load_or_create(state / NODE_KEY)
    certificate = _pinned(state, invite)
    joined = redeem(invite, key, certificate=certificate)
    write_private(state / HUB_TOKEN, joined.token.encode())
    write_private(state / CELL_ID, joined.cell.encode())
    if joined.network_key:
        write_private(state / NETWORK_KEY, joined.network_key.encode())
    Profile(
        hub_url=invite.hub_url,
        operator=joined.operator,
        tier=lent.tier,
        residency=lent.residency,
        data_class_max=lent.data_class_max,
        role=Role.SINGLE if head is None else Role.HEAD,
        slots=lent.slots,
        wall=wall,
        caps=lent.caps,
        timetable=lent.timetable,
        head=head,
        terms=joined.terms,
    ).save(state)
    return joined


def join_cell(state: Path, invite: CellInvite, lent: Lent, address: str, name: str) -> Profile:
    """Use a cell's invite: from then on the state folder is a further machine's of that cell.

    Parameters
    ----------
    address
        Of this machine in the operator's network, where the invite does not fix it.
    name
        Of the network namespace that holds the operator's network on this machine.

    Raises
    ------
    AlreadyJoined
        If it belongs to a cell already.
    MachineUnfit
        If BitHive or Ray is another version than the head's, or there is no address.
    """
    refuse_joined(state)
    if (invite.version, invite.ray) != (__version__, RAY_VERSION):
        raise MachineUnfit(
            f"the cell's head runs BitHive {invite.version} with Ray {invite.ray}; all machines run the same"
        )
    own = invite.address or address
    if not own:
        raise MachineUnfit("say which address this machine has in the operator's network")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    SigningKey.load_or_create(state / NODE_KEY)
    if invite.tls:
        for path, content in ((AUTHORITY, invite.authority), (CERTIFICATE, invite.certificate)):
            write_private(state / path, content.encode())
        write_private(state / CERTIFICATE_KEY, invite.key.encode())
    write_private(state / RAY_TOKEN, invite.ray_token.encode())
    most = DataClass(invite.data_class_max)
    said = Terms(invite.institution or None, invite.vetted, Tier(invite.tier), invite.residency, most)
    narrowed = said.narrowed(str(lent.tier), lent.residency, lent.data_class_max)
    profile = Profile(
        hub_url="",
        operator=invite.operator,
        tier=narrowed.tier,
        residency=lent.residency or invite.residency,
        data_class_max=narrowed.data_class_max,
        role=Role.MEMBER,
        slots=lent.slots,
        wall=WallSpec("namespace", name, invite.network, own),
        caps=lent.caps,
        timetable=lent.timetable,
        head=HeadSpec(invite.gcs_address, own, invite.tls),
        terms=said,
    )
    profile.save(state)
    return profile


def ray_token(state: Path, ids: Ids, *, new: bool = False) -> str:
    """The token of a cell of several machines, made when there is none or a new one is wanted."""
    path = state / RAY_TOKEN
    if new or not path.exists():
        write_private(path, ids.token(32).hex().encode())
    return path.read_text()


def namespace_name(state: Path) -> str:
    """The name of the network namespace of a state folder: one machine may hold several cells."""
    return f"bithive-{hashlib.sha256(str(state.absolute()).encode()).hexdigest()[:8]}"


def bounded(terms: Terms, lent: Lent) -> Terms:
    """What the machine may receive at most: what the network admitted it for, less what its contributor keeps out."""
    return terms.narrowed(str(lent.tier), lent.residency, lent.data_class_max)


def lowered(profile: Profile) -> Terms:
    """The same of a machine that has joined; what a stranger may receive where nobody said more."""
    terms = profile.terms or Terms(None, vetted=False, tier=profile.tier)
    return terms.narrowed(str(profile.tier), profile.residency, profile.data_class_max)


def _pinned(state: Path, invite: Invite) -> Path | None:
    """The hub's certificate, kept if the invite names it; None where the system's authorities vouch for it."""
    if not invite.fingerprint:
        return None
    path = state / HUB_CERTIFICATE
    write_private(path, certificate_of(invite.hub_url, invite.fingerprint).encode())
    return path


def certificate_of(hub_url: str, fingerprint: str, fetch: Callable[[tuple[str, int]], str] | None = None) -> str:
    """The certificate (PEM) that a hub shows, if it is the one that was promised.

    Parameters
    ----------
    hub_url, fingerprint
        Address, and SHA-256 of the certificate (DER) in hexadecimal.
    fetch
        Asks a place for its certificate without judging it.

    Raises
    ------
    HubDiffers
        If it is another one: somebody stands in between, or the hub has a new one and the invite is old.
    NetworkUnreachable
        If nobody answers.
    """
    address = urlsplit(hub_url)
    place = address.hostname or "", address.port or 443
    try:
        pem = fetch(place) if fetch else ssl.get_server_certificate(place, timeout=_CONNECT_S)
    except (OSError, ValueError):
        raise NetworkUnreachable from None
    if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() != fingerprint:
        raise HubDiffers("the hub shows another certificate than the invite promises")
    return pem
