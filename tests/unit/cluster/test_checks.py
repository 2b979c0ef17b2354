"""Each lie has its code; nothing that does not hold is accepted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bithive.envelope import seal
from bithive.keys import SigningKey, keyed_digest
from cluster.attempt import AttemptState
from cluster.errors import LeaseLost, PayloadSizeDiffers, ReceiptRefused
from cluster.offers import OfferState
from cluster.protocol import Grant
from inference.findings import Classification, Findings, Mask
from tests.common.network import Made, Scene, scene

OTHER = SigningKey(b"\x09" * 32)


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def mask_of(shape: tuple[int, int, int]) -> bytes:
    return Findings((Mask("bright", np.ones(shape, np.bool_)),)).to_bytes()


LIES = {
    "other attempt": ("receipt-replayed", {"attempt_id": "att_01MCC5RM00Z8WTXDJ1YW00V1Z5"}),
    "other offer": ("receipt-replayed", {"offer_id": "off_01MCC5RM00Z8WTXDJ1YW00V1Z5"}),
    "other token": ("receipt-replayed", {"fencing_token": 2}),
    "other cell": ("receipt-replayed", {"cell": "cel_01MCC5RM00Z8WTXDJ1YW00V1Z9"}),
    "foreign key": ("foreign-signature", {"node_key": OTHER.public_hex, "key": OTHER}),
    "foreign signer": ("foreign-signature", {"key": OTHER}),
    "foreign node": ("foreign-signature", {"node": "nod_01MCC5RM00Z8WTXDJ1YW00V1Z9"}),
    "other bundle": ("bundle-differs", {"bundle": "cheaper"}),
    "other version": ("bundle-differs", {"bundle_version": "0.9.0"}),
    "other digest of the bundle": ("bundle-differs", {"bundle_sha256": "cd" * 32}),
    "other input": ("digest-differs", {"input_digest": "0" * 64}),
    "other input size": ("digest-differs", {"input_size_bytes": 1}),
    "other output": ("digest-differs", {"output_digest": "0" * 64}),
    "more units": ("work-units-differ", {"work_units": 10**6}),
    "longer than the Lease": ("wall-time-implausible", {"wall_ms": 60_000}),
    "no time at all": ("wall-time-implausible", {"wall_ms": 0}),
    "yesterday": ("wall-time-implausible", {"started_ms": 1_700_000_000_000}),
    "less memory than the payload": ("memory-implausible", {"peak_memory_bytes": 10}),
    "more memory than the node": ("memory-implausible", {"peak_memory_bytes": 1 << 40}),
    "more processors": ("measurement-implausible", {"cpu_ms": 100_000}),
    "more threads": ("measurement-implausible", {"threads": 64}),
    "no thread": ("measurement-implausible", {"threads": 0}),
    "a GPU that is not there": ("measurement-implausible", {"gpu_ms": 1}),
    "no findings": ("findings-unreadable", {"findings": b"nothing of the kind"}),
    "cut findings": ("findings-unreadable", {"findings": mask_of((6, 7, 8))[:-1]}),
    "findings of another image": ("geometry-differs", {"findings": mask_of((6, 7, 9))}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_by_its_code(stage: Scene, lie: str, tmp_path: Path) -> None:
    code, changes = LIES[lie]
    made = stage.offer()
    grant = stage.cell.lease()
    with pytest.raises(ReceiptRefused) as caught:
        stage.cell.finish(grant, made.payload, **changes)
    assert caught.value.code == code
    attempt = stage.broker.store.attempt(grant.attempt_id)
    assert attempt is not None
    assert (attempt.state, attempt.code) == (AttemptState.REFUSED, code)
    strikes = stage.broker.cells.strikes(stage.cell.cell)
    assert [(strike.code, strike.attempt_id) for strike in strikes] == [(code, grant.attempt_id)]
    assert len(list(tmp_path.iterdir())) == 1, "the payload, and nothing else"
    record = stage.broker.store.offer(made.offer.offer_id)
    assert record is not None
    assert record.state is OfferState.OPEN
    stage.clock.advance_s(10)
    stage.cell.finish(stage.cell.lease(), made.payload)
    assert stage.topics()[-1] == "attempt.accepted"


def test_different_shapes_of_the_right_size_are_refused(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    one, two = np.ones((6, 7, 8), np.bool_), np.ones((8, 7, 6), np.bool_)
    with pytest.raises(ReceiptRefused, match="geometry-differs"):
        stage.cell.finish(grant, made.payload, findings=Findings((Mask("a", one), Mask("b", two))).to_bytes())


def test_findings_of_frames_alone_are_taken(stage: Scene) -> None:
    made = stage.offer()
    frames = tuple(Classification("plane", frame, "femur", 0.9) for frame in range(6))
    stage.cell.finish(stage.cell.lease(), made.payload, findings=Findings(classes=frames).to_bytes())
    assert stage.topics()[-1] == "attempt.accepted"


def test_an_earlier_attempts_receipt_is_a_replay(stage: Scene) -> None:
    made = stage.offer()
    first = stage.cell.lease()
    findings = stage.cell.findings(first, made.payload)
    receipt = stage.cell.receipt(first, made.payload, findings)
    stage.clock.advance_s(15)
    stage.broker.expire()
    second = stage.cell.lease()
    with pytest.raises(ReceiptRefused, match="receipt-replayed"):
        stage.cell.post(second, receipt, findings)


def _other_key(grant: Grant, findings: bytes) -> bytes:
    return b"".join(seal(bytes(32), grant.fencing_token, findings))


def _other_token(grant: Grant, findings: bytes) -> bytes:
    return b"".join(seal(grant.keys.payload_key, grant.fencing_token + 1, findings))


def _flipped(grant: Grant, findings: bytes) -> bytes:
    sealed = bytearray(b"".join(seal(grant.keys.payload_key, grant.fencing_token, findings)))
    sealed[-1] ^= 1
    return bytes(sealed)


@pytest.mark.parametrize("how", [_other_key, _other_token, _flipped])
def test_what_does_not_open_is_refused(stage: Scene, how: Callable[[Grant, bytes], bytes]) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    findings = stage.cell.findings(grant, made.payload)
    receipt = stage.cell.receipt(grant, made.payload, findings)
    with pytest.raises(ReceiptRefused, match="findings-unreadable"):
        stage.cell.network.findings(grant, receipt, how(grant, findings))


def test_an_interrupted_post_changes_nothing(stage: Scene, tmp_path: Path) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    findings = stage.cell.findings(grant, made.payload)
    receipt = stage.cell.receipt(grant, made.payload, findings)
    sealed = b"".join(seal(grant.keys.payload_key, grant.fencing_token, findings))
    with pytest.raises(PayloadSizeDiffers):
        stage.cell.network.findings(grant, receipt, sealed[:-1])
    assert len(list(tmp_path.iterdir())) == 1
    stage.cell.network.findings(grant, receipt, sealed)
    assert stage.topics()[-1] == "attempt.accepted"


def test_a_refused_receipt_after_the_lease_is_lost(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    stage.clock.advance_s(15)
    with pytest.raises(LeaseLost):
        stage.cell.finish(grant, made.payload, work_units=10**6)
    assert [strike.code for strike in stage.broker.cells.strikes(stage.cell.cell)] == ["lease-lost"]


def test_a_signature_covers_everything(stage: Scene) -> None:
    made: Made = stage.offer()
    grant = stage.cell.lease()
    findings = stage.cell.findings(grant, made.payload)
    receipt = stage.cell.receipt(grant, made.payload, findings)
    with pytest.raises(ReceiptRefused, match="foreign-signature"):
        stage.cell.post(grant, replace(receipt, wall_ms=2), findings)


def test_the_output_digest_is_keyed(stage: Scene) -> None:
    made = stage.offer()
    grant = stage.cell.lease()
    findings = stage.cell.findings(grant, made.payload)
    with pytest.raises(ReceiptRefused, match="digest-differs"):
        stage.cell.finish(grant, made.payload, output_digest=keyed_digest(bytes(32), findings))
