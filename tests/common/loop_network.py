"""A network side in memory that speaks the port `clinic.network.Network`, with a cell that measures what is bright."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from bithive.clock import Clock
from bithive.envelope import PAYLOAD, open_all, seal
from bithive.keys import SigningKey, keyed_digest
from bithive.offer import Offer, OfferKeys
from bithive.receipt import Receipt
from clinic.network import NetworkEvent, Sealed
from clinic.refusals import FindingsRefused, NetworkUnreachable, OfferRefused
from inference.findings import Findings, Mask, Measurement
from inference.volume import Volume, VolumeSet, read_payload

CELL, NODE = "cel_00000000000000000000000001", "nod_00000000000000000000000001"


class LoopNetwork:
    """Offers, events and findings in dictionaries.

    Attributes
    ----------
    reachable
        False: every call raises `NetworkUnreachable`.
    calls
        What was asked, in order: method names.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.key = SigningKey(b"n" * 32)
        self.reachable = True
        self.calls: list[str] = []
        self.offers: dict[str, tuple[Offer, OfferKeys]] = {}
        self.payloads: dict[str, bytes] = {}
        self.ended: dict[str, str] = {}
        self.stream: list[NetworkEvent] = []
        self._findings: dict[str, tuple[bytes, int]] = {}
        self._attempts = 0

    def _asked(self, name: str) -> None:
        self.calls.append(name)
        if not self.reachable:
            raise NetworkUnreachable

    def offer(self, offer: Offer, keys: OfferKeys, sealed_size_bytes: int) -> None:
        self._asked("offer")
        known = self.offers.get(offer.offer_id)
        if known is not None and known != (offer, keys):
            raise OfferRefused("offer-exists")
        self.offers[offer.offer_id] = (Offer.from_json(offer.to_json()), OfferKeys.from_json(keys.to_json()))

    def upload(self, offer_id: str, chunks: Iterable[bytes], sealed_size_bytes: int) -> None:
        self._asked("upload")
        content = b"".join(chunks)
        assert len(content) == sealed_size_bytes
        if offer_id not in self.payloads:
            self.payloads[offer_id] = content
            self.tell("offer.opened", offer_id)

    def withdraw(self, offer_id: str) -> None:
        self._asked("withdraw")
        if offer_id in self.offers and offer_id not in self.ended:
            self.ended[offer_id] = "withdrawn"
            self.tell("offer.withdrawn", offer_id)

    def acknowledge(self, offer_id: str) -> None:
        self._asked("acknowledge")
        self.ended[offer_id] = "acknowledged"
        self.payloads.pop(offer_id, None)

    def events(self, after: int, wait_s: float) -> list[NetworkEvent]:
        self._asked("events")
        return [event for event in self.stream if event.seq > after]

    @contextmanager
    def findings(self, attempt_id: str) -> Iterator[Sealed]:
        self._asked("findings")
        if attempt_id not in self._findings:
            raise FindingsRefused
        content, size = self._findings[attempt_id]
        yield Sealed(size, iter([content[:1000], content[1000:]]))

    def tell(self, topic: str, offer_id: str, **members: Any) -> None:
        """Append an event to the stream."""
        self.stream.append(NetworkEvent(len(self.stream) + 1, topic, self._clock.now_ms(), offer_id, **members))

    @property
    def open(self) -> list[str]:
        """Offers with a payload that have not ended."""
        return [offer_id for offer_id in self.payloads if offer_id not in self.ended]

    def volume(self, offer_id: str) -> Volume | VolumeSet:
        """What a cell would see of an offer."""
        offer, keys = self.offers[offer_id]
        content = open_all(keys.payload_key, PAYLOAD, offer.payload_size_bytes, [self.payloads[offer_id]])
        assert keyed_digest(keys.digest_key, content) == offer.payload_digest
        return read_payload(content)

    def lease(self, offer_id: str) -> str:
        """A cell takes an offer; the attempt's id."""
        self._attempts += 1
        attempt_id = f"att_{self._attempts:026d}"
        self.tell("attempt.leased", offer_id, attempt_id=attempt_id, cell=CELL)
        return attempt_id

    def accept(self, offer_id: str, attempt_id: str, findings: Findings | None = None, /, **receipt: Any) -> Receipt:
        """The attempt's findings are accepted; `receipt` falsifies members of its Receipt."""
        offer, keys = self.offers[offer_id]
        token = int(attempt_id[-26:])
        content = (findings or bright(self.volume(offer_id))).to_bytes()
        made = Receipt(
            attempt_id, offer_id, token, CELL, NODE, self.key.public_hex,
            offer.bundle, offer.bundle_version, offer.bundle_sha256, "openvino", "1", "f32", "cpu", 1, True, False, False,
            offer.payload_digest, keyed_digest(keys.digest_key, content), offer.payload_size_bytes, len(content),
            offer.work_units, self._clock.now_ms(), 1000, 900, 0, 1 << 28,
        )  # fmt: skip
        made = replace(made, **receipt).sign(self.key)
        self._findings[attempt_id] = (b"".join(seal(keys.payload_key, token, content)), len(content))
        self.tell("attempt.accepted", offer_id, attempt_id=attempt_id, node=NODE, cell=CELL, receipt=made.to_json())
        return made

    def run(self, offer_id: str, findings: Findings | None = None) -> str:
        """Lease, progress and acceptance in one."""
        attempt_id = self.lease(offer_id)
        for stage, fraction in (("preparing", 0.1), ("segmenting", 0.5)):
            members = {"stage": stage, "fraction": fraction, "node": NODE, "cell": CELL}
            self.tell("attempt.progressed", offer_id, attempt_id=attempt_id, **members)
        self.accept(offer_id, attempt_id, findings)
        return attempt_id

    def exhaust(self, offer_id: str, code: str) -> None:
        """No cell could do it."""
        self.tell("offer.exhausted", offer_id, code=code)


def bright(volume: Volume | VolumeSet) -> Findings:
    """What is brighter than 300, as the intracranial volume."""
    volume = volume.first if isinstance(volume, VolumeSet) else volume
    array = np.ascontiguousarray(volume.array > 300)
    millilitres = float(array.sum()) * volume.voxel_ml
    mask = Mask("intracranial", array)
    return Findings((mask,), (Measurement("intracranial_volume", millilitres, "mL", "intracranial"),))
