"""Instances on their way to the disk: in pieces, large, refused, forgotten."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bithive import limits
from bithive.blobs import FileBlobs, MemoryBlobs
from clinic import batch as batches
from clinic.batch import Batch, is_full
from clinic.errors import TooManyInstances
from tests.common.dicom_factory import content_of, make_series

OURS = "ins_00000000000000000000000001"


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture(params=["memory", "files"])
def blobs(request, tmp_path):
    return MemoryBlobs() if request.param == "memory" else FileBlobs(tmp_path / "blobs")


def begun(blobs, executor, has_space=lambda: True):
    return Batch("bat_1", OURS, 7, blobs, executor, has_space)


def send(batch, content, size=1000):
    part = batch.part()
    for at in range(0, len(content), size):
        part.write(memoryview(content)[at : at + size])
    part.end()
    return part


@pytest.mark.parametrize("piece_bytes", [1, 500, 1 << 20])
def test_an_instance_is_the_same_in_pieces_of_any_size(blobs, executor, monkeypatch, piece_bytes):
    monkeypatch.setattr(batches, "PIECE_BYTES", piece_bytes)
    content = content_of(make_series((1, 64, 64))[0])
    batch = begun(blobs, executor)
    part = send(batch, content, 777)
    batch.settle()
    new = part.instance
    assert (new.sop_uid, new.size_bytes, new.batch, new.own) == ("1.2.3.100.1.1", len(content), "bat_1", False)
    assert content[new.pixel_offset :][: new.pixel_length] == make_series((1, 64, 64))[0].PixelData
    assert batch.backlog_bytes == 0
    (digest,) = blobs.commit([part.spool])
    assert digest == new.blob
    with blobs.open(digest) as file:
        assert file.read() == content


def test_one_bad_instance_harms_no_other(blobs, executor):
    good = content_of(make_series((1, 8, 6))[0])
    batch = begun(blobs, executor)
    for content in (good, b"text", good[:-50], b"", good):
        send(batch, content)
    batch.settle()
    outcomes = [part.outcome() for part in batch.parts]
    assert [outcome.code for outcome in outcomes] == ["", "not-dicom", "truncated-instance", "not-dicom", ""]
    assert [outcome.reason for outcome in outcomes] == [None, 0xC000, 0xC001, 0xC000, None]


def test_an_instance_at_the_limit_and_one_byte_past_it(blobs, executor, monkeypatch):
    content = content_of(make_series((1, 8, 6))[0])
    monkeypatch.setattr(limits, "INSTANCE_BYTES_MAX", len(content))
    batch = begun(blobs, executor)
    for item in (content, content + b"\x00"):
        send(batch, item)
    batch.settle()
    assert [part.code for part in batch.parts] == ["", "instance-too-large"]


def test_instances_at_the_limit_and_one_past_it(blobs, executor, monkeypatch):
    monkeypatch.setattr(limits, "REQUEST_INSTANCES_MAX", 2)
    batch = begun(blobs, executor)
    batch.part()
    batch.part()
    with pytest.raises(TooManyInstances):
        batch.part()
    batch.discard()


def test_the_reserve_is_not_touched(blobs, executor):
    batch = begun(blobs, executor, lambda: False)
    part = send(batch, content_of(make_series((1, 8, 6))[0]))
    batch.settle()
    assert part.outcome().reason == 0xA700


def test_a_forgotten_batch_leaves_no_file(tmp_path, executor):
    blobs = FileBlobs(tmp_path / "blobs")
    batch = begun(blobs, executor)
    send(batch, content_of(make_series((1, 8, 6))[0]))
    batch.part().write(bytes(3 << 20))
    batch.part()
    batch.discard()
    batch.discard()
    assert list((tmp_path / "blobs" / "spool").iterdir()) == []


def test_a_receiver_can_wait_for_the_disk(executor, monkeypatch):
    gate = threading.Event()

    class Slow(MemoryBlobs):
        def spool(self):
            gate.wait(10)
            return super().spool()

    batch = begun(Slow(), executor)
    part = batch.part()
    part.write(bytes(batches.PIECE_BYTES))
    part.write(bytes(batches.PIECE_BYTES))
    assert batch.backlog_bytes == 2 * batches.PIECE_BYTES
    threading.Timer(0.05, gate.set).start()
    batch.wait(1)
    assert batch.backlog_bytes == 0
    batch.discard()


def test_a_disk_that_fails_is_not_a_full_one(executor):
    class Failing(MemoryBlobs):
        def __init__(self, number):
            super().__init__()
            self.number = number

        def spool(self):
            raise OSError(self.number, "disk")

    for number, code in ((errno.ENOSPC, "no-space"), (errno.EDQUOT, "no-space"), (errno.EIO, "store-failed")):
        batch = begun(Failing(number), executor)
        part = send(batch, b"anything")
        batch.settle()
        assert part.code == code


def test_what_a_full_disk_says():
    assert is_full(OSError(errno.ENOSPC, "x"))
    assert is_full(RuntimeError("(sqlite3.OperationalError) database or disk is full"))
    assert not is_full(OSError(errno.EIO, "x"))
    assert not is_full(ValueError())
