"""OpenVINO on the processor: several times faster than TorchScript, in float32; parity is declared by each bundle."""

from __future__ import annotations

from pathlib import Path

import openvino
import torch

from inference.errors import EngineFault
from inference.torchscript import deprecation_accepted, load_script


class OpenVinoEngine:
    """Compiles TorchScript for this processor.

    Parameters
    ----------
    threads
        Of the inference; the same number on the same kind of processor gives the same bits. PyTorch keeps to one
        thread: its pool spins after each use and would take the processor from this one.
    """

    name = "openvino"
    precision = "f32"
    device = "cpu"
    deterministic = True

    def __init__(self, threads: int) -> None:
        self.version = openvino.__version__.split("-")[0]
        self.threads = threads
        self._core = openvino.Core()
        torch.set_num_threads(1)

    def network(self, path: Path, input_shape: tuple[int, ...]) -> OpenVinoNetwork:
        try:
            with deprecation_accepted():
                model = openvino.convert_model(load_script(path, "cpu"), example_input=torch.zeros(input_shape))
            model.reshape(list(input_shape))
            hints = {
                "INFERENCE_PRECISION_HINT": "f32",
                "EXECUTION_MODE_HINT": "ACCURACY",
                "INFERENCE_NUM_THREADS": self.threads,
                "NUM_STREAMS": 1,
            }
            return OpenVinoNetwork(self._core.compile_model(model, "CPU", hints))
        except (RuntimeError, ValueError) as error:
            raise EngineFault("the network cannot be compiled") from error


class OpenVinoNetwork:
    """A compiled model; its answer is a view that holds until the next call."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        answers = self._request.infer([inputs.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(answers[0])
