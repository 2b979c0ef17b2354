"""What the network side adds to an Offer's trace: its wait, each Attempt, and the stages that the cell told of.

Only Offers that came with a `traceparent` are followed. Every time is the network side's own; a cell's stages are laid
out within the Attempt, so that no cell can write anything else into a trace than how it spent its own interval.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from bithive import tracing
from bithive.clock import Clock
from cluster.attempt import Attempt, AttemptState
from cluster.offers import OfferRecord
from cluster.stage_times import parse
from cluster.store import Change, Notice

_HEARD_MAX = 10_000


class NetworkTraces:
    """A watcher of the broker's changes.

    Parameters
    ----------
    clock
        Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def heard(self, attempt_id: str, stages: str) -> None:
        """A cell said how long the stages of an Attempt took; used when the Attempt ends."""
        if not tracing.is_on() or not stages:
            return
        with self._lock:
            self._heard[attempt_id] = stages
            while len(self._heard) > _HEARD_MAX:
                self._heard.popitem(last=False)

    def __call__(self, change: Change) -> None:
        """Take a change that is stored."""
        record = change.offer
        if record is None or not record.offer.traceparent or not tracing.is_on():
            return
        for notice in change.notices:
            step = _STEPS.get(notice.topic)
            if step is not None:
                step(self, record, change.attempt, notice)

    def _opened(self, record: OfferRecord, _attempt: Attempt | None, notice: Notice) -> None:
        offer = record.offer
        tracing.record(
            "payload.received",
            offer.traceparent,
            record.received_ms,
            notice.at_ms,
            offer=offer.offer_id,
            size_bytes=offer.payload_size_bytes,
        )

    def _leased(self, record: OfferRecord, attempt: Attempt | None, _notice: Notice) -> None:
        assert attempt is not None, "a Lease makes an Attempt"
        offer, since_ms = record.offer, max(record.ready_ms, record.received_ms)
        tracing.record(
            "offer.waited",
            offer.traceparent,
            since_ms,
            attempt.leased_ms,
            offer=offer.offer_id,
            urgency=str(offer.urgency),
            data_class=str(offer.data_class),
            tries=attempt.fencing_token,
        )

    def _ended(self, record: OfferRecord, attempt: Attempt | None, _notice: Notice) -> None:
        if attempt is None or attempt.live:
            return
        with self._lock:
            told = self._heard.pop(attempt.attempt_id, "")
        offer = record.offer
        parent = tracing.record(
            "attempt",
            offer.traceparent,
            attempt.leased_ms,
            attempt.ended_ms,
            attempt.code,
            offer=offer.offer_id,
            attempt=attempt.attempt_id,
            cell=attempt.cell,
            node=attempt.node,
            bundle=offer.bundle,
            bundle_version=offer.bundle_version,
            state=str(attempt.state),
            tries=attempt.fencing_token,
        )
        self._stages(attempt, parent, told)

    def _stages(self, attempt: Attempt, parent: str, told: str) -> None:
        at_ms = attempt.leased_ms
        for stage, spent_ms in parse(told):
            until_ms = min(at_ms + spent_ms, attempt.ended_ms)
            tracing.record("stage", parent, at_ms, until_ms, stage=stage)
            at_ms = until_ms
        if attempt.state is AttemptState.ACCEPTED:
            size = attempt.receipt.output_size_bytes if attempt.receipt else 0
            tracing.record("findings.received", parent, at_ms, attempt.ended_ms, size_bytes=size)
            tracing.record("findings.checked", parent, attempt.ended_ms, self._clock.now_ms())


_STEPS: dict[str, Callable[[NetworkTraces, OfferRecord, Attempt | None, Notice], None]] = {
    "offer.opened": NetworkTraces._opened,  # noqa: SLF001 - its own table
    "attempt.leased": NetworkTraces._leased,  # noqa: SLF001
    "attempt.accepted": NetworkTraces._ended,  # noqa: SLF001
    "attempt.failed": NetworkTraces._ended,  # noqa: SLF001
    "attempt.expired": NetworkTraces._ended,  # noqa: SLF001
    "offer.withdrawn": NetworkTraces._ended,  # noqa: SLF001
}
