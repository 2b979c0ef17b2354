"""One Attempt on one Node: open the Volume, run the bundle, sign the Receipt. The same code in every runner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from bithive.clock import Clock
from bithive.errors import BitHiveError, Refused
from bithive.keys import SigningKey, keyed_digest
from bithive.log import get
from bithive.receipt import Receipt
from cluster.errors import LeaseLost, WorkFailed
from cluster.failures import UNKNOWN_REFUSAL, known
from cluster.measure import Meter
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

    def __repr__(self) -> str:
        return f"Assignment({self.attempt_id})"


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
        return _perform(warm, assignment, payload, key, clock, progress)


def _perform(
    warm: Warm,
    assignment: Assignment,
    payload: bytes | bytearray | memoryview,
    key: SigningKey,
    clock: Clock,
    progress: Progress,
) -> Finished:
    meter = Meter(clock)
    progress("loading", 0.0)
    if warm.bundle.sha256 != assignment.bundle_sha256 or key.public_hex not in assignment.nodes:
        raise WorkFailed("bundle-unknown")
    digest = keyed_digest(assignment.digest_key, payload)
    if digest != assignment.payload_digest:
        raise WorkFailed("payload-unreadable")
    volume = _volume(payload)
    work_units = warm.bundle.reference_work_units(volume.voxels)
    if (volume.voxels, work_units) != (assignment.voxels, assignment.work_units):
        raise WorkFailed("offer-inconsistent")
    findings = warm.engine.run(volume, progress).to_bytes()
    measured = meter.read(on_gpu=warm.engine.device != "cpu")
    receipt = Receipt(
        attempt_id=assignment.attempt_id,
        offer_id=assignment.offer_id,
        fencing_token=assignment.fencing_token,
        cell=assignment.cell,
        node=assignment.nodes[key.public_hex],
        node_key=key.public_hex,
        bundle=warm.bundle.name,
        bundle_version=warm.bundle.version,
        bundle_sha256=warm.bundle.sha256,
        engine=warm.engine.engine,
        engine_version=warm.engine.engine_version,
        precision=warm.engine.precision,
        device=warm.engine.device,
        threads=warm.engine.threads,
        deterministic=warm.engine.deterministic,
        tf32=warm.engine.tf32,
        bf16=warm.engine.bf16,
        input_digest=digest,
        output_digest=keyed_digest(assignment.digest_key, findings),
        input_size_bytes=len(payload),
        output_size_bytes=len(findings),
        work_units=work_units,
        started_ms=measured.started_ms,
        wall_ms=measured.wall_ms,
        cpu_ms=measured.cpu_ms,
        gpu_ms=measured.gpu_ms,
        peak_memory_bytes=measured.peak_memory_bytes,
    )
    return Finished(receipt.sign(key), findings)


def _volume(payload: bytes | bytearray | memoryview) -> Volume | VolumeSet:
    try:
        return read_payload(payload)
    except BadVolume:
        raise WorkFailed("bad-volume") from None
