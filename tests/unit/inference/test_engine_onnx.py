import onnxruntime
import pytest

from bithive.errors import TwoRuntimes
from inference import engine, engine_onnx
from inference.engine import NetworkFile
from inference.engine_onnx import OnnxEngine
from inference.errors import EngineAbsent, EngineFault
from tests.common.networks import SHAPE, noise, written


@pytest.mark.parametrize("kind", ["torchscript", "safetensors", "onnx"])
@pytest.mark.parametrize("content", [b"", b"no network", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_network_is_a_fault(tmp_path, kind, content):
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(EngineFault):
        OnnxEngine(1).network(NetworkFile(path, kind, {"_target_": "UNet"}), SHAPE)


def test_a_truncated_network_is_a_fault(tmp_path):
    file = written(tmp_path, "onnx")
    content = file.path.read_bytes()
    for length in (len(content) // 3, len(content) - 40):
        file.path.write_bytes(content[:length])
        with pytest.raises(EngineFault):
            OnnxEngine(1).network(file, SHAPE)(noise())


def test_a_network_for_another_shape_is_a_fault(tmp_path):
    file = written(tmp_path, "onnx")
    with pytest.raises(EngineFault):
        OnnxEngine(1).network(file, (1, 1, 8, 8, 8))(noise(shape=(1, 1, 8, 8, 8)))


def built_with(monkeypatch, *providers):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))


def test_devices_are_those_of_the_installed_build(monkeypatch):
    assert engine_onnx.devices() == ("cpu",)
    built_with(monkeypatch, "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    assert engine_onnx.devices() == ("tensorrt", "cuda", "cpu")
    assert OnnxEngine(1).device == "tensorrt"
    built_with(monkeypatch, "CUDAExecutionProvider", "CPUExecutionProvider")
    assert OnnxEngine(1).device == "cuda"


def test_it_says_that_tensorrt_cannot_do_without_tf32(monkeypatch):
    built_with(monkeypatch, "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    found = {device: OnnxEngine(1, device) for device in ("tensorrt", "cuda", "cpu")}
    assert {device: runner.tf32 for device, runner in found.items()} == {"tensorrt": True, "cuda": False, "cpu": False}
    assert {device: runner.deterministic for device, runner in found.items()} == {
        "tensorrt": False,
        "cuda": True,
        "cpu": True,
    }


def test_a_device_that_the_build_does_not_know_is_absent():
    with pytest.raises(EngineAbsent):
        OnnxEngine(1, "cuda")


@pytest.mark.filterwarnings("ignore:Specified provider .* is not in available provider names")
def test_a_provider_that_falls_back_is_a_fault_and_never_taken_for_the_device(tmp_path, monkeypatch):
    file = written(tmp_path, "onnx")
    built_with(monkeypatch, "CUDAExecutionProvider", "CPUExecutionProvider")
    with pytest.raises(EngineFault):
        OnnxEngine(1, "cuda").network(file, SHAPE)


def test_both_builds_at_once_are_refused(monkeypatch):
    monkeypatch.setattr(engine, "_distributed", lambda _name: True)
    with pytest.raises(TwoRuntimes):
        OnnxEngine(1)
