"""A cell of version 2 whose every request a test makes itself, honestly signed unless told otherwise."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx2

from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster import protocol
from cluster.protocol import Hello, NodeGreeting, NodeStanding, NodeState
from cluster.register_proof import prove
from cluster.signing import DIGEST, Message, content_digest, sign
from tests.common.network import SHA256
from tests.common.network_server import Hub

ROOT = protocol.ROOTS["2"]


class SignedCell:
    """One of the hub's cells, with a key.

    Parameters
    ----------
    hub
        The network side.
    who
        Name of its account there.
    seed
        Of its keys: one for the cell, the next for its Node.
    """

    def __init__(self, hub: Hub, who: str = "own", seed: int = 21) -> None:
        self.hub, self.cell, self.token = hub, hub.cells.get(who, ""), hub.tokens.get(who, "")
        self.key, self.node_key = SigningKey(bytes([seed]) * 32), SigningKey(bytes([seed + 1]) * 32)

    def hello(self, *, proof: str | None = None, cell_key: str | None = None, **more: Any) -> dict[str, Any]:
        own = cell_key or self.key.public_hex
        proof = prove(self.node_key, own) if proof is None else proof
        node = NodeGreeting(self.node_key.public_hex, 2, 8 << 30, 0, {}, 8 << 30, slots=4, proof=proof, **more)
        return Hello(own, "operator", DataClass.P3, (node,), (SHA256,)).to_json("2")

    def greet(self) -> str:
        """Say hello; the Node's id."""
        answer = self.post("/cells/hello", self.hello())
        assert answer.status_code == 200, answer.text
        return str(answer.json()["nodes"][self.node_key.public_hex])

    def standing(self, node: str, state: NodeState = NodeState.UP, free: int = 1) -> dict[str, Any]:
        return NodeStanding(node, state, free).to_json()

    def request(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        *,
        key: SigningKey | None = None,
        created_s: int | None = None,
        nonce: str | None = None,
        headers: dict[str, str] | None = None,
        signed: bytes | None = None,
    ) -> httpx2.Request:
        """A request that is signed and not sent; `signed` is the body that the signature is for, if another."""
        fields = {protocol.VERSION_HEADER: "2", **(headers or {})}
        if content or signed:
            fields[DIGEST] = content_digest(content if signed is None else signed)
        at, _, query = (ROOT + path).partition("?")
        message = Message(method, at, query, {name.lower(): value for name, value in fields.items()})
        created_s = self.hub.clock.now_ms() // 1000 if created_s is None else created_s
        fields |= sign(message, key or self.key, created_s, nonce or secrets.token_urlsafe(16))
        if self.token:
            fields["Authorization"] = f"Bearer {self.token}"
        return httpx2.Request(method, self.hub.url + ROOT + path, content=content or None, headers=fields)

    def send(self, request: httpx2.Request) -> httpx2.Response:
        with httpx2.Client(timeout=30, trust_env=False) as client:
            return client.send(request)

    def plain(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        """A request that nobody signed, to any address of the hub."""
        with httpx2.Client(base_url=self.hub.url, timeout=20, trust_env=False) as client:
            return client.request(method, path, **rest)

    def post(self, path: str, body: Any, **rest: Any) -> httpx2.Response:
        return self.send(self.request("POST", path, json.dumps(body).encode(), **rest))
