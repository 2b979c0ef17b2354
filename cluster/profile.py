"""What a machine of a cell was told when it joined: where, as what, under which bounds. `state/profile.json`.

No credential is in it: the hub's token, Ray's token and keys are files of their own beside it. A machine without the
file is what its settings say: the embedded cell of a hub, or one run from the environment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from bithive.errors import BitHiveError
from bithive.offer import DataClass
from bithive.settings import Settings
from cluster.caps import Caps
from cluster.data_classes import Terms
from cluster.errors import BadProfile
from cluster.labels import Tier
from cluster.private_files import read_private, write_private
from cluster.timetable import Timetable
from cluster.wall import WallSpec

FILE = "profile.json"
HUB_TOKEN = Path("keys") / "hub.token"
RAY_TOKEN = Path("keys") / "ray.token"
HUB_CERTIFICATE = Path("tls") / "hub.pem"

_VERSION = 1
_SLOTS_MAX = 200
_MEMBERS = {"version", "hub_url", "operator", "tier", "residency", "data_class_max", "role", "slots"} | {
    *("wall", "caps", "timetable", "head", "terms")
}


class Role(StrEnum):
    """What a machine is in its cell."""

    SINGLE = "single"
    """A cell of one: Ray's head, the agent and the replicas."""
    HEAD = "head"
    """Of a cell of several: Ray's head and the agent, and replicas unless told not to."""
    MEMBER = "member"
    """A further machine: joins the head over the operator's network."""


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """How Ray's processes of a cell of several machines find each other.

    Attributes
    ----------
    gcs_address
        `host:port` of Ray's head in the operator's network.
    node_ip
        Address of this machine in that network.
    tls
        Whether Ray's processes talk TLS with certificates of the operator's own authority.
    """

    gcs_address: str
    node_ip: str
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """One machine of a cell.

    Attributes
    ----------
    hub_url
        Address of the network side; empty for a member, which never talks to it.
    operator
        Who is paid.
    tier, residency
        What kind of place it is, and its country (ISO 3166-1 alpha-2; empty when untold).
    data_class_max
        The most sensitive class that it takes.
    role
        What it is in its cell.
    slots
        Attempts at once.
    wall
        What Ray's listeners are kept behind.
    caps, timetable
        The contributor's bounds.
    head
        Of a cell of several machines, else None.
    terms
        What the network side said that it admitted this cell for; None when nobody said so. The agent's own gate.
    """

    hub_url: str
    operator: str
    tier: Tier
    residency: str
    data_class_max: DataClass
    role: Role
    slots: int
    wall: WallSpec
    caps: Caps = field(default_factory=Caps)
    timetable: Timetable = field(default_factory=Timetable)
    head: HeadSpec | None = None
    terms: Terms | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The profile of this machine: its file, or what its settings say. Raises `BadProfile`, `BadSettings`."""
        return cls.load(settings.state) or cls.from_settings(settings)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """What a machine without the file is: a cell of one behind a private wall."""
        cell = settings.cell
        return cls(
            hub_url=cell.hub_url or "",
            operator=cell.operator,
            tier=Tier(cell.tier),
            residency=cell.residency,
            data_class_max=DataClass(cell.data_class_max),
            role=Role.SINGLE,
            slots=cell.slots,
            wall=WallSpec("private"),
            caps=Caps(threads=min(1024, cell.threads * cell.slots), memory_bytes=cell.memory_bytes * cell.slots),
        )

    @classmethod
    def load(cls, state: Path) -> Self | None:
        """The file in a state folder; None if there is none. Raises `BadProfile`, `BadSettings`."""
        content = read_private(state / FILE)
        if content is None:
            return None
        try:
            return cls.from_json(json.loads(content))
        except (ValueError, RecursionError):
            raise BadProfile("profile.json is no JSON") from None

    def save(self, state: Path) -> None:
        """Keep it in a state folder, mode 0600, in place of what was there."""
        write_private(state / FILE, json.dumps(self.to_json(), indent=2).encode() + b"\n")

    def with_bounds(self, caps: Caps | None = None, timetable: Timetable | None = None) -> Self:
        """The same machine under other bounds."""
        return replace(self, caps=caps or self.caps, timetable=timetable or self.timetable)

    def to_json(self) -> dict[str, Any]:
        head = self.head
        return {
            "version": _VERSION,
            "hub_url": self.hub_url,
            "operator": self.operator,
            "tier": str(self.tier),
            "residency": self.residency,
            "data_class_max": str(self.data_class_max),
            "role": str(self.role),
            "slots": self.slots,
            "wall": self.wall.to_json(),
            "caps": self.caps.to_json(),
            "timetable": self.timetable.to_json(),
            "head": head and {"gcs_address": head.gcs_address, "node_ip": head.node_ip, "tls": head.tls},
            "terms": self.terms and self.terms.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadProfile`."""
        told = _exactly(value, _MEMBERS)
        if told["version"] != _VERSION:
            raise BadProfile("it was written by another version")
        try:
            return cls(
                hub_url=_text(told["hub_url"], 2048, empty=told["role"] == Role.MEMBER),
                operator=_text(told["operator"], 64),
                tier=Tier(told["tier"]),
                residency=_text(told["residency"], 2, empty=True),
                data_class_max=DataClass(told["data_class_max"]),
                role=Role(told["role"]),
                slots=_slots(told["slots"]),
                wall=WallSpec.from_json(told["wall"]),
                caps=Caps.from_json(told["caps"]),
                timetable=Timetable.from_json(told["timetable"]),
                head=_head(told["head"]),
                terms=None if told["terms"] is None else Terms.from_json(told["terms"]),
            )
        except BadProfile:
            raise
        except (ValueError, BitHiveError) as error:
            raise BadProfile(f"a member is not what it should be: {error}") from None


def hub_token(settings: Settings) -> str | None:
    """The cell's credential: the file that joining wrote, else the setting. Raises `BadSettings`."""
    kept = read_private(settings.state / HUB_TOKEN)
    if kept is not None:
        return kept.decode("ascii", "replace").strip()
    return settings.cell.token.get_secret_value() if settings.cell.token else None


def ray_token(settings: Settings) -> str | None:
    """What Ray's processes of this cell show each other; None while there is none. Raises `BadSettings`."""
    kept = read_private(settings.state / RAY_TOKEN)
    return None if kept is None else kept.decode("ascii", "replace").strip()


def hub_certificate(settings: Settings) -> Path | None:
    """The certificate that this machine was told to trust as the hub's; None for the system's authorities."""
    path = settings.state / HUB_CERTIFICATE
    return path if path.is_file() else None


def _exactly(value: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        raise BadProfile(f"the members are exactly {', '.join(sorted(names))}")
    return value


def _text(value: Any, length_max: int, *, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > length_max or not (value or empty) or not value.isprintable():
        raise BadProfile("a text is empty, too long or not printable")
    return value


def _slots(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _SLOTS_MAX:
        raise BadProfile(f"slots are 1 to {_SLOTS_MAX}")
    return value


def _head(value: Any) -> HeadSpec | None:
    if value is None:
        return None
    told = _exactly(value, {"gcs_address", "node_ip", "tls"})
    if type(told["tls"]) is not bool:
        raise BadProfile("tls is no truth value")
    return HeadSpec(_text(told["gcs_address"], 128), _text(told["node_ip"], 64), told["tls"])
