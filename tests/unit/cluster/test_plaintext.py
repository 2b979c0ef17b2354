"""Plain images are written to no disk and stay in no file, whatever happens to who reads them; buffers are forgotten."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from bithive.keys import keyed_digest
from cluster.bundle_process import BundleProcess
from cluster.errors import RunnerDied
from cluster.plaintext import forget
from cluster.plan import Plan
from cluster.work import Assignment, Produced
from models.catalog import Catalog
from tests.common import hostile, searching
from tests.common.tree import ROOT

KEY = b"d" * 32
NAME = "composition_ct"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    store = tmp_path / "state" / "models"
    (store / "sha256").mkdir(parents=True)
    (store / "sha256" / "targets").write_text("{}")
    return tmp_path / "state"


@pytest.fixture
def process(state: Path) -> Generator[BundleProcess]:
    plan = Plan(str(state / "models"), (), (), (), "auto", 1, 2, 1 << 30, "")
    made = BundleProcess(plan, program=hostile.PROGRAM)
    made.start()
    yield made
    made.close()


def run(process: BundleProcess, state: Path, payload: bytes, tell: Callable[[str, float], None]) -> Produced:
    bundle = Catalog(state / "models").bundles()[NAME]
    units, digest = bundle.reference_work_units(336), keyed_digest(KEY, payload)
    told = Assignment("att_1", "off_1", 1, "cel_1", {}, bundle.sha256, digest, 336, units, 1 << 28, KEY)
    return process.run(told, payload, tell)


@pytest.fixture
def cores(tmp_path: Path) -> Generator[Path]:
    """Core dumps would be written to this folder, whoever dies, were they not forbidden."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    if not os.access(pattern, os.W_OK):
        pytest.skip("only root says where core dumps go")
    before, limit = pattern.read_text(), resource.getrlimit(resource.RLIMIT_CORE)
    folder = tmp_path / "cores"
    folder.mkdir(mode=0o777)
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    pattern.write_text(f"{folder}/core.%p")
    yield folder
    pattern.write_text(before)
    resource.setrlimit(resource.RLIMIT_CORE, limit)


def test_neither_payload_nor_findings_are_found_anywhere(process: BundleProcess, state: Path, tmp_path: Path) -> None:
    began_s = time.time() - 1
    image, mark = searching.marked(hostile.volume(hostile.MARK), 1)
    told = f"m{mark[:16].hex()}".encode()
    marks, seen = (mark, told), []

    def tell(_stage: str, fraction: float) -> None:
        if fraction == 0.1:
            seen.append(searching.holding(marks, searching.places(tmp_path, since_s=began_s)))

    produced = run(process, state, image.to_bytes(), tell)
    assert told in produced.findings
    assert seen == [[]], "nor while it works"
    process.close()
    assert searching.holding(marks, searching.places(tmp_path, since_s=began_s)) == []


def test_no_core_dump_holds_it(cores: Path, process: BundleProcess, state: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", "import os; os.abort()"], stderr=subprocess.DEVNULL)
    (dumped,) = cores.iterdir()
    dumped.unlink()  # so would it be, were it not forbidden
    image, mark = searching.marked(hostile.volume(hostile.SLOW), 2)

    def tell(_stage: str, fraction: float) -> None:
        if fraction == 0.1:
            os.kill(process.pid, signal.SIGSEGV)

    with pytest.raises(RunnerDied):
        run(process, state, image.to_bytes(), tell)
    assert list(cores.iterdir()) == []
    assert searching.holding([mark], searching.places(tmp_path, searching.MEMORY)) == []


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    _, mark = searching.marked(hostile.volume(0), 3)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 5000 + mark + b"x")
    (tmp_path / "empty").write_bytes(b"")
    assert searching.holding([mark], searching.places(tmp_path)) == [tmp_path / "deep" / "file"]


def test_a_forgotten_buffer_is_zeros_and_then_nothing() -> None:
    buffer = bytearray(b"DOE^JANE" * 1000)
    view = memoryview(buffer)
    forget(buffer)
    assert bytes(view) == bytes(8000), "whoever still looks sees nothing"
    view.release()
    forget(buffer)
    assert buffer == bytearray()
    forget(buffer)


LEAVES_NONE = """
import os, resource
from cluster.plaintext import no_core_dumps
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
no_core_dumps()
os.abort()
"""


def test_a_process_that_asked_for_it_leaves_no_core(cores: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", LEAVES_NONE], cwd=ROOT, stderr=subprocess.DEVNULL)
    assert ended.returncode == -signal.SIGABRT
    assert list(cores.iterdir()) == []
