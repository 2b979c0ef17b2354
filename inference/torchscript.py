"""Reads networks into PyTorch: TorchScript, and safetensors with an audited definition. Never a pickle."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from inference.engine import NetworkFile
from inference.errors import EngineFault
from models.targets import NETWORKS


def load_module(file: NetworkFile, device: str) -> Any:
    """A network as a PyTorch module on a device, ready to infer.

    Raises
    ------
    EngineFault
        If the file does not hold what its format says, the definition names no allowed class or does not fit the
        weights, or the format is none of PyTorch's.
    """
    if file.format not in ("torchscript", "safetensors"):
        raise EngineFault("PyTorch does not read this format", format=file.format)
    try:
        return load_script(file.path, device) if file.format == "torchscript" else _load_tensors(file, device)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, MemoryError) as error:
        raise EngineFault("the network cannot be loaded", exc_type=type(error).__name__) from error


def load_script(path: Path, device: str) -> Any:
    """A frozen TorchScript module on a device.

    Raises
    ------
    RuntimeError, ValueError
        If the file is no TorchScript.
    """
    with deprecation_accepted():
        return torch.jit.freeze(torch.jit.load(str(path), map_location=device).eval())


@contextmanager
def deprecation_accepted() -> Iterator[None]:
    """PyTorch calls TorchScript deprecated; the published weights are TorchScript all the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated.*", category=DeprecationWarning)
        yield


@contextmanager
def tracing_accepted() -> Iterator[None]:
    """Tracing for one fixed shape: what it warns of (values become constants) is what is wanted."""
    with deprecation_accepted():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield


def _load_tensors(file: NetworkFile, device: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    module = _defined(file.definition)
    try:
        tensors = load_file(file.path, device="cpu")
    except SafetensorError as error:
        raise EngineFault("the file is no safetensors") from error
    module.load_state_dict(tensors, strict=True)
    return module.eval().requires_grad_(False).to(device)


def _defined(definition: Mapping[str, Any] | None) -> Any:
    """The module that an audited definition names, with weights that nobody trained."""
    name = (definition or {}).get("_target_")
    if definition is None or name not in {*NETWORKS, "RetinaNet"}:
        raise EngineFault("safetensors come without the definition of an allowed network")
    if name == "RetinaNet":
        from inference.retinanet import retina_net

        return retina_net(definition)
    from monai.networks import blocks, nets

    home = nets if hasattr(nets, name) else blocks
    return getattr(home, name)(**{key: value for key, value in definition.items() if not key.startswith("_")})
