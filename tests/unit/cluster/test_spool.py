"""Files arrive whole or not at all."""

from pathlib import Path

import pytest

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from cluster.errors import PayloadSizeDiffers
from cluster.spool import Spool, findings_name, payload_name


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def test_what_was_written_is_there(spool: Spool, tmp_path: Path) -> None:
    pieces = [bytes([number % 256]) * number for number in range(1500)]
    content = b"".join(pieces)
    incoming = spool.receive(len(content))
    incoming.write(pieces[:700])
    incoming.write([])
    incoming.write([memoryview(b"".join(pieces[700:]))])
    assert b"".join(incoming.chunks()) == content
    incoming.finish("name", durable=True)
    incoming.discard()
    assert spool.path("name").read_bytes() == content
    assert spool.size_bytes("name") == len(content)
    assert (spool.path("name").stat().st_mode & 0o077) == 0
    spool.delete("name")
    spool.delete("name")
    assert spool.size_bytes("name") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size_bytes", [0, 9, 11])
def test_another_size_is_refused_and_leaves_nothing(spool: Spool, tmp_path: Path, size_bytes: int) -> None:
    incoming = spool.receive(10)
    with pytest.raises(PayloadSizeDiffers):
        incoming.write([bytes(size_bytes)])
        incoming.finish("name", durable=False)
    incoming.discard()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_empty_too(spool: Spool) -> None:
    spool.receive(0).finish("name", durable=False)
    assert spool.size_bytes("name") == 0


def test_partial_files_do_not_outlive_the_process(spool: Spool, tmp_path: Path) -> None:
    spool.receive(10).write([b"abc"])
    assert len(list(tmp_path.iterdir())) == 1
    Spool(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sweeping_spares_what_is_wanted_and_what_is_arriving(spool: Spool, tmp_path: Path) -> None:
    for name in ("a", "b"):
        spool.receive(0).finish(name, durable=False)
    arriving = spool.receive(3)
    assert spool.sweep(lambda name: name == "a") == 1
    assert len(list(tmp_path.iterdir())) == 2
    arriving.write([b"abc"])
    arriving.finish("c", durable=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


def test_names_are_made_of_ids_alone(spool: Spool) -> None:
    ids = SeededIds(1, ManualClock())
    assert payload_name(ids.new("off")).endswith(".payload")
    assert findings_name(ids.new("att"), "0" * 64).endswith(".findings")
    for name in (lambda: payload_name("../x"), lambda: findings_name("x", "0" * 64), lambda: spool.path("../x")):
        with pytest.raises(AssertionError):
            name()


def test_of_two_that_finish_under_one_name_one_is_there_whole(spool: Spool, tmp_path: Path) -> None:
    one, two = spool.receive(3), spool.receive(3)
    one.write([b"one"])
    two.write([b"two"])
    one.finish("name", durable=True)
    two.finish("name", durable=True)
    assert spool.path("name").read_bytes() == b"two"
    assert len(list(tmp_path.iterdir())) == 1
