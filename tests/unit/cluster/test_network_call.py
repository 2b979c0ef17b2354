"""One request to a hub: which version is chosen, at what pace content goes, and what a hub of another kind is taken for."""

import json
from collections.abc import Callable

import httpx2
import pytest

from bithive.clock import ManualClock
from bithive.keys import SigningKey
from cluster.errors import LeaseLost, NetworkRefused, NetworkUnreachable, ProtocolUnsupported
from cluster.network_call import Caller, problem
from cluster.signing import Message, check

KEY = SigningKey(b"\x0a" * 32)
URL = "http://hub.example"

Answer = Callable[[httpx2.Request], httpx2.Response]


def caller(answer: Answer, key: SigningKey | None = KEY, **more: object) -> Caller:
    return Caller(URL, "token", key, transport=httpx2.MockTransport(answer), clock=ManualClock(), **more)  # type: ignore[arg-type]


def speaking(versions: object, status: int = 200) -> Answer:
    return lambda _request: httpx2.Response(status, json=versions)


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (speaking({"versions": ["1", "2"]}), "2"),
        (speaking({"versions": ["2", "3"]}), "2"),
        (speaking({"versions": ["1"]}), "1"),
        (speaking({"code": "not-found"}, 404), "1"),
    ],
)
def test_the_highest_common_version_is_chosen(answer: Answer, version: str) -> None:
    call = caller(answer)
    assert call.version == call.version == version
    call.close()


def test_without_a_key_nobody_is_asked_and_nothing_signed() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={})

    call = caller(answer, None)
    call.post("/leases", {})
    assert [request.url.path for request in seen] == ["/network/v1/leases"]
    assert "signature" not in seen[0].headers
    call.close()


def test_no_common_version_is_told_with_both_lists() -> None:
    call = caller(speaking({"versions": ["3", "4"]}))
    with pytest.raises(ProtocolUnsupported) as caught:
        call.post("/leases", {})
    assert caught.value.context == {"ours": "1, 2", "theirs": "3, 4"}
    call.close()


def hub(request: httpx2.Request) -> httpx2.Response:
    if request.url.path == "/network/versions":
        return httpx2.Response(200, json={"versions": ["1", "2"]})
    path, _, query = request.url.raw_path.partition(b"?")
    fields = {name: value for name, value in request.headers.items()}  # noqa: C416 - not a dict
    signed = check(Message(request.method, path.decode(), query.decode(), fields))
    return httpx2.Response(200, json={"key": signed.key, "size": len(request.read()), "query": query.decode()})


def test_what_is_sent_is_signed_with_its_query_and_body() -> None:
    moved: list[int] = []
    for pace in (None, moved.append):
        call = caller(hub, pace=pace)
        answer = call.send("POST", "/attempts/att_1/findings?x=%20y", b"z" * 600_000, {}, 5).json()
        assert answer == {"key": KEY.public_hex, "size": 600_000, "query": "x=%20y"}
        assert call.get("/counter-receipts?after=5").json()["query"] == "after=5"
        call.close()
    assert sum(moved) == 600_000
    assert len(moved) == 3


def test_what_a_problem_becomes() -> None:
    def of(status: int, body: bytes) -> Exception:
        return problem(httpx2.Response(status, content=body))

    assert isinstance(of(409, b'{"code": "lease-lost"}'), LeaseLost)
    assert isinstance(of(502, b"<html>"), NetworkUnreachable)
    for status, body, code in (
        (403, b'{"code": "forbidden"}', "forbidden"),
        (418, b"[]", "unknown"),
        (302, b"", "unknown"),
    ):
        error = of(status, body)
        assert isinstance(error, NetworkRefused)
        assert (error.answer, error.answer_status) == (code, status)


def test_a_hub_that_never_likes_our_time_is_asked_twice_and_no_more() -> None:
    count = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal count
        if request.url.path == "/network/versions":
            return httpx2.Response(200, json={"versions": ["2"]})
        count += 1
        body = {"code": "signature-replayed", "context": {"now_ms": 5}}
        return httpx2.Response(401, content=json.dumps(body).encode())

    call = caller(answer)
    with pytest.raises(NetworkRefused):
        call.post("/leases", {})
    assert count == 2
    call.close()
