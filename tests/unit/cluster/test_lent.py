"""What a machine lends: its slots, and the file that its replicas read."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from bithive.keys import SigningKey
from cluster.errors import RunnerDied
from cluster.lent import VARIABLE, Lent, Shape, shape_of
from cluster.plan import Plan
from cluster.protocol_node import Accelerator, NodeGreeting
from cluster.register_proof import proven

GIB = 2**30


def lent(folder: Path) -> Lent:
    key_path = folder / "keys" / "node.key"
    key = SigningKey.load_or_create(key_path)
    plan = Plan("/store", ("k" * 64,), ("a" * 64,), ("b" * 64, "c" * 64), "auto", 2, 3, GIB, str(key_path), nice=5)
    greeting = NodeGreeting(key.public_hex, 4, GIB, 1, {}, 8 * GIB, "home", "DE", Accelerator("A10", 24 * GIB), slots=2)
    return Lent(greeting, shape_of(2, 1, 24 * GIB, 10_000), plan)


@pytest.mark.parametrize(
    ("slots", "gpus", "fraction_bp", "name", "hundredths"),
    [
        (1, 0, 10_000, "cpu", 0),
        (2, 1, 0, "cpu", 0),
        (1, 1, 10_000, "gpu100", 100),
        (2, 1, 10_000, "gpu50", 50),
        (3, 2, 10_000, "gpu50", 50),
        (4, 2, 5_000, "gpu25", 25),
        (1, 4, 10_000, "gpu100", 100),
        (200, 1, 10_000, "cpu", 0),
    ],
)
def test_a_slot_lies_on_one_graphics_processor(
    slots: int, gpus: int, fraction_bp: int, name: str, hundredths: int
) -> None:
    shape = shape_of(slots, gpus, 8 * GIB, fraction_bp)
    assert (shape.name, shape.gpu_hundredths, shape.slots) == (name, hundredths, slots)
    assert shape.gpus == (gpus if hundredths else 0)


def test_it_reads_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = lent(tmp_path)
    path = tmp_path / "lent.json"
    mine.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv(VARIABLE, str(path))
    assert Lent.here() == mine


def test_others_are_not_told_where_anything_lies(tmp_path: Path) -> None:
    mine = lent(tmp_path)
    assert str(tmp_path).encode() not in mine.told()
    assert Lent.read(mine.told()) == replace(mine, plan=None)


def test_its_node_proves_itself_to_one_cell_alone(tmp_path: Path) -> None:
    told = lent(tmp_path).proven("c" * 64).greeting
    assert proven(told.node_key, "c" * 64, told.proof)
    assert not proven(told.node_key, "d" * 64, told.proof)
    assert lent(tmp_path).proven("").greeting.proof == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"greeting": {}}', b'{"greeting": 1, "shape": {}}', b'"' + b"x" * 100_000 + b'"'],
)
def test_what_is_no_such_file_is_refused(content: bytes) -> None:
    with pytest.raises(RunnerDied):
        Lent.read(content)


def test_a_member_that_is_strange_or_lacking_is_refused(tmp_path: Path) -> None:
    whole = json.loads(lent(tmp_path).told())
    for changed in (
        {**whole, "shape": {"slots": 1, "more": 2}},
        {**whole, "plan": {"store": "x"}},
        {name: value for name, value in whole.items() if name != "shape"},
    ):
        with pytest.raises(RunnerDied):
            Lent.read(json.dumps(changed).encode())


def test_without_a_file_no_replica_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(RunnerDied):
        Lent.here()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(RunnerDied):
        Lent.here()


def test_a_shape_is_plain() -> None:
    assert Shape(2).name == "cpu"
