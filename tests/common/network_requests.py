"""Requests of the network protocol, as somebody."""

from collections.abc import Callable
from typing import Any

import httpx2

from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster import protocol
from cluster.protocol import Hello, NodeGreeting
from tests.common.network import SHA256, Made, make_offer
from tests.common.network_server import Hub

ROOT = protocol.ROOT
KEY = SigningKey(b"\x05" * 32)

Ask = Callable[..., httpx2.Response]


def hello(who: str = "own") -> dict[str, Any]:
    node = NodeGreeting(KEY.public_hex, 2, 8 << 30, 0, {"tier": "home"})
    return Hello(KEY.public_hex, "operator", DataClass.P3, (node,), (SHA256,)).to_json()


def made(hub: Hub, **changes: Any) -> Made:
    return make_offer(hub.ids, hub.clock, hub.institution, **changes)


def body_of(item: Made) -> dict[str, Any]:
    keys = item.keys.to_json()
    return {"offer": item.offer.to_json(), "keys": keys, "payload_sealed_bytes": item.sealed_bytes}


def put(ask: Ask, item: Made) -> str:
    offer_id = item.offer.offer_id
    assert ask("institution", "POST", "/offers", json=body_of(item)).status_code in (200, 201)
    assert ask("institution", "PUT", f"/offers/{offer_id}/payload", content=item.sealed).status_code == 204
    return offer_id


def lease(ask: Ask, hub: Hub, wait_s: float = 0) -> dict[str, Any]:
    answer = ask("own", "POST", "/leases", json={"cell": hub.cells["own"], "warm": [SHA256], "wait_s": wait_s})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def code(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]
