"""Attempts over HTTP."""

from tests.common.network_requests import Ask, code, hello, lease, made, put
from tests.common.network_server import Hub


def test_a_failure_is_from_the_table(hub: Hub, ask: Ask) -> None:
    put(ask, made(hub))
    ask("own", "POST", "/cells/hello", json=hello())
    grant = lease(ask, hub)
    path = f"/attempts/{grant['attempt_id']}/failure"
    for bad in ("because", 3, None):
        assert code(ask("own", "POST", path, json={"fencing_token": 1, "code": bad})) == (400, "bad-message")
    assert ask("own", "POST", path, json={"fencing_token": 1, "code": "implausible-findings"}).status_code == 204
    assert code(ask("own", "POST", path, json={"fencing_token": 1, "code": "engine-fault"})) == (409, "lease-lost")
    last = ask("institution", "GET", "/events").json()["events"][-1]
    assert (last["topic"], last["code"]) == ("offer.exhausted", "implausible-findings")
