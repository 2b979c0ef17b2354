"""PyTorch: the reference engine. Takes the node's CUDA device when it has one."""

from __future__ import annotations

from pathlib import Path

import torch

from inference.errors import EngineFault
from inference.torchscript import load_script


class TorchEngine:
    """Runs TorchScript as it was saved, in float32.

    Parameters
    ----------
    threads
        Of this process; on a processor the same number gives the same bits.
    """

    name = "torch"
    precision = "f32"
    deterministic = True

    def __init__(self, threads: int) -> None:
        self.version = str(torch.__version__)
        self.threads = threads
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False

    def network(self, path: Path, input_shape: tuple[int, ...]) -> TorchNetwork:
        try:
            return TorchNetwork(load_script(path, self.device), self.device, input_shape)
        except (RuntimeError, ValueError) as error:
            raise EngineFault("the network cannot be loaded") from error


class TorchNetwork:
    """A TorchScript module on its device."""

    def __init__(self, module: torch.jit.ScriptModule, device: str, input_shape: tuple[int, ...]) -> None:
        self._module, self._device, self._shape = module, device, input_shape

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        assert tuple(inputs.shape) == self._shape, "a bundle declares the shape of its networks' inputs"
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            answer: torch.Tensor = self._module(inputs.to(self._device))
        return answer
