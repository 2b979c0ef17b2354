"""A real HTTP server that behaves as it is told, on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web:
    """What it serves, and what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, list[int]] = {}
        """For a path, after how many bytes of the body each answer breaks off, in turn."""
        self.redirect: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.status: dict[str, int] = {}
        self.ranges = True
        self.pause_s = 0.0
        self.endless: set[str] = set()
        self.asked: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"{self.address}{path}"


@contextmanager
def serving() -> Iterator[Web]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def do_GET(self):
        web = self.server.web
        wanted = self.headers.get("Range")
        web.asked.append((self.path, wanted))
        try:
            self._answer(web, wanted)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self, web, wanted):
        if self.path in web.redirect:
            self._head(302, {"Location": web.redirect[self.path], "Content-Length": "0"})
            return
        if self.path in web.endless:
            self._head(200, {"Transfer-Encoding": "chunked"})
            while True:
                self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        if self.path in web.status:
            self._head(web.status[self.path], {"Content-Length": "0"})
            return
        content, start = web.files.get(self.path, b""), 0
        headers = {}
        if wanted and web.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        self._head(
            206 if "Content-Range" in headers else 200,
            {"Content-Length": str(len(body)), **headers, **web.headers.get(self.path, {})},
        )
        cuts = web.cut.get(self.path, [])
        length = cuts.pop(0) if cuts else len(body)
        for offset in range(0, min(length, len(body)), 65536):
            self.wfile.write(body[offset : min(offset + 65536, length)])
            time.sleep(web.pause_s)
        if length < len(body) or "Content-Length" in web.headers.get(self.path, {}):
            self.close_connection = True

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
