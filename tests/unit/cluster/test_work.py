"""One Attempt on one Node: what the Receipt says, and which code a failure gets."""

from dataclasses import replace

import pytest

from bithive.clock import SystemClock
from bithive.errors import BitHiveError, Refused, leaves
from bithive.keys import SigningKey, keyed_digest
from cluster.errors import LeaseLost, WorkFailed
from cluster.failures import FAILURES, Fate
from cluster.work import Assignment, Finished, Warm, coded, perform
from inference import errors as inference_errors
from inference.errors import BundleRefused, EngineFault
from models import errors as models_errors
from models.errors import WeightsDiffer
from tests.common.network import SHA256, Threshold, ThresholdEngine, volume

KEY = SigningKey(b"\x03" * 32)
PAYLOAD = volume().to_bytes()
ASSIGNMENT = Assignment(
    attempt_id="att_1",
    offer_id="off_1",
    fencing_token=1,
    cell="cel_1",
    nodes={KEY.public_hex: "nod_1"},
    bundle_sha256=SHA256,
    payload_digest=keyed_digest(b"d" * 32, PAYLOAD),
    voxels=6 * 7 * 8,
    work_units=Threshold().reference_work_units(6 * 7 * 8),
    memory_bytes=1 << 30,
    digest_key=b"d" * 32,
)


def run(engine: ThresholdEngine, assignment: Assignment = ASSIGNMENT) -> Finished:
    return perform(Warm(Threshold(), engine), assignment, PAYLOAD, KEY, SystemClock(), lambda *_: None)


@pytest.mark.parametrize(("tf32", "bf16"), [(False, False), (True, False), (False, True)])
def test_the_receipt_says_how_it_was_computed(tf32: bool, bf16: bool) -> None:
    receipt = run(ThresholdEngine(tf32=tf32, bf16=bf16)).receipt
    receipt.check_signature()
    assert receipt.method == ("numpy", "2", "f64", "cpu", 1, True, tf32, bf16)


def test_another_bundle_or_node_than_was_asked_for_is_none() -> None:
    for wrong in (replace(ASSIGNMENT, bundle_sha256="cd" * 32), replace(ASSIGNMENT, nodes={})):
        with pytest.raises(WorkFailed, match="bundle-unknown"):
            run(ThresholdEngine(), wrong)


class Unheard(Refused):
    code, title = "unheard-of-here", "A refusal of tomorrow"


@pytest.mark.parametrize(
    ("raised", "failure"),
    [
        (WorkFailed("bundle-unknown"), "bundle-unknown"),
        (MemoryError(), "out-of-memory"),
        (WeightsDiffer(), "weights-differ"),
        (BundleRefused(), "bundle-refused"),
        (EngineFault(), "engine-fault"),
        (Unheard(), "refused"),
        (BitHiveError(), "runner-fault"),
        (OSError("DOE^JANE"), "runner-fault"),
    ],
    ids=repr,
)
def test_whatever_goes_wrong_has_a_code(raised: Exception, failure: str) -> None:
    with pytest.raises(WorkFailed) as caught, coded("att_1"):
        raise raised
    assert caught.value.failure == failure
    assert failure in FAILURES


def test_a_lost_lease_is_no_failure() -> None:
    with pytest.raises(LeaseLost), coded("att_1"):
        raise LeaseLost


# What loading cannot raise: these end a pull or a reading of findings, long before or after.
NOT_OF_A_NODE = {
    "bad-findings",
    "bundle-absent",
    "bad-bundle",
    "download-failed",
    "download-too-large",
    "bundle-exists",
}


def test_what_a_bundle_may_say_is_told_by_its_own_code() -> None:
    ours = {inference_errors.__name__, models_errors.__name__}
    said = {leaf.code: leaf for leaf in leaves() if leaf.__module__ in ours}
    refusals = {code for code, leaf in said.items() if issubclass(leaf, Refused) and code in FAILURES}
    assert {"bundle-refused", "target-refused", "expression-refused", "transform-unsupported"} <= refusals
    assert all(FAILURES[code] is Fate.FINAL for code in refusals), "any cell would say the same"
    assert not NOT_OF_A_NODE & FAILURES.keys()
