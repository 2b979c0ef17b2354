"""HTTP and TLS over sockets of the dialler."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from bithive.clock import SystemClock
from bithive.errors import BadSettings
from cluster.certificates import issue, keep, make_authority
from cluster.dialled import DialledTransport, _Backend, place_of
from cluster.dialler import Dialler


class _Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def served(certificate: tuple[Path, Path] | None = None) -> Generator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_requests_go_through_and_connections_are_kept() -> None:
    with served() as port, closing(Dialler([("127.0.0.1", port)])) as dialler:
        with httpx2.Client(transport=DialledTransport(dialler)) as client:
            for path in ("/a", "/b"):
                assert client.get(f"http://127.0.0.1:{port}{path}").text == path


def test_a_body_does_not_wait_for_an_acknowledgement_of_its_head() -> None:
    with served() as port, closing(Dialler([("127.0.0.1", port)])) as dialler:
        stream = _Backend(dialler).connect_tcp("127.0.0.1", port)
        connected = stream.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        stream.close()


def test_another_host_cannot_be_reached() -> None:
    with served() as port, closing(Dialler([("127.0.0.1", 9)])) as dialler:
        with httpx2.Client(transport=DialledTransport(dialler)) as client, pytest.raises(httpx2.ConnectError):
            client.get(f"http://127.0.0.1:{port}/")


def test_tls_ends_in_the_agent(tmp_path: Path) -> None:
    make_authority(tmp_path, "hub", SystemClock())
    keep(tmp_path, issue(tmp_path, "127.0.0.1", SystemClock()))
    certificate = tmp_path / "authority.pem"
    with (
        served((tmp_path / "node.pem", tmp_path / "node.key")) as port,
        closing(Dialler([("127.0.0.1", port)])) as dialler,
    ):
        with httpx2.Client(transport=DialledTransport(dialler, certificate)) as client:
            assert client.get(f"https://127.0.0.1:{port}/safe").text == "/safe"
        with httpx2.Client(transport=DialledTransport(dialler)) as client, pytest.raises(httpx2.ConnectError):
            client.get(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://hub.example", ("hub.example", 80)),
        ("https://hub.example/path", ("hub.example", 443)),
        ("http://127.0.0.1:8042", ("127.0.0.1", 8042)),
        ("https://[2001:db8::1]:8443", ("2001:db8::1", 8443)),
    ],
)
def test_the_place_of_an_address(url: str, place: tuple[str, int]) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize("url", ["hub.example", "ftp://hub.example", "http://", "http://hub:99999"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(BadSettings):
        place_of(url)
