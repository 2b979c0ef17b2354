"""OpenVINO on the processor: several times faster than TorchScript in float32.

ONNX is read directly, on nodes without PyTorch too; what PyTorch saved is converted in memory by way of PyTorch.

The converter would tell its makers about each conversion, from a process that it forks while a thread of ours may be
inside a mathematical library: nothing leaves a node that was not asked for, and a fork there can hang for good. Where
the module that does it cannot be imported, the converter goes without.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402 - it looks for the module when it is imported

from inference.engine import Array, CheckedNetwork, Network, NetworkFile  # noqa: E402
from inference.errors import EngineFault  # noqa: E402

_FAILURES = (RuntimeError, ValueError, TypeError, OSError)


class OpenVinoEngine:
    """Compiles networks for this processor.

    Parameters
    ----------
    threads
        Of the inference; the same number on the same kind of processor gives the same bits. PyTorch, where it is
        loaded, keeps to one thread: its pool spins after each use and would take the processor from this one.
    precision
        `f32`, or `bf16` for bundles that list `openvino-bf16`. Never left to OpenVINO, which would take bf16 wherever
        the processor has it.
    """

    device = "cpu"
    deterministic = True
    tf32 = False

    def __init__(self, threads: int, precision: str = "f32") -> None:
        self.name = "openvino" if precision == "f32" else f"openvino-{precision}"
        self.version = openvino.__version__.split("-")[0]
        self.threads = threads
        self.precision = precision
        self.bf16 = precision == "bf16"
        self._core = openvino.Core()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)

    def network(self, file: NetworkFile, input_shape: Sequence[int]) -> Network:
        try:
            model = self._model(file, input_shape)
            if len(model.inputs) != 1 or len(model.outputs) != 1:
                raise EngineFault("the network takes or gives more than one array")
            model.reshape(list(input_shape))
            run = _Compiled(self._core.compile_model(model, "CPU", self._hints()))
        except _FAILURES as error:
            raise EngineFault("the network cannot be compiled", exc_type=type(error).__name__) from error
        return CheckedNetwork(run, input_shape, _FAILURES)

    def _model(self, file: NetworkFile, input_shape: Sequence[int]) -> Any:
        if file.format == "onnx":
            return self._core.read_model(file.path.read_bytes())
        import torch

        from inference.torchscript import load_module, tracing_accepted

        torch.set_num_threads(1)
        with tracing_accepted(), torch.inference_mode():
            return openvino.convert_model(load_module(file, "cpu"), example_input=torch.zeros(*input_shape))

    def _hints(self) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": self.precision,
            "EXECUTION_MODE_HINT": "PERFORMANCE" if self.bf16 else "ACCURACY",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
        }


class _Compiled:
    """A compiled model; its answer is a view that holds until the next call."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Array) -> Array:
        answer = self._request.infer([inputs], share_inputs=True, share_outputs=True)[0]
        return np.asarray(answer, np.float32)
