"""Versions, limits and hostile bodies."""

import pytest

from bithive.limits import JSON_BODY_BYTES_MAX
from cluster import protocol
from tests.common.network_requests import Ask, body_of, code, hello, lease, made
from tests.common.network_server import Hub

HOSTILE = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b"{" * 10_000,
    b'{"offer": {}, "keys": {}, "payload_sealed_bytes": 1}',
    b'{"offer": 1, "keys": null, "payload_sealed_bytes": "x"}',
    b"\xff\xfe\x00",
    b'{"offer": {"offer_id": NaN}, "keys": [], "payload_sealed_bytes": -1}',
]


def test_the_version_is_asked_for(hub: Hub, ask: Ask) -> None:
    for version in ("2", "", "one"):
        answer = ask("institution", "GET", "/events", headers={protocol.VERSION_HEADER: version})
        assert code(answer) == (415, "protocol-unsupported")


@pytest.mark.parametrize(
    ("who", "path"),
    [
        ("institution", "/offers"),
        ("own", "/cells/hello"),
        ("own", "/leases"),
        ("own", "/attempts/att_x/heartbeat"),
        ("own", "/attempts/att_x/failure"),
    ],
)
def test_hostile_bodies_are_refused(hub: Hub, ask: Ask, who: str, path: str) -> None:
    for content in HOSTILE:
        assert code(ask(who, "POST", path, content=content))[0] == 400


def test_too_much_is_refused(hub: Hub, ask: Ask) -> None:
    huge = b'{"x": "' + b"x" * JSON_BODY_BYTES_MAX + b'"}'
    assert code(ask("institution", "POST", "/offers", content=huge)) == (413, "limit-exceeded")
    item = made(hub)
    ask("institution", "POST", "/offers", json=body_of(item))
    path = f"/offers/{item.offer.offer_id}/payload"
    assert code(ask("institution", "PUT", path, content=item.sealed + b"x")) == (400, "payload-size-differs")
    assert code(ask("institution", "PUT", path, content=item.sealed[:-1])) == (400, "payload-size-differs")
    assert list((hub.broker.spool.path("x").parent).iterdir()) == []
    assert ask("institution", "PUT", path, content=item.sealed).status_code == 204
    ask("own", "POST", "/cells/hello", json=hello())
    grant = lease(ask, hub)
    headers = {protocol.TOKEN_HEADER: "1", protocol.RECEIPT_HEADER: "A" * 9000}
    path = f"/attempts/{grant['attempt_id']}/findings"
    assert code(ask("own", "POST", path, headers=headers, content=b"x")) == (400, "bad-receipt")
    assert ask("own", "POST", path, headers={protocol.TOKEN_HEADER: "1"}, content=b"x").status_code == 400
    for bad in ("bm90IGpzb24=", "e30=", "%%%"):
        headers[protocol.RECEIPT_HEADER] = bad
        assert code(ask("own", "POST", path, headers=headers, content=b"x")) == (400, "bad-receipt")
    assert ask("institution", "GET", "/events", params={"wait_s": 1000}).status_code == 400
    assert ask("institution", "GET", "/events", params={"after": "x"}).status_code == 400
