import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inference.engine import NetworkFile
from inference.errors import EngineFault
from inference.torchscript import load_module
from tests.common.networks import DEFINITION, SHAPE, noise, small_network, written


def test_safetensors_fill_the_network_of_the_definition(tmp_path):
    module = load_module(written(tmp_path, "safetensors"), "cpu")
    assert not module.training
    with torch.inference_mode():
        expected = small_network()(torch.from_numpy(noise()))
        assert torch.equal(module(torch.from_numpy(noise())), expected)


@pytest.mark.parametrize(
    "definition",
    [
        None,
        {},
        {"_target_": "os.system", "command": "true"},
        {"_target_": "torch.load", "f": "x"},
        {"_target_": "SwinUNETRMadeUp"},
        {**DEFINITION, "channels": [4, 16]},
        {**DEFINITION, "out_channels": 2},
        {**DEFINITION, "colour": "red"},
        {"_target_": "UNet"},
    ],
)
def test_a_definition_that_does_not_fit_is_a_fault(tmp_path, definition):
    file = written(tmp_path, "safetensors")
    with pytest.raises(EngineFault):
        load_module(NetworkFile(file.path, "safetensors", definition), "cpu")


@pytest.mark.parametrize("change", ["missing", "further"])
def test_weights_are_taken_strictly(tmp_path, change):
    state = small_network().state_dict()
    if change == "missing":
        state.pop(next(iter(state)))
    else:
        state["further"] = torch.zeros(3)
    save_file(state, tmp_path / "network")
    with pytest.raises(EngineFault):
        load_module(NetworkFile(tmp_path / "network", "safetensors", DEFINITION), "cpu")


@pytest.mark.parametrize("kind", ["torchscript", "safetensors"])
def test_damaged_files_are_faults(tmp_path, kind):
    file = written(tmp_path, kind)
    content = file.path.read_bytes()
    for damaged in (b"", b"no network", content[: len(content) // 2], b"\xff" * 64 + content[64:]):
        file.path.write_bytes(damaged)
        with pytest.raises(EngineFault):
            load_module(file, "cpu")
    file.path.unlink()
    with pytest.raises(EngineFault):
        load_module(file, "cpu")


def test_a_pickle_is_no_network(tmp_path):
    path = tmp_path / "pickle.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    for kind in ("torchscript", "safetensors"):
        with pytest.raises(EngineFault):
            load_module(NetworkFile(path, kind, DEFINITION), "cpu")


def test_onnx_is_not_for_pytorch(tmp_path):
    with pytest.raises(EngineFault):
        load_module(written(tmp_path, "onnx"), "cpu")


def test_torchscript_is_run_as_it_was_saved(tmp_path):
    module = load_module(written(tmp_path, "torchscript"), "cpu")
    with torch.inference_mode():
        answer = module(torch.zeros(SHAPE))
    assert np.allclose(answer, small_network()(torch.zeros(SHAPE)).detach(), atol=1e-6)
