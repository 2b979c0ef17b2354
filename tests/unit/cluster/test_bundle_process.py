"""A replica and its bundle process: what is produced, what is measured, and what happens when either lets go."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from bithive.clock import SystemClock
from bithive.keys import SigningKey, keyed_digest
from bithive.receipt import INSIDE, OUTSIDE
from cluster.bundle_process import BundleProcess
from cluster.bundle_start import Program
from cluster.errors import LeaseLost, RunnerDied, SandboxAbsent, WorkFailed
from cluster.plan import Plan
from cluster.work import Assignment, Warm, perform, receipt_of
from inference import run as inference_run
from models.catalog import Catalog
from tests.common import hostile
from tests.common.body_phantom import BODY, LUNGS, TRACHEA, phantom
from tests.common.tree import ROOT

MEMORY = 1 << 30
DIGEST_KEY = b"d" * 32
KEY = SigningKey(b"\x05" * 32)
NAME = "composition_ct"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "models"
    (folder / "sha256").mkdir(parents=True)
    (folder / "sha256" / "targets").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def plan(store: Path) -> Plan:
    bundles = Catalog(store).bundles()
    return Plan(str(store), (), (bundles[NAME].sha256,), (bundles["lungs_ct"].sha256,), "auto", 1, 2, MEMORY, "")


@pytest.fixture(scope="module")
def real(plan: Plan) -> Generator[BundleProcess]:
    process = BundleProcess(plan)
    process.start()
    yield process
    process.close()


@pytest.fixture(scope="module")
def slow(plan: Plan) -> Generator[BundleProcess]:
    """One that takes its time."""
    process = BundleProcess(plan, program=hostile.PROGRAM)
    yield process
    process.close()


def assigned(plan: Plan, payload: bytes, voxels: int, /, **changes: object) -> Assignment:
    bundle = Catalog(Path(plan.store)).bundles()[NAME]
    units, digest = bundle.reference_work_units(voxels), keyed_digest(DIGEST_KEY, payload)
    nodes = {KEY.public_hex: "nod_1"}
    whole = Assignment(
        "att_1", "off_1", 1, "cel_1", nodes, bundle.sha256, digest, voxels, units, MEMORY // 2, DIGEST_KEY
    )
    return replace(whole, **changes)


def silent(_stage: str, _fraction: float) -> None:
    pass


def trunk() -> bytes:
    return phantom((*BODY, *LUNGS, *TRACHEA)).volume.to_bytes()


TRUNK_VOXELS = 90 * 100 * 132


def test_it_gives_what_the_same_bundle_gives_here(real: BundleProcess, plan: Plan) -> None:
    payload = trunk()
    told: list[tuple[str, float]] = []
    produced = real.run(assigned(plan, payload, TRUNK_VOXELS), memoryview(payload), lambda *step: told.append(step))
    bundle = Catalog(Path(plan.store)).bundles()[NAME]
    here = perform(
        Warm(bundle, inference_run.load(bundle, {}, threads=1)),
        assigned(plan, payload, TRUNK_VOXELS),
        payload,
        KEY,
        SystemClock(),
        silent,
    )
    there = receipt_of(assigned(plan, payload, TRUNK_VOXELS), produced, KEY)
    there.check_signature()
    measured = dict.fromkeys(("started_ms", "wall_ms", "cpu_ms", "gpu_ms", "peak_memory_bytes"), 0)
    assert (there.meter, here.receipt.meter) == (OUTSIDE, INSIDE)
    assert replace(there, signature="", meter="", **measured) == replace(
        here.receipt, signature="", meter="", **measured
    )
    assert produced.findings == here.findings
    assert told[0] == ("loading", 0.0)
    assert told[-1] == ("measuring", 1.0)
    assert produced.measured.wall_ms >= 1
    assert produced.measured.peak_memory_bytes > len(payload)
    assert 0 <= produced.measured.cpu_ms <= produced.measured.wall_ms * 2 + 20


def test_what_is_loaded_is_known_and_more_is_kept_as_room_allows(real: BundleProcess, plan: Plan) -> None:
    state = real.state()
    assert plan.first[0] in state.warm
    assert state.unloadable == ()
    real.prepare()
    assert set(real.state().warm) == {*plan.first, *plan.later}
    assert real.keep(plan.first[0]) is True
    assert real.state().replica == state.replica


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"bundle_sha256": "cd" * 32}, "bundle-unknown"),
        ({"payload_digest": "00" * 32}, "payload-unreadable"),
        ({"voxels": 7}, "offer-inconsistent"),
        ({"work_units": 7}, "offer-inconsistent"),
        ({"memory_bytes": 1 << 50}, "out-of-memory"),
    ],
    ids=str,
)
def test_what_does_not_hold_fails_with_its_code_and_the_next_runs(
    real: BundleProcess, plan: Plan, changes: dict[str, object], failure: str
) -> None:
    payload = trunk()
    pid = real.pid
    with pytest.raises(WorkFailed, match=failure):
        real.run(assigned(plan, payload, TRUNK_VOXELS, **changes), payload, silent)
    assert real.run(assigned(plan, payload, TRUNK_VOXELS), payload, silent).findings
    assert real.pid == pid


@pytest.mark.parametrize("payload", [b"", b"BHVOLUM1", b"\x00" * 4096, hostile.volume(0).to_bytes()[:-1]], ids=len)
def test_a_payload_that_is_no_volume_is_refused_before_it_is_handed_over(
    real: BundleProcess, plan: Plan, payload: bytes
) -> None:
    with pytest.raises(WorkFailed, match="bad-volume"):
        real.run(assigned(plan, payload, 336), payload, silent)
    assert real.alive


def test_a_bundle_that_cannot_be_had_is_said_once(real: BundleProcess) -> None:
    real.state()
    assert real.keep("ef" * 32) is False
    assert real.state().unloadable == (("ef" * 32, "bundle-unknown"),)
    assert real.state().unloadable == ()


def ask(process: BundleProcess, plan: Plan, act: int, tell: object = silent) -> object:
    payload = hostile.volume(act).to_bytes()
    return process.run(assigned(plan, payload, 336), payload, tell)


def test_whoever_waits_is_asked_again_and_again(slow: BundleProcess, plan: Plan) -> None:
    told: list[str] = []
    ask(slow, plan, hostile.SLOW, lambda stage, _fraction: told.append(stage))
    assert told.count("preparing") >= 2


class Gone(Exception):
    pass


@pytest.mark.parametrize("error", [LeaseLost, Gone])
def test_a_lost_lease_stops_the_work_and_what_is_loaded_stays(
    slow: BundleProcess, plan: Plan, error: type[Exception]
) -> None:
    def tell(_stage: str, fraction: float) -> None:
        if fraction > 0.02:
            raise error

    ask(slow, plan, hostile.HONEST)
    pid, began = slow.pid, time.monotonic()
    with pytest.raises(error):
        ask(slow, plan, hostile.BUSY, tell)
    assert time.monotonic() - began < 4, "by a word, long before by force"
    assert slow.pid == pid
    assert slow.state().warm == plan.first
    ask(slow, plan, hostile.HONEST)


def test_what_does_not_hear_that_it_is_to_stop_is_ended(
    slow: BundleProcess, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.bundle_process._STOP_S", 0.3)
    told: list[str] = []

    def tell(stage: str, _fraction: float) -> None:
        told.append(stage)
        if told.count("preparing") == 2:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        ask(slow, plan, hostile.DEAF, tell)
    assert not slow.alive
    assert slow.pid == 0
    ask(slow, plan, hostile.HONEST)
    assert slow.alive


def test_a_killed_one_fails_its_attempt_and_another_takes_its_place(slow: BundleProcess, plan: Plan) -> None:
    def tell(_stage: str, fraction: float) -> None:
        if fraction == 0.1:
            os.kill(slow.pid, signal.SIGKILL)

    with pytest.raises(RunnerDied):
        ask(slow, plan, hostile.SLOW, tell)
    assert slow.state().warm == ()
    ask(slow, plan, hostile.HONEST)
    assert slow.state().warm == plan.first


def test_several_at_once_take_turns(slow: BundleProcess, plan: Plan) -> None:
    ended: list[object] = []
    threads = [threading.Thread(target=lambda: ended.append(ask(slow, plan, hostile.HONEST))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 4


def test_it_lets_go_of_every_file_that_it_opened(slow: BundleProcess, plan: Plan) -> None:
    ask(slow, plan, hostile.HONEST)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        ask(slow, plan, hostile.HONEST)
        with pytest.raises(WorkFailed):
            ask(slow, plan, hostile.RAISE)
    with pytest.raises(RunnerDied):
        ask(slow, plan, hostile.CRASH)
    ask(slow, plan, hostile.HONEST)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_one_that_does_not_confine_itself_is_refused(plan: Plan) -> None:
    process = BundleProcess(plan, program=Program("tests.common.unconfined"))
    with pytest.raises(SandboxAbsent):
        process.start()
    assert not process.alive


def test_one_that_cannot_even_begin_is_no_runner(plan: Plan) -> None:
    process = BundleProcess(plan, program=Program("tests.common.no_such_module"))
    with pytest.raises(RunnerDied):
        process.start()


DIES = """
import os, signal, sys, threading
from cluster.bundle_process import BundleProcess
from cluster.plan import Plan
process = BundleProcess(Plan(sys.argv[1], (), (), (), "auto", 1, 2, 1 << 30, ""))
starter = threading.Thread(target=process.start)
starter.start()
starter.join()
assert process.alive, "it outlives the thread that asked for it"
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_dies_with_whoever_started_it(plan: Plan) -> None:
    ended = subprocess.run([sys.executable, "-c", DIES, plan.store], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    pid, end_s = int(ended.stdout), time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end_s:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            break
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{pid}").exists()
