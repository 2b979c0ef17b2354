"""Who may see what of the network's Cells, Nodes and Leases.

Auditors and administrators see everything. An institution sees its own Cells, and the Leases of its own Offers wherever
they run; a contributor sees one Cell. Anything else is answered as if it did not exist.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from api.auth import Principal, require
from api.services import Services
from bithive.ids import is_id
from cluster.census import CellLine, Census, NodeLine, Whose
from cluster.errors import NodeUnknown

ViewerDep = Annotated[Principal, Depends(require("nodes:own"))]


def whose(principal: Principal) -> Whose:
    """What a principal may see."""
    if "nodes:read" in principal.scopes:
        return Whose(everything=True)
    if principal.cell is not None:
        return Whose(cell=principal.cell)
    return Whose(institution=principal.institution)


def census_of(services: Services) -> Census:
    """What can be asked. Raises `NodeUnknown` where nobody counts."""
    census = services.broker.census
    if census is None:
        raise NodeUnknown
    return census


def visible_node(services: Services, principal: Principal, node: str) -> tuple[CellLine, NodeLine]:
    """A Node with its Cell. Raises `NodeUnknown` when there is none, or it is not the caller's to see."""
    if not is_id(node, "nod"):
        raise NodeUnknown
    found = census_of(services).node(whose(principal), node)
    if found is None:
        raise NodeUnknown
    return found
