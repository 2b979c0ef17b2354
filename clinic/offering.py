"""From a Workitem to an open Offer: read, name by HMAC, seal, announce, upload.

Offer id, keys and Offer are stored before anything is sent, so that whatever is repeated after a crash is the same
Offer. What leaves is a Volume under a random id: no UID, no header, no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice

from bithive import tracing
from bithive.envelope import FRAME_BYTES, PAYLOAD, seal, sealed_size_bytes
from bithive.keys import keyed_digest
from bithive.limits import HEARTBEAT_PERIOD_S, OFFER_DEADLINE_S
from bithive.log import get
from bithive.offer import Offer
from clinic import traced
from clinic.data_class import payload_class
from clinic.means import Means, keys_of
from clinic.workitem import Duty, Workitem
from clinic.workitem_store import Change, Kind
from inference.memory import predict
from inference.volume import Volume, VolumeSet
from models.bundle import Bundle
from pipelines.spec import Pipeline

_SEALED_AHEAD_BYTES = 256 * 1024 * 1024
_FIXED = ("payload_digest", "memory_bytes", "data_class", "residency", "audience")
_LEFT_MS_MIN = round(2 * HEARTBEAT_PERIOD_S * 1000)


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """A Volume ready to leave: its keyed digest, its sealed frames, and their size."""

    digest: str
    size_bytes: int
    frames: Iterator[bytes]

    @property
    def sealed_size_bytes(self) -> int:
        """Size of all frames."""
        return sealed_size_bytes(self.size_bytes)


def offer(means: Means, item: Workitem) -> None:
    """Make a Workitem's Offer and open it. May be repeated at any point.

    Raises
    ------
    Refused, NotFound, Fault
        The series forms no Volume, the bundle is gone, a file changed, no cell has the memory, its data class may not
        leave: asking again would not help.
    NetworkUnreachable, NetworkForbids
        Ask again later.
    """
    with traced.offering(item):
        _offer_traced(means, item)


def _offer_traced(means: Means, item: Workitem) -> None:
    start_s = means.clock.monotonic_s()
    network = means.network(item.institution)
    pipeline, bundle = means.pipeline(item)
    with tracing.child("volume.read"):
        volume = means.payload(item)
    if item.offer is not None and item.offer["deadline_ms"] - means.clock.now_ms() < _LEFT_MS_MIN:
        network.withdraw(item.offer_id)
        item = _renewed(means, item)
    with tracing.child("payload.sealed") as span, ThreadPoolExecutor(1, "digest") as executor:
        payload = _payload(item, volume.to_bytes(), executor)
        span.note(size_bytes=payload.size_bytes)
    made = _offer(means, item, pipeline, bundle, volume, payload)
    told = made.to_json()
    if item.offer is not None and any(item.offer.get(name) != told.get(name) for name in _FIXED):
        network.withdraw(item.offer_id)
        _renewed(means, item)
        return
    if item.offer is None:
        item = item.changed(means.clock.now_ms(), offer=told)
        means.store.commit(Change((item,)))
    with tracing.child("offer.announced"):
        network.offer(made, keys_of(item), payload.sealed_size_bytes)
    with tracing.child("payload.sent", size_bytes=payload.sealed_size_bytes):
        network.upload(made.offer_id, payload.frames, payload.sealed_size_bytes)
    opened(means, item)
    spent_ms = round((means.clock.monotonic_s() - start_s) * 1000)
    get().info("workitem.offered", workitem=item.workitem_id, size_bytes=payload.size_bytes, duration_ms=spent_ms)


def opened(means: Means, item: Workitem, cursor: tuple[str, int] | None = None) -> None:
    """The Offer is open: nothing more is owed until news comes."""

    def step(now: Workitem) -> Workitem | None:
        if now.duty is not Duty.OFFER or now.offer_id != item.offer_id:
            return None
        return now.changed(means.clock.now_ms(), duty=None, tries=0, waiting=None)

    means.update(item, step, means.event(item, Kind.OFFERED, offer_id=item.offer_id), cursor=cursor)


def _renewed(means: Means, item: Workitem) -> Workitem:
    """The Workitem with a fresh Offer id and key: the old Offer's time has passed, or today it would say otherwise."""
    after = item.changed(
        means.clock.now_ms(),
        offer_id=means.ids.new("off"),
        key=means.ids.token(32),
        offer=None,
        duty=Duty.OFFER,
        due_ms=0,
    )
    means.store.commit(Change((after,)))
    return after


def _payload(item: Workitem, content: bytes, executor: ThreadPoolExecutor) -> Payload:
    """Digest and sealing side by side; frames beyond a bound are sealed while they are sent."""
    keys = keys_of(item)
    digest = executor.submit(keyed_digest, keys.digest_key, content)
    frames = seal(keys.payload_key, PAYLOAD, content)
    ahead = list(islice(frames, _SEALED_AHEAD_BYTES // FRAME_BYTES))
    return Payload(digest.result(), len(content), chain(ahead, frames))


def _offer(
    means: Means, item: Workitem, pipeline: Pipeline, bundle: Bundle, volume: Volume | VolumeSet, payload: Payload
) -> Offer:
    first = volume.first if isinstance(volume, VolumeSet) else volume
    predicted = predict(bundle, first.array.shape, first.spacing_mm, first.array.dtype.itemsize, volume.channels)
    data_class = payload_class(pipeline, means.rows(item), means.public.public(item.institution, item.study_uid))
    means.leaving.check(data_class)
    created_ms = item.offer["created_ms"] if item.offer else means.clock.now_ms()
    return Offer(
        offer_id=item.offer_id,
        institution=item.institution,
        bundle=bundle.name,
        bundle_version=bundle.version,
        bundle_sha256=bundle.sha256,
        data_class=data_class,
        urgency=item.urgency,
        payload_size_bytes=payload.size_bytes,
        payload_digest=payload.digest,
        voxels=volume.voxels,
        work_units=bundle.reference_work_units(volume.voxels),
        memory_bytes=predicted.peak_bytes,
        created_ms=created_ms,
        deadline_ms=created_ms + round(OFFER_DEADLINE_S * 1000),
        residency=means.leaving.countries(data_class),
        audience=means.leaving.audience(data_class, item.institution),
        traceparent=traced.traceparent(item) if item.offer else tracing.sampled(tracing.current()),
    )
