"""What the machine has, and what work takes."""

import gc
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bithive.clock import SystemClock
from cluster import measure
from cluster.measure import Meter, OutsideMeter, Watched


def test_time_and_memory_are_measured() -> None:
    meter = Meter(SystemClock())
    array = np.ones(64 * 1024 * 1024, np.uint8)
    threading.Event().wait(0.05)
    total = sum(int(array[:: 1 << 16].sum()) for _ in range(50))
    found = meter.read(on_gpu=False)
    assert total == 50 * 1024
    assert found.wall_ms >= 50
    assert found.gpu_ms == 0
    assert found.cpu_ms >= 0
    assert found.peak_memory_bytes >= array.nbytes
    assert meter.read(on_gpu=True).gpu_ms >= found.wall_ms


def test_the_peak_is_of_this_attempt_alone() -> None:
    array = np.ones(256 * 1024 * 1024, np.uint8)
    before = measure.peak_memory_bytes()
    del array
    gc.collect()
    Meter(SystemClock())
    assert measure.peak_memory_bytes() < before - 200 * 1024 * 1024


def test_nothing_takes_no_time_at_all() -> None:
    assert Meter(SystemClock()).read(on_gpu=False).wall_ms >= 1


def test_the_machine_is_described() -> None:
    assert measure.threads() >= 1
    assert measure.memory_bytes() > 1 << 28
    assert measure.gpus() >= 0


GIB = 1 << 30


@pytest.mark.parametrize(
    ("wanted", "slots", "machine", "expected"),
    [
        (0, 1, 8 * GIB, 8 * GIB - 3 * GIB // 2),
        (0, 2, 8 * GIB, (8 * GIB - 3 * GIB // 2) // 2),
        (0, 1, 64 * GIB, 64 * GIB - round(6.4 * GIB)),
        (0, 4, GIB, 0),
        (3 * GIB, 7, 8 * GIB, 3 * GIB),
        (9 * GIB, 1, 8 * GIB, 8 * GIB),
    ],
)
def test_what_a_slot_may_take(wanted: int, slots: int, machine: int, expected: int) -> None:
    assert measure.slot_memory_bytes(wanted, slots, machine) == expected


def control_group(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"memory.{name}").write_text(content)
    return folder


def test_a_control_group_is_a_smaller_machine(tmp_path: Path) -> None:
    stat = f"anon 5\ninactive_file {GIB // 4}\n"
    group = control_group(tmp_path, max=f"{GIB}\n", current=f"{GIB // 2}\n", stat=stat)
    assert measure.memory_bytes(group) == GIB
    assert measure.free_bytes(group) == 3 * GIB // 4


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"max": "max\n"},
        {"max": "nonsense"},
        {"max": str(1 << 62), "current": "?", "stat": ""},
        {"max": str(1 << 62)},
    ],
    ids=str,
)
def test_a_control_group_without_a_limit_is_the_machine(tmp_path: Path, files: dict[str, str]) -> None:
    group = control_group(tmp_path, **files)
    assert measure.memory_bytes(group) == psutil.virtual_memory().total
    assert measure.free_bytes(group) > 1 << 20
    assert measure.memory_bytes(tmp_path / "absent") == psutil.virtual_memory().total


def test_a_full_control_group_has_nothing_left(tmp_path: Path) -> None:
    group = control_group(tmp_path, max="1000", current="5000", stat="inactive_file 10")
    assert measure.free_bytes(group) == 0


def test_the_tightest_of_nested_groups_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "proc"
    own.mkdir()
    (own / "cgroup").write_text("1:name=systemd:/x\n0::/cells/one\n")
    monkeypatch.setattr(measure, "_PROC", own)
    root = tmp_path / "groups"
    (root / "cells" / "one").mkdir(parents=True)
    control_group(root / "cells" / "one", max=str(3 * GIB))
    control_group(root / "cells", max=str(2 * GIB))
    assert measure.memory_bytes(root) == min(2 * GIB, psutil.virtual_memory().total)
    control_group(root / "cells" / "one", max=str(GIB))
    assert measure.memory_bytes(root) == GIB


def test_memory_comes_back() -> None:
    array = np.ones(128 * 1024 * 1024, np.uint8)
    before = measure.resident_bytes()
    del array
    measure.give_back()
    assert measure.resident_bytes() < before - 100 * 1024 * 1024


@pytest.mark.gpu
def test_gpus_are_counted() -> None:
    if measure.gpus() == 0:
        pytest.skip("no GPU")
    assert measure.gpus() >= 1


WORK = """
import sys
held = bytearray(b"x" * (64 << 20))
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "threads":
        import threading
        held = [threading.Thread(target=lambda: sum(range(4_000_000))) for _ in range(2)]
        [thread.start() for thread in held], [thread.join() for thread in held]
    else:
        more = bytearray(b"x" * (128 << 20))
        del more
    print("done", flush=True)
"""


@pytest.fixture
def other() -> Generator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", WORK], **pipes) as process:
        process.stdout.readline()
        yield process
        process.kill()


def told(process: subprocess.Popen[str], word: str) -> None:
    process.stdin.write(word + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_another_process_is_measured_from_outside(other: subprocess.Popen[str]) -> None:
    watched = Watched(other.pid)
    meter = OutsideMeter(watched, SystemClock())
    told(other, "memory")
    first = meter.read(on_gpu=False)
    assert 190 << 20 <= first.peak_memory_bytes < 400 << 20
    meter = OutsideMeter(watched, SystemClock())
    told(other, "threads")
    second = meter.read(on_gpu=False)
    assert second.peak_memory_bytes < 150 << 20, "the peak is of this Attempt alone"
    assert 20 <= second.cpu_ms <= second.wall_ms * 2 + 20, "threads that have ended count"
    assert (second.gpu_ms, second.gpu_name) == (0, "")
    assert meter.read(on_gpu=True).gpu_ms >= second.wall_ms
    assert watched.held()[1] >= 1
    watched.close()


class Used:
    def read(self, wall_ms: int) -> tuple[str, int, int]:
        return ("NVIDIA A", wall_ms // 2, 7)


def test_a_graphics_processor_is_asked_only_when_it_was_used(other: subprocess.Popen[str]) -> None:
    watched = Watched(other.pid)
    meter = OutsideMeter(watched, SystemClock(), Used())
    told(other, "memory")
    measured = meter.read(on_gpu=True)
    assert (measured.gpu_name, measured.gpu_memory_bytes) == ("NVIDIA A", 7)
    assert measured.gpu_ms == measured.wall_ms // 2
    assert meter.read(on_gpu=False).gpu_name == ""
    watched.close()


def test_a_process_that_is_gone_is_not_measured(other: subprocess.Popen[str]) -> None:
    watched = Watched(other.pid)
    meter = OutsideMeter(watched, SystemClock())
    other.kill()
    other.wait()
    with pytest.raises(OSError):
        meter.read(on_gpu=False)
    watched.forget_peak()
    watched.close()
    with pytest.raises(OSError):
        Watched(other.pid)
