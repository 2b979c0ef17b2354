import os

import pytest

from inference import convert_onnx
from inference.convert_onnx import exported
from inference.engine import NetworkFile
from inference.errors import EngineFault
from tests.common.networks import SHAPE, written


@pytest.fixture
def file(tmp_path):
    return written(tmp_path, "torchscript")


def kept(file):
    return sorted((file.path.parent / "onnx").glob("*"))


def test_onnx_is_given_as_it_is(tmp_path):
    file = written(tmp_path, "onnx")
    assert exported(file, SHAPE) == file.path.read_bytes()
    assert kept(file) == []


def test_it_exports_once(file, monkeypatch):
    model = exported(file, SHAPE)
    assert len(kept(file)) == 1

    def never(*_given):
        raise AssertionError

    monkeypatch.setattr(convert_onnx, "_export", never)
    assert exported(file, SHAPE) == model


def test_another_shape_definition_or_network_is_another_export(tmp_path, file):
    exported(file, SHAPE)
    exported(file, (1, 1, 32, 16, 16))
    assert len(kept(file)) == 2
    other = written(tmp_path, "torchscript", seed=1)
    exported(other, SHAPE)
    assert len(kept(file)) == 3


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-10], lambda _content: b"", lambda content: content + b"x"]
)
def test_a_damaged_export_is_made_again(file, damage):
    model = exported(file, SHAPE)
    (path,) = kept(file)
    path.write_bytes(damage(model))
    assert exported(file, SHAPE) == model
    assert path.read_bytes() == model


def test_in_a_store_it_lies_beside_the_weights(tmp_path, file):
    place = tmp_path / "store" / "sha256" / "ab" / ("ab" * 32)
    place.parent.mkdir(parents=True)
    place.write_bytes(file.path.read_bytes())
    exported(NetworkFile(place, "torchscript"), SHAPE)
    assert [path.suffix for path in (tmp_path / "store" / "onnx").iterdir()] == [".onnx"]


def test_where_nothing_can_be_written_it_exports_all_the_same(file):
    (file.path.parent / "onnx").write_text("in the way")
    assert exported(file, SHAPE)


def test_without_pytorch_there_is_a_reason(file, monkeypatch):
    monkeypatch.setattr(convert_onnx, "installed", lambda _library: False)
    with pytest.raises(EngineFault, match="PyTorch"):
        exported(file, SHAPE)


def test_an_absent_file_is_a_fault(tmp_path):
    with pytest.raises(EngineFault):
        exported(NetworkFile(tmp_path / "absent", "torchscript"), SHAPE)


def test_what_does_not_run_on_the_shape_is_a_fault_and_nothing_is_kept(file):
    with pytest.raises(EngineFault):
        exported(file, (1, 2, 16, 16, 16))
    assert kept(file) == []


def test_two_processes_at_once_leave_one_whole_file(tmp_path, file):
    pids = []
    model = convert_onnx._export(file, SHAPE)
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            convert_onnx._keep(tmp_path / "onnx", "ab", model)
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    assert [path.read_bytes() for path in (tmp_path / "onnx").iterdir()] == [model]
