"""One Attempt on one Node: open the Volume, run the bundle, sign the Receipt. The same code in every runner.

What runs bundles may be this process or one without keys and privileges (`cluster.bundle_process`): it gives what was
produced, and `receipt_of` signs it, always outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, Self

from bithive.clock import Clock
from bithive.envelope import sealed_size_bytes
from bithive.errors import BitHiveError, Refused
from bithive.keys import SigningKey, keyed_digest
from bithive.log import get
from bithive.offer import Offer, OfferKeys
from bithive.receipt import Method, Receipt
from cluster.errors import LeaseLost, WorkFailed
from cluster.failures import UNKNOWN_REFUSAL, known
from cluster.measure import Measured, Meter
from inference.errors import BadVolume
from inference.findings import Findings
from inference.volume import Volume, VolumeSet, read_payload

Progress = Callable[[str, float], None]


class BundleFacts(Protocol):
    """What a Receipt says of a bundle (`models.bundle.Bundle`)."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    def reference_work_units(self, voxels: int) -> int:
        """Reference work units of one run."""


class Engine(Protocol):
    """A bundle that is loaded (`inference.run.LoadedBundle`)."""

    @property
    def engine(self) -> str: ...
    @property
    def engine_version(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def tf32(self) -> bool: ...
    @property
    def bf16(self) -> bool: ...
    @property
    def memory_bytes(self) -> int:
        """Resident size of what is loaded."""

    def run(self, volume: Volume | VolumeSet, progress: Progress) -> Findings:
        """Raises leaves of `Refused`."""


@dataclass(frozen=True, slots=True)
class Warm:
    """A bundle ready to run."""

    bundle: BundleFacts
    engine: Engine


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a Node must know of an Attempt: plain values, so that it can cross to another process.

    Attributes
    ----------
    attempt_id, offer_id, fencing_token, cell
        For the Receipt.
    nodes
        The id of each Node of the cell, by its key: the Node that runs finds its own.
    bundle_sha256
        What to run.
    payload_digest, voxels, work_units, memory_bytes
        What the Offer says of the payload.
    digest_key
        Names input and output by HMAC.
    deadline_ms
        Until when it should be done, milliseconds since the epoch; 0 for no matter when.
    """

    attempt_id: str
    offer_id: str
    fencing_token: int
    cell: str
    nodes: dict[str, str]
    bundle_sha256: str
    payload_digest: str
    voxels: int
    work_units: int
    memory_bytes: int
    digest_key: bytes
    deadline_ms: int = 0

    @classmethod
    def unleased(cls, offer: Offer, keys: OfferKeys, attempt_id: str = "") -> Self:
        """What a bundle process must know to run an Offer that nobody leases: no Receipt can come of it."""
        return cls(
            attempt_id=attempt_id,
            offer_id=offer.offer_id,
            fencing_token=0,
            cell="",
            nodes={},
            bundle_sha256=offer.bundle_sha256,
            payload_digest=offer.payload_digest,
            voxels=offer.voxels,
            work_units=offer.work_units,
            memory_bytes=offer.memory_bytes,
            digest_key=keys.digest_key,
        )

    def __repr__(self) -> str:
        return f"Assignment({self.attempt_id})"


@dataclass(frozen=True, slots=True)
class Produced:
    """What ran on what and what came of it: everything that a Receipt says but for whose it is.

    Attributes
    ----------
    bundle, bundle_version, bundle_sha256
        What ran, exactly.
    method
        How it was computed.
    work_units
        Reference work units of this Bundle and input size.
    input_digest, input_size_bytes
        HMAC-SHA256 of the plain payload under the Offer's digest key, and its size.
    findings
        Plain.
    measured
        What it took.
    """

    bundle: str
    bundle_version: str
    bundle_sha256: str
    method: Method
    work_units: int
    input_digest: str
    input_size_bytes: int
    findings: bytes
    measured: Measured


@dataclass(frozen=True, slots=True)
class Finished:
    """What comes of an Attempt: plain findings and the Receipt that names them."""

    receipt: Receipt
    findings: bytes


@contextmanager
def coded(attempt_id: str) -> Iterator[None]:
    """Turn whatever a bundle may raise into `WorkFailed` with a code of `cluster.failures`.

    Raises
    ------
    WorkFailed
        Instead of it.
    LeaseLost
        As it is.
    """
    try:
        yield
    except (WorkFailed, LeaseLost):
        raise
    except MemoryError:
        raise WorkFailed("out-of-memory") from None
    except BitHiveError as error:
        failure = known(error.code, UNKNOWN_REFUSAL if isinstance(error, Refused) else "runner-fault")
        raise WorkFailed(failure) from error
    except Exception as error:
        get().error("attempt.crashed", attempt=attempt_id, exc_info=error)
        raise WorkFailed("runner-fault") from error


def perform(
    warm: Warm,
    assignment: Assignment,
    payload: bytes | bytearray | memoryview,
    key: SigningKey,
    clock: Clock,
    progress: Progress,
) -> Finished:
    """Do the work of an Attempt.

    Parameters
    ----------
    warm
        The bundle that it names, loaded.
    payload
        The plain container of a Volume or a VolumeSet.
    key
        The Node's own.
    progress
        Told a stage and the fraction of the whole; may raise `LeaseLost`, which ends the work.

    Raises
    ------
    WorkFailed
        With a code of `cluster.failures`.
    LeaseLost
        As `progress` raised it.
    """
    with coded(assignment.attempt_id):
        meter = Meter(clock)
        progress("loading", 0.0)
        if warm.bundle.sha256 != assignment.bundle_sha256 or key.public_hex not in assignment.nodes:
            raise WorkFailed("bundle-unknown")
        digest = payload_digest(assignment, payload)
        volume = volume_of(warm.bundle, assignment, payload)
        findings = warm.engine.run(volume, progress).to_bytes()
        produced = Produced(
            warm.bundle.name,
            warm.bundle.version,
            warm.bundle.sha256,
            method_of(warm.engine),
            assignment.work_units,
            digest,
            len(payload),
            findings,
            meter.read(on_gpu=warm.engine.device != "cpu"),
        )
        return Finished(receipt_of(assignment, produced, key), findings)


def payload_digest(assignment: Assignment, payload: bytes | bytearray | memoryview) -> str:
    """The payload's name. Raises `WorkFailed` `payload-unreadable` if it is not the one that was offered."""
    digest = keyed_digest(assignment.digest_key, payload)
    if digest != assignment.payload_digest:
        raise WorkFailed("payload-unreadable")
    return digest


def volume_of(
    bundle: BundleFacts, assignment: Assignment, payload: bytes | bytearray | memoryview
) -> Volume | VolumeSet:
    """What is in the payload, not copied.

    Raises
    ------
    WorkFailed
        `bad-volume`; `offer-inconsistent` when the Offer fixed other work units than it and the bundle come to.
    """
    try:
        volume = read_payload(payload)
    except BadVolume:
        raise WorkFailed("bad-volume") from None
    if (volume.voxels, bundle.reference_work_units(volume.voxels)) != (assignment.voxels, assignment.work_units):
        raise WorkFailed("offer-inconsistent")
    return volume


def method_of(engine: Engine) -> Method:
    """How a bundle that is loaded computes."""
    return Method(
        engine.engine,
        engine.engine_version,
        engine.precision,
        engine.device,
        engine.threads,
        engine.deterministic,
        engine.tf32,
        engine.bf16,
    )


def receipt_of(assignment: Assignment, produced: Produced, key: SigningKey) -> Receipt:
    """The signed record of what was produced.

    Parameters
    ----------
    key
        The Node's own.

    Raises
    ------
    WorkFailed
        `bundle-unknown`, if it is the key of no Node of the Assignment.
    """
    if key.public_hex not in assignment.nodes:
        raise WorkFailed("bundle-unknown")
    measured = produced.measured
    receipt = Receipt(
        attempt_id=assignment.attempt_id,
        offer_id=assignment.offer_id,
        fencing_token=assignment.fencing_token,
        cell=assignment.cell,
        node=assignment.nodes[key.public_hex],
        node_key=key.public_hex,
        bundle=produced.bundle,
        bundle_version=produced.bundle_version,
        bundle_sha256=produced.bundle_sha256,
        **produced.method._asdict(),
        input_digest=produced.input_digest,
        output_digest=keyed_digest(assignment.digest_key, produced.findings),
        input_size_bytes=produced.input_size_bytes,
        output_size_bytes=len(produced.findings),
        work_units=produced.work_units,
        started_ms=measured.started_ms,
        wall_ms=measured.wall_ms,
        cpu_ms=measured.cpu_ms,
        gpu_ms=measured.gpu_ms,
        peak_memory_bytes=measured.peak_memory_bytes,
        gpu=measured.gpu_name,
        gpu_memory_bytes=measured.gpu_memory_bytes,
        sealed_input_bytes=sealed_size_bytes(produced.input_size_bytes),
        sealed_output_bytes=sealed_size_bytes(len(produced.findings)),
        meter=measured.meter,
    )
    return receipt.sign(key)
