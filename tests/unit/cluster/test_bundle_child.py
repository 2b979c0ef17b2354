"""What a bundle cannot do, whatever it is: each attack is tried for real inside a real bundle process."""

import json
import os
import re
from collections.abc import Generator
from errno import EACCES, ENOSYS, EPERM
from pathlib import Path

import pytest

from bithive.keys import SigningKey, keyed_digest
from cluster import bundle_child
from cluster.bundle_process import BundleProcess
from cluster.errors import RunnerDied, WorkFailed
from cluster.plan import Plan
from cluster.work import Assignment, Produced
from inference.findings import Findings
from models.catalog import Catalog
from tests.common import hostile

MEMORY = 256 << 20
KEY = b"d" * 32


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    state = tmp_path_factory.mktemp("state")
    key = state / "keys" / "node.key"
    SigningKey.load_or_create(key)
    store = state / "models"
    (store / "sha256").mkdir(parents=True)
    targets = {"parent": os.getpid(), "key": str(key), "folder": str(state), "store": str(store)}
    (store / "sha256" / "targets").write_text(json.dumps(targets))
    sha256 = Catalog(store).bundles()["composition_ct"].sha256
    return Plan(str(store), (), (sha256,), (), "auto", 1, 2, MEMORY, str(key))


@pytest.fixture(scope="module")
def bundles(plan: Plan) -> Generator[BundleProcess]:
    process = BundleProcess(plan, program=hostile.PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITHIVE_SECRET", "what the parent knows")
        patch.setenv("RAY_AUTH_TOKEN", "what the parent knows")
        process.start()
    yield process
    process.close()


def run(process: BundleProcess, plan: Plan, act: int) -> Produced:
    image = hostile.volume(act)
    payload = image.to_bytes()
    bundle = Catalog(Path(plan.store)).bundles()["composition_ct"]
    units = bundle.reference_work_units(image.voxels)
    digest = keyed_digest(KEY, payload)
    told = Assignment("att_1", "off_1", 1, "cel_1", {}, bundle.sha256, digest, image.voxels, units, MEMORY, KEY)
    return process.run(told, payload, lambda *_: None)


def values(produced: Produced) -> dict[str, int]:
    findings = Findings.from_bytes(produced.findings, (6, 7, 8))
    return {item.key: int(item.value) for item in findings.measurements}


def test_every_attack_is_stopped_by_the_kernel(bundles: BundleProcess, plan: Plan) -> None:
    found = values(run(bundles, plan, hostile.PROBE))
    counts = {name: found.pop(name) for name in ("environment", "files", "interfaces")}
    assert {name: error for name, error in found.items() if error not in (EPERM, EACCES, ENOSYS)} == {}
    assert len(found) >= 60
    assert counts["environment"] == 0, "it is told what is on the list"
    assert counts["files"] <= 12
    assert counts["interfaces"] <= 0, "its network has no interface but its own loopback, which is down"
    assert SigningKey.load_or_create(Path(plan.key_path)).public_hex, "the key is as it was"


def test_it_can_fill_nothing_but_its_own_scratch(bundles: BundleProcess, plan: Plan) -> None:
    free = os.statvfs("/dev/shm").f_bavail
    written = values(run(bundles, plan, hostile.FILL_DISK))["written"]
    assert written <= 64 << 20
    assert os.statvfs("/dev/shm").f_bavail >= free - (8 << 20) // os.statvfs("/dev/shm").f_frsize
    assert not Path("/dev/shm/fill").exists()


def test_what_takes_far_more_memory_than_it_may_is_ended(bundles: BundleProcess, plan: Plan) -> None:
    with pytest.raises(WorkFailed, match="out-of-memory"):
        run(bundles, plan, hostile.FILL_MEMORY)
    assert values(run(bundles, plan, hostile.HONEST)), "another one works"


def test_threads_without_end_are_ended(bundles: BundleProcess, plan: Plan) -> None:
    with pytest.raises(WorkFailed, match="out-of-memory"):
        run(bundles, plan, hostile.THREADS)
    assert not bundles.alive


@pytest.mark.parametrize("act", [hostile.CRASH, hostile.BABBLE, hostile.LIE, hostile.HOLD])
def test_what_dies_lies_or_keeps_its_hand_on_the_findings_is_ended(
    bundles: BundleProcess, plan: Plan, act: int
) -> None:
    with pytest.raises(RunnerDied):
        run(bundles, plan, act)
    assert not bundles.alive
    assert bundles.state().warm == ()


def test_what_it_raises_is_told_by_type_and_place_alone(
    bundles: BundleProcess, plan: Plan, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkFailed, match="runner-fault"):
        run(bundles, plan, hostile.RAISE)
    said = capfd.readouterr()
    assert "DOE" not in said.out + said.err
    assert re.search(r"hostile.py:\d+", said.out + said.err)
    assert bundles.alive


def test_it_reads_nothing_of_ours_but_code() -> None:
    assert {"bithive", "models", "inference", "cluster"} == set(bundle_child._PACKAGES)
