"""A collector of traces over OTLP/HTTP (OTLP 1.x, section 3.2): a real server that keeps what is posted to it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class SeenSpan:
    """A span as it came over the wire."""

    name: str
    trace: str
    span: str
    parent: str
    start_ms: float
    end_ms: float
    attributes: dict[str, str | int]
    failed: bool
    service: str

    @property
    def duration_ms(self) -> float:
        return self.end_ms - self.start_ms


class Collector:
    """What was posted."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.url = ""

    @property
    def spans(self) -> list[SeenSpan]:
        """Every span, in the order in which they came."""
        return [span for body in self.bodies for span in _spans(body)]

    def named(self, name: str) -> list[SeenSpan]:
        return [span for span in self.spans if span.name == name]

    def everything(self) -> bytes:
        """All bytes that came, headers included: what a privacy test searches."""
        return b"".join(self.bodies) + repr(self.headers).encode()


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port of loopback."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.headers.append({name.lower(): value for name, value in self.headers.items()})
            if kept.status == 200:
                kept.bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(kept.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(body: bytes) -> Iterator[SeenSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        told = {item.key: item.value.string_value for item in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                assert not span.events
                assert not span.status.message
                yield SeenSpan(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano // 1000 / 1000,
                    span.end_time_unix_nano // 1000 / 1000,
                    {item.key: item.value.string_value or item.value.int_value for item in span.attributes},
                    span.status.code == 2,
                    told["service.name"],
                )
