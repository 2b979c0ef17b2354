"""Canaries and benchmarks: work that the network gives its cells itself, at its own expense, and how each is made.

A canary is an Offer whose answer was computed beforehand on the network's own machine; a benchmark is one without a
known answer. Both are public or synthetic (P0), under ids and keys of the usual kind, drawn from a secret seed: to a
cell they look like anybody's. What a cell answered is kept beside what was known; judging by it is left to whoever
decides about verification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from bithive.errors import IllegalTransition
from bithive.keys import derive, keyed_digest
from bithive.limits import OFFER_DEADLINE_S
from bithive.offer import ANYBODY, DataClass, Offer, OfferKeys, Urgency
from cluster.phantoms import head, trunk
from inference.memory import predict
from inference.volume import Volume
from models.bundle import Bundle

HEAD_SAMPLE = "head_t1"


class Kind(StrEnum):
    """Whether the answer was known beforehand."""

    CANARY = "canary"
    BENCHMARK = "benchmark"


class Stage(StrEnum):
    """How far one is."""

    READY = "ready"
    """Made, and not yet certainly offered."""
    OPEN = "open"
    """Offered."""
    ANSWERED = "answered"
    """A cell's findings were accepted and are kept."""
    ENDED = "ended"
    """It ended without an answer."""


STAGES: dict[Stage, frozenset[Stage]] = {
    Stage.READY: frozenset({Stage.OPEN, Stage.ENDED}),
    Stage.OPEN: frozenset({Stage.ANSWERED, Stage.ENDED}),
    Stage.ANSWERED: frozenset(),
    Stage.ENDED: frozenset(),
}
"""What may follow what."""


@dataclass(frozen=True, slots=True)
class Canary:
    """One of them.

    Attributes
    ----------
    offer_id, kind
        Under which id it was offered, and whether its answer is known.
    seed
        32 bytes, hexadecimal: image and keys follow from it.
    offer
        As it was made.
    known_digest
        SHA-256 of the known Findings; empty for a benchmark.
    made_ms
        When.
    stage, attempt_id, given_digest, reason, ended_ms
        What became of it: the accepted Attempt and SHA-256 of its plain Findings, or why it ended without.
    """

    offer_id: str
    kind: Kind
    seed: str
    offer: dict[str, Any]
    known_digest: str
    made_ms: int
    stage: Stage = Stage.READY
    attempt_id: str = ""
    given_digest: str = ""
    reason: str = ""
    ended_ms: int = 0

    def __repr__(self) -> str:
        return f"Canary({self.offer_id}, {self.stage})"

    @property
    def keys(self) -> OfferKeys:
        """The keys of its Offer."""
        return keys_of(bytes.fromhex(self.seed))

    def at(self, stage: Stage, **members: Any) -> Canary:
        """The same, further on. Raises `IllegalTransition`."""
        if stage not in STAGES[self.stage]:
            raise IllegalTransition(f"a canary that is {self.stage} cannot become {stage}")
        return replace(self, stage=stage, **members)


Samples = Callable[[str], Path | None]
"""Where a public image of that name lies on this machine, if it does."""

Maker = Callable[[Samples, bytes], Volume | None]


def _trunk(_samples: Samples, seed: bytes) -> Volume | None:
    return trunk(seed)


def _head(samples: Samples, seed: bytes) -> Volume | None:
    sample = samples(HEAD_SAMPLE)
    return None if sample is None else head(sample, seed)


MAKERS: Mapping[str, Maker] = {
    "lungs_ct": _trunk,
    "composition_ct": _trunk,
    "intracranial_t1": _head,
    "brain_tissue_t1": _head,
    "brain_structures18_t1": _head,
    "brain_structures104_t1": _head,
}
"""What image each bundle is tested with; a bundle that is not here is never tested this way."""


def keys_of(seed: bytes) -> OfferKeys:
    """The keys that follow from a seed."""
    return OfferKeys(derive(seed, "payload"), derive(seed, "digest"))


def image_of(bundle: str, samples: Samples, seed: bytes) -> Volume | None:
    """The image that a bundle is tested with under a seed; None where there is none for it."""
    maker = MAKERS.get(bundle)
    return None if maker is None else maker(samples, derive(seed, "image"))


def offer_of(offer_id: str, institution: str, bundle: Bundle, volume: Volume, seed: bytes, now_ms: int) -> Offer:
    """The Offer, of the same form as any institution's of a public image."""
    payload, keys = volume.to_bytes(), keys_of(seed)
    predicted = predict(bundle, volume.array.shape, volume.spacing_mm, volume.array.dtype.itemsize)
    return Offer(
        offer_id=offer_id,
        institution=institution,
        bundle=bundle.name,
        bundle_version=bundle.version,
        bundle_sha256=bundle.sha256,
        data_class=DataClass.P0,
        urgency=Urgency.LOW,
        payload_size_bytes=len(payload),
        payload_digest=keyed_digest(keys.digest_key, payload),
        voxels=volume.voxels,
        work_units=bundle.reference_work_units(volume.voxels),
        memory_bytes=predicted.peak_bytes,
        created_ms=now_ms,
        deadline_ms=now_ms + round(OFFER_DEADLINE_S * 1000),
        audience=(ANYBODY,),
    )
