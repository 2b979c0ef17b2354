import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bithive.blobs import BlobAbsent, FileBlobs, MemoryBlobs, read_verified
from bithive.errors import DigestMismatch


@pytest.fixture(params=["memory", "files"])
def blobs(request, tmp_path):
    return MemoryBlobs() if request.param == "memory" else FileBlobs(tmp_path / "blobs")


def store(blobs, *contents):
    spools = []
    for content in contents:
        spool = blobs.spool()
        spool.write(content)
        spools.append(spool)
    return blobs.commit(spools)


def test_named_by_their_sha256(blobs):
    digests = store(blobs, b"one", b"", b"two")
    assert digests == [hashlib.sha256(content).hexdigest() for content in (b"one", b"", b"two")]
    assert [read_verified(blobs, digest) for digest in digests] == [b"one", b"", b"two"]
    assert [blobs.size_bytes(digest) for digest in digests] == [3, 0, 3]


def test_chunks_of_any_kind_add_up(blobs):
    spool = blobs.spool()
    for chunk in (b"ab", bytearray(b"cd"), memoryview(b"ef")):
        spool.write(chunk)
    assert spool.size_bytes == 6
    assert spool.finish() == hashlib.sha256(b"abcdef").hexdigest()
    (digest,) = blobs.commit([spool])
    with blobs.open(digest) as file:
        file.seek(2)
        assert file.read(2) == b"cd"


def test_the_same_bytes_twice_are_one_blob(blobs):
    first, second = store(blobs, b"same", b"same")
    assert first == second == store(blobs, b"same")[0]
    assert read_verified(blobs, first) == b"same"


def test_nothing_is_readable_before_commit(blobs):
    spool = blobs.spool()
    spool.write(b"early")
    digest = spool.finish()
    with pytest.raises(BlobAbsent):
        blobs.open(digest)
    spool.discard()
    spool.discard()


def test_what_is_absent(blobs):
    absent = "0" * 64
    for ask in (blobs.open, blobs.size_bytes):
        with pytest.raises(BlobAbsent):
            ask(absent)
    blobs.delete(absent)


def test_deleted_is_gone(blobs):
    (digest,) = store(blobs, b"gone")
    blobs.delete(digest)
    with pytest.raises(BlobAbsent):
        blobs.open(digest)


def test_changed_bytes_are_noticed(tmp_path):
    blobs = FileBlobs(tmp_path)
    (digest,) = store(blobs, b"content")
    blobs.path(digest).write_bytes(b"CONTENT")
    with pytest.raises(DigestMismatch):
        read_verified(blobs, digest)


@pytest.mark.parametrize("digest", ["", "ab", "../" * 21 + "x", "/" * 64])
def test_a_name_that_is_a_path_is_our_bug(tmp_path, digest):
    with pytest.raises(AssertionError):
        FileBlobs(tmp_path).path(digest)


def test_a_discarded_spool_leaves_nothing(tmp_path):
    blobs = FileBlobs(tmp_path)
    spool = blobs.spool()
    spool.write(b"x")
    spool.discard()
    assert list((tmp_path / "spool").iterdir()) == []


def test_leftovers_of_a_process_that_died_are_removed(tmp_path):
    program = (
        "import os, pathlib, sys; from bithive.blobs import FileBlobs\n"
        "spool = FileBlobs(pathlib.Path(sys.argv[1])).spool(); spool.write(b'half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=Path(__file__).parents[3])
    assert len(list((tmp_path / "spool").iterdir())) == 1
    FileBlobs(tmp_path)
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_second_opener_leaves_the_first_ones_spool_alone(tmp_path):
    blobs = FileBlobs(tmp_path)
    spool = blobs.spool()
    spool.write(b"being received")
    FileBlobs(tmp_path)
    (digest,) = blobs.commit([spool])
    assert read_verified(blobs, digest) == b"being received"


def test_many_threads_store_the_same_bytes(tmp_path):
    blobs = FileBlobs(tmp_path)
    failures = []

    def work():
        try:
            for number in range(20):
                (digest,) = store(blobs, b"%d" % number)
                assert read_verified(blobs, digest) == b"%d" % number
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_each_file_is_synced_then_renamed_then_its_folder_synced(tmp_path, external):
    trace = tmp_path / "trace"
    program = (
        "import pathlib, sys; from bithive.blobs import FileBlobs\n"
        "blobs = FileBlobs(pathlib.Path(sys.argv[1])); spools = [blobs.spool() for _ in range(5)]\n"
        "for number, spool in enumerate(spools): spool.write(b'%d' % number)\n"
        "blobs.commit(spools); sys.stdout.write('acknowledged')"
    )
    subprocess.run(
        [
            external("strace"),
            "-f",
            "-y",
            "-qq",
            "-e",
            "trace=fsync,fdatasync,rename,write",
            "-o",
            str(trace),
            sys.executable,
            "-c",
            program,
            str(tmp_path / "blobs"),
        ],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[3],
    )
    lines = trace.read_text().splitlines()
    acknowledged = next(at for at, line in enumerate(lines) if "acknowledged" in line)
    renames = [(at, line.split('"')[1], line.split('"')[3]) for at, line in enumerate(lines) if "rename(" in line]
    assert len(renames) == 5
    for at, draft, place in renames:
        synced = [i for i, line in enumerate(lines) if "fsync(" in line and f"<{draft}>" in line]
        folder = [i for i, line in enumerate(lines) if "fsync(" in line and f"<{Path(place).parent}>" in line]
        assert synced, "a blob was not synced"
        assert synced[0] < at, "a blob was named before it was durable"
        assert any(at < i < acknowledged for i in folder), "a folder was not synced before success left"
