import torch

from inference.engine_torch import TorchEngine
from tests.common.networks import SHAPE, noise, written


def test_between_runs_pytorch_keeps_to_one_thread(tmp_path):
    network = TorchEngine(2).network(written(tmp_path, "torchscript"), SHAPE)
    assert torch.get_num_threads() == 1
    network(noise())
    assert torch.get_num_threads() == 1


def test_the_faster_and_coarser_products_are_off():
    TorchEngine(1)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark


def test_a_device_can_be_asked_for():
    assert TorchEngine(1, "cpu").device == "cpu"
    assert TorchEngine(1).device == ("cuda" if torch.cuda.is_available() else "cpu")
