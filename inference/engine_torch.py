"""PyTorch: the reference engine of most bundles, on the processor or on a CUDA device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from inference.engine import Array, CheckedNetwork, Network, NetworkFile
from inference.torchscript import load_module


class TorchEngine:
    """Runs TorchScript and MONAI's network classes as they were saved, in float32.

    Parameters
    ----------
    threads
        Of a network's run; on a processor the same number gives the same bits. Outside the run PyTorch keeps to one
        thread, whatever else is loaded in this process.
    device
        `cpu`, `cuda`, or None for CUDA where the node has it.
    """

    name = "torch"
    precision = "f32"
    deterministic = True
    tf32 = False
    bf16 = False

    def __init__(self, threads: int, device: str | None = None) -> None:
        self.version = str(torch.__version__)
        self.threads = threads
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(1)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False

    def network(self, file: NetworkFile, input_shape: Sequence[int]) -> Network:
        run = _Module(load_module(file, self.device), self.device, self.threads)
        return CheckedNetwork(run, input_shape, (RuntimeError, ValueError, TypeError, AttributeError))


class _Module:
    """A module on its device: inputs are moved there, answers back."""

    def __init__(self, module: Any, device: str, threads: int) -> None:
        self._module, self._device, self._threads = module, device, threads

    def __call__(self, inputs: Array) -> Array:
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode(), torch.jit.optimized_execution(False):
                answer = self._module(torch.from_numpy(inputs).to(self._device))
                array: Array = _laid_out(answer).float().cpu().numpy()
        finally:
            torch.set_num_threads(1)
        return array


def _laid_out(answer: Any) -> Any:
    """One tensor as it is; several (a detector's, by level) end to end, axes (batch, value, 1, 1, 1)."""
    if isinstance(answer, torch.Tensor):
        return answer
    listed = [item for part in answer.values() for item in part] if isinstance(answer, dict) else list(answer)
    flat = torch.cat([item.flatten(1) for item in listed], dim=1)
    return flat[..., None, None, None]
