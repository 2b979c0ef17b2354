import importlib.util
import os

import pytest
import torch

from inference.engine import choose, threads_of
from inference.engine_openvino import OpenVinoEngine
from inference.engine_torch import TorchEngine
from inference.errors import BundleRefused, EngineAbsent, EngineFault
from inference.torchscript import deprecation_accepted, load_script


@pytest.fixture
def script(tmp_path):
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv3d(1, 2, 3, padding=1)

        def forward(self, inputs):
            return torch.softmax(self.conv(inputs), dim=1)

    torch.manual_seed(0)
    path = tmp_path / "small.pt"
    with deprecation_accepted():
        torch.jit.trace(Small().eval(), torch.zeros(1, 1, 8, 8, 8)).save(str(path))
    return path


@pytest.mark.parametrize("make", [TorchEngine, OpenVinoEngine])
def test_each_engine_computes_the_same(script, make):
    engine = make(1)
    network = engine.network(script, (1, 1, 8, 8, 8))
    inputs = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = load_script(script, "cpu")(inputs)
    answer = network(inputs).clone()
    assert torch.allclose(answer.cpu(), expected, atol=1e-5)
    assert torch.equal(network(inputs), answer)
    assert (engine.precision, engine.threads, engine.deterministic) == ("f32", 1, True)
    assert engine.version


@pytest.mark.parametrize("make", [TorchEngine, OpenVinoEngine])
@pytest.mark.parametrize("content", [b"", b"no network", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_network_is_refused(tmp_path, make, content):
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(EngineFault):
        make(1).network(path, (1, 1, 8, 8, 8))


def test_a_pickle_is_no_network(tmp_path):
    path = tmp_path / "pickle.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(EngineFault):
        TorchEngine(1).network(path, (1, 1, 8, 8, 8))


def test_what_the_bundle_does_not_list_is_refused():
    with pytest.raises(BundleRefused):
        choose("openvino", ("torch",), 1)


def test_what_is_not_installed_is_absent():
    with pytest.raises(EngineAbsent):
        choose("auto", ("an_engine_that_nobody_wrote",), 1)


def test_auto_takes_the_first_listed_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for listed in (("openvino", "torch"), ("torch", "openvino")):
        assert choose("auto", listed, 1).name == listed[0]


def test_auto_goes_on_to_the_next_that_is_installed(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr("inference.engine.find_spec", lambda name: None if name == "openvino" else real(name))
    assert choose("auto", ("openvino", "torch"), 1).name == "torch"


def test_no_threads_means_all():
    assert threads_of(0) == len(os.sched_getaffinity(0))
    assert threads_of(3) == 3
