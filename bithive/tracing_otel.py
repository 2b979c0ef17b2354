"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP to the one address that an operator named.

No exception text or stack is recorded, and the resource says only which program and version it was. Of the `OTEL_*`
variables only the exporter's own count (headers, certificates, compression): they name nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context

from bithive import __version__
from bithive.tracing import Attribute, allowed

_TIMEOUT_S = 5.0
_PAUSE_MS = 1_000
_WAITING_MAX = 4_096
_BATCH = 256


class OtelRecorder:
    """Spans for a collector.

    Parameters
    ----------
    endpoint
        Where traces are posted: `https://collector.example:4318/v1/traces`.
    service
        Which program this is: `service.name` of the resource.
    share
        Of new traces that are kept, 0 to 1.
    token
        Bearer token for the collector, if it wants one.
    """

    def __init__(self, endpoint: str, service: str, share: float = 1.0, token: str | None = None) -> None:
        session = requests.Session()
        session.trust_env = False  # proxies and .netrc of the environment are none of ours
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        exporter = OTLPSpanExporter(endpoint=endpoint, headers=headers, timeout=_TIMEOUT_S, session=session)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource({"service.name": service, "service.version": __version__}),
            id_generator=_RandomIds(),
            span_limits=SpanLimits(max_span_attributes=32, max_events=0, max_links=0),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, _WAITING_MAX, _PAUSE_MS, _BATCH, round(_TIMEOUT_S * 1000))
        )
        self._tracer = self._provider.get_tracer("bithive", __version__)

    def start(self, name: str, parent: str, start_ms: int | None, attributes: Mapping[str, Attribute]) -> OtelSpan:
        return OtelSpan(
            self._tracer.start_span(
                name,
                context=_context(parent),
                attributes=_prefixed(attributes),
                start_time=None if start_ms is None else start_ms * 1_000_000,
                record_exception=False,
                set_status_on_exception=False,
            )
        )

    def close(self) -> None:
        self._provider.shutdown()


class OtelSpan:
    """One span."""

    def __init__(self, span: Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"

    def note(self, **attributes: Attribute) -> None:
        self._span.set_attributes(_prefixed(allowed(attributes)))

    def end(self, end_ms: int | None, code: str) -> None:
        if code:
            self._span.set_attributes(_prefixed(allowed({"code": code})))
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(None if end_ms is None else end_ms * 1_000_000)


class _RandomIds(IdGenerator):
    """Trace and span ids from the operating system's entropy."""

    def generate_trace_id(self) -> int:
        return secrets.randbits(128) or 1

    def generate_span_id(self) -> int:
        return secrets.randbits(64) or 1


def _context(parent: str) -> Context:
    """The context of a parent's children; an empty one begins a trace, whatever else runs in this thread."""
    if not parent:
        return Context()
    _, trace, span, flags = parent.split("-")
    context = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(context), Context())


def _prefixed(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {f"bithive.{name}": value for name, value in attributes.items()}
