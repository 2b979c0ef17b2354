"""The wire, against a real HTTP server that answers whatever a test tells it to."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bithive.offer import MemoryTooSmall, OfferKeys
from clinic.network_http import HttpNetwork
from clinic.refusals import FindingsRefused, NetworkForbids, NetworkUnreachable, OfferRefused
from tests.common.clinic_side import ClinicSide
from tests.common.dicom_factory import head_series
from tests.common.servers import free_port

OFFER_ID = "off_00000000000000000000000001"


class Server(ThreadingHTTPServer):
    """Remembers requests; gives the queued answers, and then the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(204, {}, b"")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(
            (self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body)
        )
        status, headers, content = self.server.answers[0]
        if len(self.server.answers) > 1:
            del self.server.answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status != 204:
            self.wfile.write(content)

    do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server asks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def network(server) -> Iterator[HttpNetwork]:
    made = HttpNetwork(server.url + "/", "token-1", timeout_s=5)
    yield made
    made.close()


@pytest.fixture(scope="module")
def offer(tmp_path_factory):
    side = ClinicSide(tmp_path_factory.mktemp("side"))
    side.receive(head_series())
    side.settle()
    return next(iter(side.network.offers.values()))[0]


KEYS = OfferKeys(b"p" * 32, b"d" * 32)


def problem(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/problem+json"}, json.dumps({"code": code}).encode()


def test_an_offer_on_the_wire(server, network, offer):
    server.answers = [(201, {}, b"{}")]
    network.offer(offer, KEYS, 123)
    method, path, headers, body = server.seen[0]
    assert (method, path) == ("POST", "/network/v1/offers")
    assert (headers["authorization"], headers["bithive-protocol"]) == ("Bearer token-1", "1")
    assert json.loads(body) == {"offer": offer.to_json(), "keys": KEYS.to_json(), "payload_sealed_bytes": 123}


def test_a_payload_streams_with_its_length(server, network):
    network.upload(OFFER_ID, iter([b"a" * 70_000, b"b"]), 70_001)
    method, path, headers, body = server.seen[0]
    assert (method, path) == ("PUT", f"/network/v1/offers/{OFFER_ID}/payload")
    assert headers["content-length"] == "70001"
    assert "transfer-encoding" not in headers
    assert body == b"a" * 70_000 + b"b"


def test_taking_back_and_acknowledging_may_come_too_late(server, network):
    server.answers = [
        (204, {}, b""),
        problem(404, "offer-absent"),
        problem(409, "illegal-transition"),
        problem(410, "gone"),
    ]
    network.withdraw(OFFER_ID)
    network.withdraw(OFFER_ID)
    network.acknowledge(OFFER_ID)
    network.acknowledge(OFFER_ID)
    assert [path.rsplit("/", 1)[1] for _, path, _, _ in server.seen] == ["withdraw"] * 2 + ["acknowledge"] * 2


def test_events(server, network):
    told = {"seq": 5, "topic": "attempt.leased", "at_ms": 7, "offer_id": OFFER_ID, "attempt_id": "att_1", "news": 1}
    server.answers = [(200, {}, json.dumps({"events": [told]}).encode())]
    (event,) = network.events(4, 99)
    assert (event.seq, event.topic, event.attempt_id, event.code) == (5, "attempt.leased", "att_1", None)
    assert server.seen[0][1] == "/network/v1/events?after=4&wait_s=30.0"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"events": 5}',
        b'{"events": [{}]}',
        b'{"events": [{"seq": "1", "topic": "", "at_ms": 1, "offer_id": ""}]}',
    ],
)
def test_events_that_are_none_are_a_broken_network(server, network, content):
    server.answers = [(200, {}, content)]
    with pytest.raises(NetworkUnreachable):
        network.events(0, 0)


def test_findings_stream(server, network):
    server.answers = [(200, {"BitHive-Plain-Size": "12"}, b"x" * 100_000)]
    with network.findings("att_1") as sealed:
        assert sealed.plain_size_bytes == 12
        assert b"".join(sealed.chunks) == b"x" * 100_000
    assert server.seen[0][1] == "/network/v1/attempts/att_1/findings"


@pytest.mark.parametrize("size", ["", "-1", "1e3", "99999999999999", "two"])
def test_findings_of_a_strange_size_are_refused(server, network, size):
    server.answers = [(200, {"BitHive-Plain-Size": size}, b"x")]
    with pytest.raises(FindingsRefused), network.findings("att_1"):
        pass


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, OfferRefused),
        (409, OfferRefused),
        (422, OfferRefused),
        (302, OfferRefused),
        (401, NetworkForbids),
        (403, NetworkForbids),
        (429, NetworkUnreachable),
        (500, NetworkUnreachable),
        (503, NetworkUnreachable),
    ],
)
def test_what_an_answer_means(server, network, offer, status, kind):
    server.answers = [problem(status, "some-code")]
    with pytest.raises(kind):
        network.offer(offer, KEYS, 1)
    with pytest.raises(kind):
        network.upload(OFFER_ID, [b"x"], 1)
    gone = FindingsRefused if kind is OfferRefused else kind
    with pytest.raises(gone), network.findings("att_1"):
        pass


def test_a_refusal_names_the_code_and_never_the_body(server, network, offer):
    server.answers = [problem(409, "offer-exists"), (400, {}, b"<html>Jane Doe</html>"), problem(400, "Jane Doe; 1970")]
    for expected in ("offer-exists", "400", "400"):
        with pytest.raises(OfferRefused) as refusal:
            network.offer(offer, KEYS, 1)
        assert refusal.value.detail.endswith(expected)


def test_a_refusal_for_memory_keeps_its_code(server, network, offer):
    server.answers = [problem(422, "memory-too-small")]
    with pytest.raises(MemoryTooSmall):
        network.offer(offer, KEYS, 1)


def test_nobody_there():
    network = HttpNetwork(f"http://127.0.0.1:{free_port()}", "t", timeout_s=1)
    with pytest.raises(NetworkUnreachable):
        network.events(0, 0)
    with pytest.raises(NetworkUnreachable), network.findings("att_1"):
        pass
    network.close()


def test_findings_that_break_off(server, network):
    server.answers = [(200, {"BitHive-Plain-Size": "12", "Content-Length": "9999"}, b"x")]
    with pytest.raises(NetworkUnreachable), network.findings("att_1") as sealed:
        b"".join(sealed.chunks)
