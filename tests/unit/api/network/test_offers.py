"""Offers over HTTP."""

import http.client
import time
from urllib.parse import urlsplit

from bithive.envelope import PAYLOAD, open_all, seal, sealed_size_bytes
from cluster import protocol
from cluster.counter import CounterReceipt
from tests.common.network import HandCell, volume
from tests.common.network_requests import KEY, ROOT, Ask, body_of, code, hello, lease, made, put
from tests.common.network_server import Hub


def test_the_whole_protocol(hub: Hub, ask: Ask) -> None:
    item = made(hub)
    assert ask("institution", "POST", "/offers", json=body_of(item)).status_code == 201
    assert ask("institution", "POST", "/offers", json=body_of(item)).status_code == 200
    for _ in range(2):
        path = f"/offers/{item.offer.offer_id}/payload"
        assert ask("institution", "PUT", path, content=item.sealed).status_code == 204
    welcome = ask("own", "POST", "/cells/hello", json=hello()).json()
    assert welcome["cell"] == hub.cells["own"]
    assert (welcome["heartbeat_s"], welcome["lease_s"]) == (3.0, 15.0)
    node = welcome["nodes"][KEY.public_hex]
    grant = lease(ask, hub)
    assert grant["offer"] == item.offer.to_json()
    attempt = f"/attempts/{grant['attempt_id']}"
    token = {protocol.TOKEN_HEADER: str(grant["fencing_token"])}
    sealed = ask("own", "GET", f"{attempt}/payload", headers=token)
    assert sealed.status_code == 200
    assert int(sealed.headers["content-length"]) == item.sealed_bytes
    assert bytes(open_all(item.keys.payload_key, PAYLOAD, len(item.payload), [sealed.content])) == item.payload
    beat = {"fencing_token": grant["fencing_token"], "stage": "segmenting", "fraction": 0.25, "node": node}
    assert ask("own", "POST", f"{attempt}/heartbeat", json=beat).json()["expires_ms"] >= grant["expires_ms"]
    by_hand = HandCell.__new__(HandCell)
    by_hand.key, by_hand.cell, by_hand.node = KEY, hub.cells["own"], node
    typed = protocol.Grant.from_json(grant)
    findings = by_hand.findings(typed, item.payload)
    receipt = by_hand.receipt(typed, item.payload, findings)
    content = b"".join(seal(item.keys.payload_key, typed.fencing_token, findings))
    headers = {**token, protocol.RECEIPT_HEADER: protocol.encode_receipt(receipt)}
    for _ in range(2):
        answer = ask("own", "POST", f"{attempt}/findings", content=content, headers=headers)
        assert answer.json()["state"] == "ACCEPTED"
        counter = CounterReceipt.from_json(answer.json()["counter"])
        counter.check_signature(hub.broker.network_key.public_hex)
        assert (counter.verdict, counter.sequence, counter.receipt_digest) == ("accepted", 1, receipt.digest)
    listed = ask("own", "GET", f"/counter-receipts?subject={node}").json()
    assert listed == {"counter_receipts": [counter.to_json()]}
    assert ask("other", "GET", f"/counter-receipts?subject={node}").status_code == 404
    events = ask("institution", "GET", "/events").json()["events"]
    assert [event["topic"] for event in events] == [
        "offer.opened",
        "attempt.leased",
        "attempt.progressed",
        "attempt.accepted",
    ]
    assert events[2]["stage"] == "segmenting"
    assert events[2]["fraction"] == 0.25
    assert events[2]["node"] == node
    assert events[3]["receipt"] == receipt.to_json()
    assert ask("institution", "GET", "/events", params={"after": events[3]["seq"]}).json() == {"events": []}
    fetched = ask("institution", "GET", f"{attempt}/findings")
    assert fetched.content == content
    assert int(fetched.headers[protocol.PLAIN_SIZE_HEADER]) == len(findings)
    for _ in range(2):
        path = f"/offers/{item.offer.offer_id}/acknowledge"
        assert ask("institution", "POST", path).status_code == 204
    assert code(ask("institution", "GET", f"{attempt}/findings")) == (404, "findings-absent")


def test_paths_lead_nowhere(hub: Hub, ask: Ask) -> None:
    for name in ("../../x", "off_..%2F..%2Fx", "off_01MCC5RM00Z8WTXDJ1YW00V1Z5", "%00"):
        assert ask("institution", "PUT", f"/offers/{name}/payload", content=b"x").status_code in (404, 405)
        assert ask("institution", "GET", f"/attempts/{name}/findings").status_code in (404, 405)


def test_a_body_that_breaks_off_leaves_nothing(hub: Hub, ask: Ask) -> None:
    item = made(hub, image=volume(0, (60, 100, 100)))
    ask("institution", "POST", "/offers", json=body_of(item))
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc)
    headers = {
        "Authorization": f"Bearer {hub.tokens['institution']}",
        protocol.VERSION_HEADER: "1",
        "Content-Length": str(item.sealed_bytes),
    }
    connection.putrequest("PUT", f"{ROOT}/offers/{item.offer.offer_id}/payload")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(item.sealed[:500_000])
    time.sleep(0.2)
    connection.close()
    time.sleep(0.3)
    assert list((hub.broker.spool.path("x").parent).iterdir()) == []
    put(ask, item)


def test_large_content_streams_quickly(hub: Hub, ask: Ask) -> None:
    size_bytes = 81 * 1024 * 1024
    item = made(hub, payload_size_bytes=size_bytes)
    sealed_bytes = sealed_size_bytes(size_bytes)
    content = bytes(sealed_bytes)
    body = {**body_of(item), "payload_sealed_bytes": sealed_bytes}
    assert ask("institution", "POST", "/offers", json=body).status_code == 201
    begun_s = time.perf_counter()
    assert ask("institution", "PUT", f"/offers/{item.offer.offer_id}/payload", content=content).status_code == 204
    put_s = time.perf_counter() - begun_s
    ask("own", "POST", "/cells/hello", json=hello())
    grant = lease(ask, hub)
    headers = {protocol.TOKEN_HEADER: "1"}
    begun_s = time.perf_counter()
    assert len(ask("own", "GET", f"/attempts/{grant['attempt_id']}/payload", headers=headers).content) == sealed_bytes
    get_s = time.perf_counter() - begun_s
    print(f"81 MiB: PUT {put_s:.3f} s, GET {get_s:.3f} s")
    assert put_s < 5
    assert get_s < 5


def test_what_no_cell_can_hold_is_refused_with_its_code(hub: Hub, ask: Ask) -> None:
    huge = made(hub, memory_bytes=1 << 40)
    assert ask("institution", "POST", "/offers", json=body_of(huge)).status_code == 201, "no cell is live: it waits"
    ask("own", "POST", "/cells/hello", json=hello())
    again = made(hub, memory_bytes=1 << 40)
    answer = ask("institution", "POST", "/offers", json=body_of(again))
    assert code(answer) == (422, "memory-too-small")
    assert answer.json()["context"] == {"memory_bytes": 1 << 40}
    assert ask("institution", "POST", "/offers", json=body_of(huge)).status_code == 200


def test_an_offer_without_a_prediction_is_none(hub: Hub, ask: Ask) -> None:
    body = body_of(made(hub))
    del body["offer"]["memory_bytes"]
    assert code(ask("institution", "POST", "/offers", json=body)) == (400, "bad-offer")
