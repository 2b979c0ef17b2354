"""What this process counts for a monitoring system: counters and histograms that begin at zero with it.

How things stand is read from the databases when somebody asks (`api.metrics_now`). No label ever holds an id, an address or a word that a peer chose: every label's values come
from a fixed table, and what is in none of them counts as `other`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from bithive.offer import Offer
from cluster.attempt import Attempt, AttemptState
from cluster.errors import ReceiptRefused
from cluster.failures import EXPIRED, FAILURES, WITHDRAWN
from cluster.offers import OfferRecord, OfferState
from cluster.store import Change

disable_created_metrics()  # type: ignore[no-untyped-call]

OTHER = "other"
WAIT_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
RUN_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0)
HTTP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAITING_ROUTES = ("/events", "/leases", "/pulse")
"""Ends of addresses whose answers wait for something to happen: how long they took says nothing."""


def refusal_codes() -> frozenset[str]:
    """Every code that an Attempt or a strike can have."""
    return frozenset({*FAILURES, EXPIRED, WITHDRAWN, *_leaves(ReceiptRefused)})


class Metrics:
    """What this process counts. One for each hub; a watcher of its broker's changes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._codes = refusal_codes()
        self._wait = self._histogram("offer_wait_seconds", "From ready to leased.", ("urgency",), WAIT_S)
        self._run = self._histogram("attempt_seconds", "From leased to ended.", ("state",), RUN_S)
        self._ended = self._counter("attempts_ended", "Attempts that ended, by state and code.", ("state", "code"))
        self._bytes = self._counter("sealed_bytes", "Sealed bytes that came: payloads and findings.", ("kind",))
        self._units = self._counter("work_units", "Reference work units of accepted Attempts.", ())
        self._asked = self._counter("http_requests", "Requests that were answered.", ("method", "route", "status"))
        self._took = self._histogram("http_request_seconds", "Time to answer, but for waiting.", ("route",), HTTP_S)

    def __call__(self, change: Change) -> None:
        """Count a change of the network side that is stored."""
        record, attempt = change.offer, change.attempt
        if record is not None and any(event.topic == "offer.opened" for event in change.events):
            self._bytes.labels("payload").inc(record.sealed_bytes)
        if record is None or attempt is None:
            return
        if record.state is OfferState.LEASED and attempt.state is AttemptState.LEASED:
            self._wait.labels(str(record.offer.urgency)).observe(_waited_s(record, attempt))
        elif not attempt.live:
            self._end(record.offer, attempt)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the template of its address, never the address."""
        self._asked.labels(method if method in _METHODS else OTHER, route, f"{status // 100}xx").inc()
        if not route.endswith(WAITING_ROUTES):
            self._took.labels(route).observe(seconds)

    def code(self, code: str) -> str:
        """A code as a label."""
        return code if code in self._codes or not code else OTHER

    def _end(self, offer: Offer, attempt: Attempt) -> None:
        state = str(attempt.state)
        self._run.labels(state).observe(max(attempt.ended_ms - attempt.leased_ms, 0) / 1000)
        self._ended.labels(state, self.code(attempt.code)).inc()
        if attempt.state is AttemptState.ACCEPTED and attempt.receipt is not None:
            self._bytes.labels("findings").inc(attempt.receipt.output_size_bytes)
            self._units.inc(offer.work_units)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"bithive_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"bithive_{name}", text, labels, buckets=buckets, registry=self.registry)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


def _waited_s(record: OfferRecord, attempt: Attempt) -> float:
    return max(attempt.leased_ms - max(record.ready_ms, record.received_ms), 0) / 1000


def _leaves(kind: type[ReceiptRefused]) -> set[str]:
    below = kind.__subclasses__()
    return {kind.code}.union(*(_leaves(item) for item in below)) if below else {kind.code}
