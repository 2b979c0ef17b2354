"""Cells over HTTP."""

import http.client
import json
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from cluster import protocol
from tests.common.network import SHA256
from tests.common.network_requests import ROOT, Ask, body_of, code, hello, lease, made, put
from tests.common.network_server import Hub


def test_who_may_ask(hub: Hub, ask: Ask) -> None:
    item = made(hub)
    assert code(ask(None, "POST", "/offers", json=body_of(item)))[0] == 401
    assert code(ask("wrong", "POST", "/offers", json=body_of(item)))[0] == 401
    assert code(ask("own", "POST", "/offers", json=body_of(item)))[0] == 403
    assert code(ask("institution", "POST", "/cells/hello", json=hello()))[0] == 403
    put(ask, item)
    ask("own", "POST", "/cells/hello", json=hello())
    ask("other", "POST", "/cells/hello", json=hello())
    stolen = {"cell": hub.cells["own"], "warm": [], "wait_s": 0}
    assert code(ask("other", "POST", "/leases", json=stolen)) == (403, "forbidden")
    mine = {"cell": hub.cells["other"], "warm": [], "wait_s": 0}
    assert ask("other", "POST", "/leases", json=mine).status_code == 204
    grant = lease(ask, hub)
    path = f"/attempts/{grant['attempt_id']}/payload"
    assert code(ask("other", "GET", path, headers={protocol.TOKEN_HEADER: "1"})) == (404, "attempt-absent")
    assert code(ask("own", "GET", path, headers={protocol.TOKEN_HEADER: "2"})) == (409, "lease-lost")
    assert code(ask("own", "GET", path)) == (400, "bad-message")
    assert code(ask("institution", "GET", path)) == (403, "forbidden")


def test_waiting_ends_when_there_is_work(hub: Hub, ask: Ask) -> None:
    ask("own", "POST", "/cells/hello", json=hello())
    granted: list[tuple[float, dict[str, Any]]] = []

    def wait() -> None:
        grant = lease(ask, hub, wait_s=10)
        granted.append((time.perf_counter(), grant))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    item = made(hub)
    put(ask, item)
    opened_s = time.perf_counter()
    thread.join(10)
    assert granted[0][1]["offer"]["offer_id"] == item.offer.offer_id
    assert granted[0][0] - opened_s < 1.0


def test_who_hangs_up_is_given_nothing(hub: Hub, ask: Ask) -> None:
    ask("own", "POST", "/cells/hello", json=hello())
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc)
    body = json.dumps({"cell": hub.cells["own"], "warm": [], "wait_s": 20})
    headers = {"Authorization": f"Bearer {hub.tokens['own']}", protocol.VERSION_HEADER: "1"}
    connection.request("POST", f"{ROOT}/leases", body, headers)
    time.sleep(0.3)
    connection.close()
    time.sleep(0.2)
    put(ask, made(hub))
    assert lease(ask, hub)["fencing_token"] == 1


def test_warm_is_a_list_of_bundles(hub: Hub, ask: Ask) -> None:
    ask("own", "POST", "/cells/hello", json=hello())
    body = {"cell": hub.cells["own"], "warm": [], "wait_s": 0}
    for wrong in ("x", None, ["x"], [SHA256.upper()], [1], [SHA256] * 1001):
        assert code(ask("own", "POST", "/leases", json={**body, "warm": wrong})) == (400, "bad-message")
    assert ask("own", "POST", "/leases", json={**body, "warm": [SHA256, "0" * 64]}).status_code == 204
