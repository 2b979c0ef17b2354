"""A small network for tests: Offers of tiny Volumes, a bundle that thresholds, a cell that calls the broker directly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bithive.clock import Clock, ManualClock
from bithive.envelope import PAYLOAD, seal, sealed_size_bytes
from bithive.ids import Ids, SeededIds
from bithive.keys import SigningKey, keyed_digest
from bithive.offer import DataClass, Offer, OfferKeys, Urgency
from bithive.receipt import Receipt
from cluster.broker import Broker, Durations
from cluster.download import Download
from cluster.protocol import Grant, Heartbeat, Hello, NodeGreeting, Welcome
from cluster.protocol_lease import Pulse, Renewed, WorkRequest
from cluster.spool import Spool
from cluster.store import MemoryStore
from cluster.work import Progress, Warm
from inference.findings import Findings, Mask, Measurement
from inference.volume import Volume

SHA256 = "ab" * 32


@dataclass(frozen=True)
class Threshold:
    """A bundle that marks what is brighter than the mean."""

    name: str = "threshold"
    version: str = "1.0.0"
    sha256: str = SHA256

    def reference_work_units(self, voxels: int) -> int:
        return 10 + voxels // 100


@dataclass(frozen=True)
class ThresholdEngine:
    """Runs it; `meanwhile` is called in the middle."""

    meanwhile: Callable[[], None] = lambda: None
    engine: str = "numpy"
    engine_version: str = "2"
    precision: str = "f64"
    device: str = "cpu"
    threads: int = 1
    deterministic: bool = True
    tf32: bool = False
    bf16: bool = False
    memory_bytes: int = 1 << 20

    def run(self, volume: Volume, progress: Progress) -> Findings:
        progress("preparing", 0.1)
        array = volume.array > volume.array.mean()
        self.meanwhile()
        progress("segmenting", 0.5)
        progress("measuring", 0.9)
        return Findings((Mask("bright", array),), (Measurement("volume", float(array.sum()), "mL", "bright"),))


def warm(meanwhile: Callable[[], None] = lambda: None) -> Warm:
    return Warm(Threshold(), ThresholdEngine(meanwhile))


def volume(seed: int = 0, shape: tuple[int, int, int] = (6, 7, 8)) -> Volume:
    array = np.random.default_rng(seed).integers(-100, 1000, shape).astype(np.int16)
    return Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), "HU")


@dataclass(frozen=True)
class Made:
    """An Offer with everything that belongs to it."""

    offer: Offer
    keys: OfferKeys
    payload: bytes
    sealed: bytes

    @property
    def sealed_bytes(self) -> int:
        return sealed_size_bytes(len(self.payload))


def make_offer(ids: Ids, clock: Clock, institution: str, image: Volume | None = None, **changes: Any) -> Made:
    """An Offer of a Volume; `changes` replace its members."""
    image = image or volume()
    payload = image.to_bytes()
    keys = OfferKeys(ids.token(), ids.token())
    now_ms = clock.now_ms()
    members: dict[str, Any] = {
        "offer_id": ids.new("off"),
        "institution": institution,
        "bundle": Threshold.name,
        "bundle_version": Threshold.version,
        "bundle_sha256": SHA256,
        "data_class": DataClass.P3,
        "urgency": Urgency.MEDIUM,
        "payload_size_bytes": len(payload),
        "payload_digest": keyed_digest(keys.digest_key, payload),
        "voxels": image.array.size,
        "work_units": Threshold().reference_work_units(image.array.size),
        "memory_bytes": 1 << 30,
        "created_ms": now_ms,
        "deadline_ms": now_ms + 3_600_000,
    }
    sealed = b"".join(seal(keys.payload_key, PAYLOAD, payload))
    return Made(Offer(**{**members, **changes}), keys, payload, sealed)


def put_offer(broker: Broker, made: Made) -> str:
    """Make the Offer and send its payload; its id."""
    institution, offer_id = made.offer.institution, made.offer.offer_id
    broker.offer(institution, made.offer, made.keys, made.sealed_bytes)
    incoming = broker.receive_payload(institution, offer_id)
    assert incoming is not None
    incoming.write([made.sealed])
    broker.store_payload(institution, offer_id, incoming)
    return offer_id


class DirectNetwork:
    """The network side of one cell, without HTTP between them."""

    def __init__(self, broker: Broker, cell: str, institution: str | None) -> None:
        self.broker, self.cell, self.institution = broker, cell, institution

    def hello(self, hello: Hello) -> Welcome:
        return self.broker.hello(self.cell, self.institution, hello)

    def lease(self, cell: str, warm: Iterable[str], wait_s: float) -> Grant | None:
        assert cell == self.cell
        return self.broker.lease(cell, tuple(warm))

    def work(self, request: WorkRequest) -> tuple[Grant, ...]:
        turn = self.broker.stand(self.cell, request.nodes, anew=True, serial=request.serial)
        return self.broker.work(request, turn) or ()

    def pulse(self, pulse: Pulse) -> Renewed:
        return self.broker.pulse(self.cell, pulse)

    def payload(self, grant: Grant, download: Download) -> None:
        sealed = self.broker.payload(self.cell, grant.attempt_id, grant.fencing_token).read_bytes()
        download.begin(download.received_bytes, "")
        download.take(sealed[download.received_bytes :])

    def heartbeat(self, attempt_id: str, beat: Heartbeat) -> int:
        return self.broker.heartbeat(self.cell, attempt_id, beat)

    def findings(self, grant: Grant, receipt: Receipt, sealed: bytes, stages: str = "") -> None:
        incoming = self.broker.receive_findings(self.cell, grant.attempt_id, grant.fencing_token, receipt)
        if incoming is not None:
            incoming.write([sealed])
            self.broker.accept(self.cell, grant.attempt_id, grant.fencing_token, receipt, incoming)

    def failure(self, grant: Grant, code: str) -> None:
        self.broker.fail(self.cell, grant.attempt_id, grant.fencing_token, code)


class HandCell:
    """A cell whose every step a test takes itself, honest unless told otherwise."""

    def __init__(self, broker: Broker, ids: Ids, institution: str | None, seed: int = 7) -> None:
        self.broker, self.key = broker, SigningKey(bytes([seed]) * 32)
        self.network = DirectNetwork(broker, ids.new("cel"), institution)
        self.cell = self.network.cell
        self.node = self.greet().nodes[self.key.public_hex]

    def greet(
        self,
        data_class_max: DataClass = DataClass.P3,
        bundles: tuple[str, ...] = (SHA256,),
        memory_bytes: int = 8 << 30,
    ) -> Welcome:
        nodes = (NodeGreeting(self.key.public_hex, 2, memory_bytes, 0, {}, 8 << 30),)
        return self.network.hello(Hello(self.key.public_hex, "operator", data_class_max, nodes, bundles))

    def lease(self) -> Grant:
        grant = self.broker.lease(self.cell)
        assert grant is not None
        return grant

    def beat(self, grant: Grant, stage: str = "segmenting", fraction: float = 0.5) -> int:
        return self.network.heartbeat(grant.attempt_id, Heartbeat(grant.fencing_token, stage, fraction, self.node))

    def findings(self, grant: Grant, payload: bytes) -> bytes:
        return ThresholdEngine().run(Volume.from_bytes(payload), lambda *_: None).to_bytes()

    def receipt(self, grant: Grant, payload: bytes, findings: bytes, **changes: Any) -> Receipt:
        """Signed by the node's own key, unless `changes` hold a `key`."""
        key = changes.pop("key", self.key)
        offer = grant.offer
        receipt = Receipt(
            attempt_id=grant.attempt_id,
            offer_id=offer.offer_id,
            fencing_token=grant.fencing_token,
            cell=self.cell,
            node=self.node,
            node_key=self.key.public_hex,
            bundle=offer.bundle,
            bundle_version=offer.bundle_version,
            bundle_sha256=offer.bundle_sha256,
            engine="numpy",
            engine_version="2",
            precision="f64",
            device="cpu",
            threads=1,
            deterministic=True,
            tf32=False,
            bf16=False,
            input_digest=keyed_digest(grant.keys.digest_key, payload),
            output_digest=keyed_digest(grant.keys.digest_key, findings),
            input_size_bytes=len(payload),
            output_size_bytes=len(findings),
            work_units=offer.work_units,
            started_ms=grant.expires_ms - 15_000,
            wall_ms=1,
            cpu_ms=1,
            gpu_ms=0,
            peak_memory_bytes=1 << 20,
            sealed_input_bytes=sealed_size_bytes(len(payload)),
            sealed_output_bytes=sealed_size_bytes(len(findings)),
        )
        receipt = replace(receipt, **changes)
        return replace(receipt, signature=key.sign(receipt.signed_bytes()))

    def post(self, grant: Grant, receipt: Receipt, findings: bytes) -> None:
        sealed = b"".join(seal(grant.keys.payload_key, grant.fencing_token, findings))
        self.network.findings(grant, receipt, sealed)

    def finish(self, grant: Grant, payload: bytes, **changes: Any) -> Receipt:
        """Do the work and hand it in; `changes` make the Receipt lie."""
        findings = changes.pop("findings", None) or self.findings(grant, payload)
        receipt = self.receipt(grant, payload, findings, **changes)
        self.post(grant, receipt, findings)
        return receipt


@dataclass(frozen=True)
class Scene:
    """A broker in memory on a clock that stands still, one institution, one cell of its own."""

    clock: ManualClock
    ids: SeededIds
    broker: Broker
    institution: str
    cell: HandCell

    def offer(self, **changes: Any) -> Made:
        made = make_offer(self.ids, self.clock, self.institution, **changes)
        put_offer(self.broker, made)
        return made

    def topics(self) -> list[str]:
        return [notice.topic for notice in self.broker.notices(self.institution, 0)]


def scene(folder: Path, seed: int = 1, durations: Durations | None = None) -> Scene:
    clock = ManualClock()
    ids = SeededIds(seed, clock)
    broker = Broker(MemoryStore(), clock, ids, Spool(folder), durations=durations)
    institution = ids.new("ins")
    return Scene(clock, ids, broker, institution, HandCell(broker, ids, institution))
