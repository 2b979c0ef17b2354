import hashlib
import io
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.bundle import PinnedFile, WheelSource
from models.errors import WeightsDiffer
from models.store import WeightStore

CONTENT = b"weights" * 100_000
ROOT = Path(__file__).resolve().parents[3]


def pinned(content=CONTENT):
    source = WheelSource("none", "1", "0" * 64, 1, "none")
    return PinnedFile("models/x.pt", hashlib.sha256(content).hexdigest(), len(content), source)


def put(store, content=CONTENT):
    with store.locked():
        return store.put(pinned(), io.BytesIO(content))


def test_what_is_put_is_found(tmp_path):
    store = WeightStore(tmp_path / "store")
    assert store.find(pinned()) is None
    path = put(store)
    assert store.find(pinned()) == path
    assert path.read_bytes() == CONTENT
    assert not list((tmp_path / "store" / "spool").iterdir())
    assert put(store) == path


@pytest.mark.parametrize("wrong", [CONTENT[:-1], CONTENT + b"x", b"", b"x" * len(CONTENT), CONTENT * 50])
def test_other_bytes_are_not_kept(tmp_path, wrong):
    store = WeightStore(tmp_path / "store")
    with pytest.raises(WeightsDiffer):
        put(store, wrong)
    assert store.find(pinned()) is None
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.name != "lock"] == []


def test_a_changed_file_is_noticed_and_mended(tmp_path):
    store = WeightStore(tmp_path / "store")
    path = put(store)
    path.write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(WeightsDiffer):
        store.find(pinned())
    put(store)
    assert store.find(pinned()) == path


def test_one_writer_at_a_time(tmp_path):
    store, events = WeightStore(tmp_path / "store"), []
    with store.locked():
        other = threading.Thread(target=lambda: (put(WeightStore(tmp_path / "store")), events.append("put")))
        other.start()
        other.join(0.2)
        assert events == []
    other.join(10)
    assert events == ["put"]


def test_what_a_killed_process_leaves_is_never_seen(tmp_path):
    program = (
        "import sys, os, signal, hashlib, io, pathlib\n"
        "from models.store import WeightStore\n"
        "from tests.unit.models.test_store import pinned, CONTENT\n"
        "class Dying(io.BytesIO):\n"
        "    def read(self, size=-1):\n"
        "        chunk = super().read(100_000)\n"
        "        return chunk if self.tell() < 300_000 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "store = WeightStore(pathlib.Path(sys.argv[1]))\n"
        "with store.locked(): store.put(pinned(), Dying(CONTENT))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "store")], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    store = WeightStore(tmp_path / "store")
    assert store.find(pinned()) is None
    assert list((tmp_path / "store" / "spool").iterdir())
    (tmp_path / "store" / "spool" / "wheel-left").mkdir()
    put(store)
    assert store.find(pinned()) is not None
    assert not list((tmp_path / "store" / "spool").iterdir())


def test_a_read_only_store_can_be_read(tmp_path):
    put(WeightStore(tmp_path / "store"))
    mode = (tmp_path / "store").stat().st_mode
    (tmp_path / "store").chmod(0o555)
    try:
        assert WeightStore(tmp_path / "store").find(pinned()) is not None
    finally:
        (tmp_path / "store").chmod(mode)
