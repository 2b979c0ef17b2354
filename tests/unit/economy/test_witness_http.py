from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from bithive.clock import ManualClock
from bithive.errors import BadSettings
from bithive.keys import SigningKey
from bithive.limits import PROOF_BYTES_MAX
from economy.cosigning import accept_cosignature
from economy.errors import CosignatureRefused, LogSilent, ProofMalformed
from economy.proofs import checkpoint_text
from economy.store import MemoryStore
from economy.verify import verify_checkpoint
from economy.witness import Witness
from economy.witness_http import HubSource
from tests.common.proving import Sealed


@contextmanager
def serving(answer):
    """A server whose every answer is `answer(method, path, body) -> (status, content)`."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self, method):
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            asked.append((method, self.path, dict(self.headers)))
            status, content = answer(method, self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            self.handle_one("GET")

        def do_POST(self):
            self.handle_one("POST")

        def log_message(self, *_words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def sealed():
    sealed = Sealed(MemoryStore())
    sealed.grow(300)
    yield sealed
    sealed.close()


@contextmanager
def source(url, token=""):
    asked = HubSource(url, token)
    try:
        yield asked
    finally:
        asked.close()


def test_a_hub_is_watched(sealed, tmp_path):
    clock = ManualClock(sealed.clock.now_ms() + 1_000)
    witness = Witness(tmp_path / "state", SigningKey(b"w" * 32), "w.example/1", clock, sealed.keys)

    def hub(method, path, body):
        if method == "POST":
            accept_cosignature(sealed.store, body, [witness.verifier], clock)
            return 201, b"{}"
        if path == "/ledger/checkpoint":
            return 200, sealed.proofs.checkpoint().encode()
        sizes = parse_qs(urlsplit(path).query)
        return 200, sealed.proofs.consistency(int(sizes["from"][0]), int(sizes["to"][0])).encode()

    with serving(hub) as (url, asked), source(url, "secret") as log:
        log.hand_back(witness.observe(log).text)
        sealed.grow(7)
        observed = witness.observe(log)
        assert observed.grew
        clock._now_ms = sealed.clock.now_ms()
        log.hand_back(witness.observe(log).text)
    assert verify_checkpoint(checkpoint_text(sealed.store), sealed.keys, [witness.verifier]).cosigned
    assert verify_checkpoint(checkpoint_text(sealed.store, 1), sealed.keys, [witness.verifier]).cosigned
    assert asked[0][2]["Authorization"] == "Bearer secret"
    assert any(path == "/ledger/proofs/consistency?from=301&to=308" for _, path, _ in asked)


@pytest.mark.parametrize(
    ("status", "content"), [(404, b"{}"), (500, b""), (302, b""), (200, b"\xff"), (200, b"x" * (PROOF_BYTES_MAX + 1))]
)
def test_answers_that_are_none(status, content):
    with serving(lambda *_asked: (status, content)) as (url, _), source(url) as log:
        with pytest.raises(LogSilent):
            log.checkpoint()
        if status != 200:
            with pytest.raises(CosignatureRefused):
                log.hand_back("text")


@pytest.mark.parametrize("content", [b"{}", b"x", json.dumps({"format": "bithive-proof-1", "kind": "entry"}).encode()])
def test_proofs_that_are_none(content):
    with serving(lambda *_asked: (200, content)) as (url, _), source(url) as log, pytest.raises(ProofMalformed):
        log.consistency(1, 2)


def test_nobody_answers():
    with serving(lambda *_asked: (200, b"")) as (url, _):
        pass
    with source(url) as log:
        for ask in (log.checkpoint, lambda: log.consistency(1, 2), lambda: log.hand_back("text")):
            with pytest.raises(LogSilent):
                ask()


@pytest.mark.parametrize("url", ["", "hub.example", "ftp://hub.example", "file:///etc"])
def test_what_is_no_address(url):
    with pytest.raises(BadSettings):
        HubSource(url)
