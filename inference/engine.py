"""The engine port: what runs a network on this node. Arrays go in and come out; no engine is imported until it is made.

A bundle lists the engines that may run it and the parity that each must show (`inference/calibration.py` shows it). An
engine has one name in bundles, settings and Receipts: `torch`, `onnxruntime`, `openvino`, and `openvino-bf16` where a
bundle accepts the lower precision.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bithive.errors import TwoRuntimes
from inference.errors import BundleRefused, EngineAbsent, EngineFault
from models.bundle import Bundle

Array = NDArray[np.float32]
Network = Callable[[Array], Array]
"""(batch, channel, x, y, z) to (batch, channel, x, y, z); the answer may be a view that holds until the next call."""

FORMATS = {".ts": "torchscript", ".pt": "torchscript", ".onnx": "onnx", ".safetensors": "safetensors"}

_GPU_NODES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A network on this machine.

    Attributes
    ----------
    path
        The verified file; its name says nothing (stores name by SHA-256).
    format
        `torchscript`, `onnx` or `safetensors`.
    definition
        For safetensors, the audited `network_def`: `_target_` is the bare name of a MONAI network class, the rest its
        arguments as plain values.
    """

    path: Path
    format: str
    definition: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, name: str, path: Path, definition: Mapping[str, Any] | None = None) -> NetworkFile:
        """A file by the name that the bundle gives it, whose suffix tells the format.

        Raises
        ------
        BundleRefused
            If the suffix is that of no format that nodes read.
        """
        known = FORMATS.get(Path(name).suffix)
        if known is None:
            raise BundleRefused("a network is neither TorchScript, ONNX nor safetensors")
        return cls(path, known, definition)


class Engine(Protocol):
    """Runs networks.

    Attributes
    ----------
    name, version, precision, device, threads, deterministic, tf32, bf16
        What a Receipt says about how it was computed. `tf32` and `bf16` say whether any product is computed with fewer
        bits than float32 has.
    """

    name: str
    version: str
    precision: str
    device: str
    threads: int
    deterministic: bool
    tf32: bool
    bf16: bool

    def network(self, file: NetworkFile, input_shape: Sequence[int]) -> Network:
        """Make a network ready to be called with float32 arrays of exactly that shape (batch, channel, x, y, z).

        Raises
        ------
        EngineFault
            If the file is no network, or this engine cannot run it; the network raises it too when a run fails or the
            array has another shape.
        """


class CheckedNetwork:
    """What every engine gives: the array's shape is checked, and a library's own failures become `EngineFault`.

    Parameters
    ----------
    run
        The engine's call.
    input_shape
        The one shape that it takes.
    failures
        What its library raises.
    """

    def __init__(self, run: Network, input_shape: Sequence[int], failures: tuple[type[Exception], ...]) -> None:
        self._run, self._shape = run, tuple(input_shape)
        self._failures: tuple[type[Exception], ...] = (*failures, MemoryError)

    def __call__(self, inputs: Array) -> Array:
        if inputs.shape != self._shape or inputs.dtype != np.float32:
            raise EngineFault("the network takes float32 of another shape", wanted=str(self._shape))
        try:
            answer = self._run(np.ascontiguousarray(inputs))
        except self._failures as error:
            raise EngineFault("the engine failed while it ran a network", exc_type=type(error).__name__) from error
        if answer.ndim != len(self._shape) or answer.dtype != np.float32:
            raise EngineFault("the network answers something else than one float32 array of its own axes")
        return answer


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a bundle on this node.

    Attributes
    ----------
    name
        As the bundle lists it.
    device
        `cpu`, `cuda`, or `tensorrt` (the same graphics processor through TensorRT).
    """

    name: str
    device: str


def threads_of(wanted: int) -> int:
    """How many threads to use: those wanted, or for 0 as many as this process may."""
    return wanted or len(os.sched_getaffinity(0))


def installed(library: str) -> bool:
    """Whether a library can be found, without importing it."""
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False


def gpu_present() -> bool:
    """Whether this node shows a graphics processor to programs; asking a library would cost its import."""
    return any(Path(node).exists() for node in _GPU_NODES)


def candidates(listed: Iterable[str], formats: Iterable[str]) -> list[Candidate]:
    """What of a bundle's list could run here: known, installed, able to read the formats, its device present.

    Parameters
    ----------
    listed
        Names of engines, in the bundle's order, which the answer keeps.
    formats
        Of all the networks.

    Raises
    ------
    TwoRuntimes
        If both builds of onnxruntime are installed.
    """
    kinds, found = set(formats), []
    for name in listed:
        kind = _KINDS.get(name)
        if kind is None or not installed(kind.library):
            continue
        if kinds <= kind.formats or (kind.converts and installed("torch")):
            found += [Candidate(name, device) for device in kind.devices()]
    return found


def make(candidate: Candidate, threads: int) -> Engine:
    """Import and start an engine.

    Raises
    ------
    EngineAbsent
        If its library cannot be imported after all.
    """
    try:
        return _KINDS[candidate.name].make(candidate.device, threads_of(threads))
    except ImportError as error:
        raise EngineAbsent("an engine's library cannot be imported", engine=candidate.name) from error


def choose(
    bundle: Bundle,
    files: Mapping[str, NetworkFile],
    wanted: str = "auto",
    threads: int = 0,
    calibration: Path | None = None,
) -> Engine:
    """The engine for a bundle on this node.

    Parameters
    ----------
    bundle
        Its metadata lists the engines, the parity that each must show, and the shapes of its networks.
    files
        Its networks by the names that it gives them.
    wanted
        `auto` takes the fastest measured here that shows its parity; an engine's name takes that one if it does.
    threads
        0 for all that this process may use.
    calibration
        Folder that keeps what was measured; None keeps it in this process.

    Raises
    ------
    BundleRefused
        If the bundle does not list the wanted engine, or its list cannot be understood.
    EngineAbsent
        If none (or not the wanted one) is installed here with the device that it needs.
    EngineUnfit
        If none shows the parity that the bundle asks for.
    EngineFault
        If a network cannot be run at all.
    """
    from inference.calibration import fastest

    listed: Mapping[str, Any] = bundle.extension["engines"]
    if wanted != "auto" and wanted not in listed:
        raise BundleRefused("the bundle does not list this engine", engine=wanted)
    return make(fastest(bundle, files, wanted, threads_of(threads), calibration), threads)


def check_one_runtime() -> None:
    """The two builds of onnxruntime overwrite each other's files. Raises `TwoRuntimes`."""
    if all(_distributed(name) for name in ("onnxruntime", "onnxruntime-gpu")):
        raise TwoRuntimes("onnxruntime and onnxruntime-gpu overwrite each other; uninstall both, then install one")


def _distributed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an engine is found and made; `converts`: what it cannot read itself it can take by way of PyTorch."""

    library: str
    formats: frozenset[str]
    converts: bool
    devices: Callable[[], Sequence[str]]
    make: Callable[[str, int], Engine]


def _torch_devices() -> Sequence[str]:
    if gpu_present():
        import torch

        if torch.cuda.is_available():
            return ("cuda", "cpu")
    return ("cpu",)


def _onnx_devices() -> Sequence[str]:
    check_one_runtime()
    if gpu_present():
        from inference.engine_onnx import devices

        return devices()
    return ("cpu",)


def _torch(device: str, threads: int) -> Engine:
    from inference.engine_torch import TorchEngine

    return TorchEngine(threads, device)


def _openvino(_device: str, threads: int) -> Engine:
    from inference.engine_openvino import OpenVinoEngine

    return OpenVinoEngine(threads)


def _openvino_bf16(_device: str, threads: int) -> Engine:
    from inference.engine_openvino import OpenVinoEngine

    return OpenVinoEngine(threads, "bf16")


def _onnx(device: str, threads: int) -> Engine:
    from inference.engine_onnx import OnnxEngine

    return OnnxEngine(threads, device)


def _processor() -> Sequence[str]:
    return ("cpu",)


_ONNX = frozenset({"onnx"})
_KINDS: dict[str, _Kind] = {
    "torch": _Kind("torch", frozenset({"torchscript", "safetensors"}), False, _torch_devices, _torch),
    "onnxruntime": _Kind("onnxruntime", _ONNX, True, _onnx_devices, _onnx),
    "openvino": _Kind("openvino", _ONNX, True, _processor, _openvino),
    "openvino-bf16": _Kind("openvino", _ONNX, True, _processor, _openvino_bf16),
}
