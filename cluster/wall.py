"""The wall around a cell's Ray: a network namespace in which its listeners are out of anybody's reach.

Ray listens on every interface whatever it is told, so it gets no interface that others can reach: a cell of one machine
has `lo` alone, a cell of several only the operator's own network, and neither has a way out. The agent inside reaches the
hub, and the hub alone, through sockets that a process outside connects for it (`cluster.dialler`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from bithive.errors import BadInput
from cluster.errors import WallOpen
from cluster.listeners import Network, Standing, standing

_KINDS = ("private", "namespace")

_FALLBACK_TUNNELS = frozenset(
    ("tunl0", "gre0", "gretap0", "erspan0", "sit0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0", "teql0")
)
"""What the kernel puts into each new namespace once such a driver is loaded, down and without an address."""


@dataclass(frozen=True, slots=True)
class WallSpec:
    """What Ray's listeners are kept behind.

    Attributes
    ----------
    kind
        `private`: a new namespace with `lo` alone. `namespace`: a named one that holds the operator's network.
    name
        Of the named namespace, else empty.
    network
        The operator's network (CIDR), else empty.
    address
        Of this machine in that network, else empty.
    """

    kind: Literal["private", "namespace"] = "private"
    name: str = ""
    network: str = ""
    address: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS or (self.kind == "private") != (not (self.name or self.network or self.address)):
            raise BadInput("a wall is private, or a namespace with name, network and address")
        if self.kind == "namespace":
            self._check_namespace()

    def to_json(self) -> dict[str, str]:
        """A mapping of plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `to_json` wrote. Raises `BadInput`."""
        if not isinstance(value, dict) or set(value) != {"kind", "name", "network", "address"}:
            raise BadInput("members of a wall are missing or unknown")
        if not all(isinstance(item, str) for item in value.values()):
            raise BadInput("a member of a wall is no text")
        return cls(**value)

    def _check_namespace(self) -> None:
        plain = self.name.translate(str.maketrans("", "", "-_."))
        if not (0 < len(self.name) <= 64 and plain.isascii() and plain.isalnum() and self.name[0] != "."):
            raise BadInput("the name of a namespace is letters, digits and - _ .")
        try:
            inside = ipaddress.ip_address(self.address) in ipaddress.ip_network(self.network)
        except ValueError:
            raise BadInput("a wall's network is no CIDR, or its address none of it") from None
        if not inside:
            raise BadInput("the address of a wall is not in its network")


def check_wall(spec: WallSpec, found: Standing | None = None) -> Standing:
    """How the wall stands, if it stands as it should.

    Parameters
    ----------
    spec
        How it should.
    found
        The namespace that is judged; this process's own when absent.

    Raises
    ------
    WallOpen
        There is an interface, an address or a way out that others could use.
    """
    found = standing() if found is None else found
    for holds, words in _RULES:
        if not holds(spec, found):
            raise WallOpen(f"{words}; start-up refused", kind=spec.kind)
    return found


def _only_lo(spec: WallSpec, found: Standing) -> bool:
    return spec.kind != "private" or set(found.interfaces) - _FALLBACK_TUNNELS == {"lo"}


def _only_own(spec: WallSpec, found: Standing) -> bool:
    """Loopback; in a named namespace link-local and the operator's network too."""
    return all(address.is_loopback or _own(spec, ipaddress.ip_network(address)) for address in found.addresses)


def _has_address(spec: WallSpec, found: Standing) -> bool:
    return not spec.address or ipaddress.ip_address(spec.address) in found.addresses


def _no_way_out(spec: WallSpec, found: Standing) -> bool:
    return all(_own(spec, route.network) for route in found.routes)


def _own(spec: WallSpec, network: Network) -> bool:
    if not spec.network:
        return False
    own = ipaddress.ip_network(spec.network)
    if network.is_link_local or network.is_multicast:
        return True
    return network.version == own.version and network.subnet_of(own)  # type: ignore[arg-type]


_RULES: tuple[tuple[Callable[[WallSpec, Standing], bool], str], ...] = (
    (_only_lo, "there is a network interface beside lo"),
    (_only_own, "an address is not of the operator's network"),
    (_has_address, "the machine lacks its own address in the operator's network"),
    (_no_way_out, "there is a route out of the operator's network"),
)
