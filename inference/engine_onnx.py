"""onnxruntime: on the processor, on CUDA, or on CUDA through TensorRT. Runs ONNX on nodes without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from inference.convert_onnx import beside, exported
from inference.engine import Array, CheckedNetwork, Network, NetworkFile, check_one_runtime
from inference.errors import EngineAbsent, EngineFault

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_STATES = (
    *("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "ModelLoaded", "NoModel"),
    *("NoSuchFile", "NotFound", "NotImplemented", "RuntimeException"),
)
_FAILURES: tuple[type[Exception], ...] = (
    *(getattr(state, name) for name in _STATES if hasattr(state, name)),
    *(RuntimeError, ValueError, TypeError, OSError),
)
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
_TENSORRT_OPTIONS = {"trt_fp16_enable": "0", "trt_int8_enable": "0", "trt_engine_cache_enable": "1"}
_PROVIDERS: Mapping[str, Sequence[tuple[str, Mapping[str, str]]]] = {
    "cpu": ((_CPU, {}),),
    "cuda": ((_CUDA, _CUDA_OPTIONS), (_CPU, {})),
    "tensorrt": ((_TENSORRT, _TENSORRT_OPTIONS), (_CUDA, _CUDA_OPTIONS), (_CPU, {})),
}
"""By device, in order: what a provider cannot run falls to the next."""


def devices() -> tuple[str, ...]:
    """What the installed build of onnxruntime can use, the fastest first; a device may still turn out to be absent."""
    built = set(onnxruntime.get_available_providers())
    return tuple(device for device in ("tensorrt", "cuda", "cpu") if _PROVIDERS[device][0][0] in built)


class OnnxEngine:
    """Runs ONNX; what PyTorch saved is exported once (`inference/convert_onnx.py`).

    Parameters
    ----------
    threads
        Of a run on the processor; the same number gives the same bits.
    device
        `cpu`, `cuda` or `tensorrt`; None for the first of `devices`. TensorRT builds its kernels at load and offers no
        way to turn TF32 off, so it says `tf32`; parity decides whether a bundle may use it.

    Raises
    ------
    TwoRuntimes
        If both builds of onnxruntime are installed.
    EngineAbsent
        If the installed build has no provider for the device.
    """

    name = "onnxruntime"
    precision = "f32"
    bf16 = False

    def __init__(self, threads: int, device: str | None = None) -> None:
        check_one_runtime()
        known = devices()
        if device is not None and device not in known:
            raise EngineAbsent("this build of onnxruntime does not know the device", device=device)
        self.device = device or known[0]
        self.version = str(onnxruntime.__version__)
        self.threads = threads
        self.tf32 = self.device == "tensorrt"
        self.deterministic = self.device != "tensorrt"

    def network(self, file: NetworkFile, input_shape: Sequence[int]) -> Network:
        model = exported(file, input_shape)
        try:
            session = onnxruntime.InferenceSession(model, self._options(), providers=self._providers(file.path))
        except _FAILURES as error:
            raise EngineFault("the network cannot be loaded", exc_type=type(error).__name__) from error
        if session.get_providers()[0] != _PROVIDERS[self.device][0][0]:
            raise EngineFault("the device is not there", device=self.device)
        if len(session.get_inputs()) != 1 or len(session.get_outputs()) != 1:
            raise EngineFault("the network takes or gives more than one array")
        return CheckedNetwork(_Session(session), input_shape, _FAILURES)

    def _providers(self, path: Path) -> list[tuple[str, dict[str, str]]]:
        """With TensorRT's kernels, which take minutes to build, kept beside the weights."""
        kept = {"trt_engine_cache_path": str(beside(path) / "tensorrt")}
        rows = _PROVIDERS[self.device]
        return [(name, {**options, **(kept if name == _TENSORRT else {})}) for name, options in rows]

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options


class _Session:
    """A session with its one input and output."""

    def __init__(self, session: Any) -> None:
        self._session, self._name = session, session.get_inputs()[0].name

    def __call__(self, inputs: Array) -> Array:
        answer: Array = self._session.run(None, {self._name: inputs})[0]
        return answer
