"""A Node's own page, for whoever contributes it; and its counter-receipts to keep and to check elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from api.deps import ServicesDep
from api.network_access import ViewerDep, visible_node
from api.pages.faults import PageRoute
from api.pages.network_node_view import counters_of, node_shown
from api.pages.render import page
from api.services import Services

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_AT_A_TIME = 500


@router.get("/network/nodes/{node}/counter-receipts.jsonl")
def counter_receipts(services: ServicesDep, principal: ViewerDep, node: str) -> Response:
    """All of them, one JSON object a line: what `bithive node receipts` reads."""
    visible_node(services, principal, node)
    headers = {"Content-Disposition": f'attachment; filename="{node}.jsonl"', "Cache-Control": "no-store"}
    return StreamingResponse(_lines(services, node), media_type="application/jsonl", headers=headers)


@router.get("/network/nodes/{node}")
def node_page(request: Request, services: ServicesDep, principal: ViewerDep, node: str) -> Response:
    """The page. Raises `NodeUnknown` when it is not the caller's to see."""
    cell, line = visible_node(services, principal, node)
    shown = node_shown(services, principal, cell, line)
    return page(request, "network_node.html", here="network", shown=shown)


def _lines(services: Services, node: str) -> Iterator[bytes]:
    after = 0
    while found := counters_of(services, node, after, _AT_A_TIME):
        yield b"".join(json.dumps(one.to_json(), sort_keys=True).encode() + b"\n" for one in found)
        after = found[-1].sequence
