"""PyTorch's networks as ONNX, exported once per machine and kept beside the weights.

The file's name holds what it was made from and the digest of what was made, so that a damaged one is never read: it is
exported again.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bithive.canonical import digest
from inference.engine import NetworkFile, installed
from inference.errors import EngineFault

OPSET = 17
_FOLDER = "onnx"
_FAILURES = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError, OSError, MemoryError)
_ACCEPTED = (
    (DeprecationWarning, r"You are using the legacy TorchScript-based ONNX export"),
    (DeprecationWarning, r"The feature will be removed\. Please remove usage of this function"),
    (UserWarning, r"no signature found for .*, skipping _decide_input_format"),
    (UserWarning, r"ONNX export mode is set to TrainingMode\.EVAL, but operator 'instance_norm'"),
    (UserWarning, r"Constant folding - Only steps=1 can be constant folded"),
)


def exported(file: NetworkFile, input_shape: Sequence[int]) -> bytes:
    """A network as an ONNX model for one input shape.

    Parameters
    ----------
    file
        TorchScript or safetensors; ONNX is given back as it is.
    input_shape
        (batch, channel, x, y, z).

    Returns
    -------
    bytes
        The model, read from beside the weights or exported now, which needs PyTorch.

    Raises
    ------
    EngineFault
        If the file cannot be read or exported, or PyTorch would be needed and is not here.
    """
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise EngineFault("the network cannot be read") from error
    if file.format == "onnx":
        return content
    folder = beside(file.path) / _FOLDER
    source = {
        "weights": hashlib.sha256(content).hexdigest(),
        "definition": repr(sorted((file.definition or {}).items())),
        "input_shape": list(input_shape),
        "exporter": _exporter(),
    }
    key = digest(source)
    kept = _kept(folder, key)
    if kept is None:
        kept = _export(file, input_shape)
        _keep(folder, key, kept)
    return kept


def beside(path: Path) -> Path:
    """Where to keep what is made from a file: the store of `<store>/sha256/xx/<sha256>`, else the file's own folder."""
    return path.parents[2] if path.parent.parent.name == "sha256" else path.parent


def _exporter() -> str:
    if not installed("torch"):
        raise EngineFault("only a node with PyTorch can export this network to ONNX")
    from importlib import metadata

    return f"torch {metadata.version('torch')} opset {OPSET}"


def _kept(folder: Path, key: str) -> bytes | None:
    for path in sorted(folder.glob(f"{key}-*.onnx")):
        with suppress(OSError):
            content = path.read_bytes()
            if path.stem == f"{key}-{hashlib.sha256(content).hexdigest()}":
                return content
    return None


def _keep(folder: Path, key: str, content: bytes) -> None:
    """Store it whole or not at all; where the store cannot be written to, the next process exports again."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        spool = folder / f".{secrets.token_hex(12)}"
        try:
            with spool.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            spool.rename(folder / f"{key}-{hashlib.sha256(content).hexdigest()}.onnx")
        finally:
            spool.unlink(missing_ok=True)


def _export(file: NetworkFile, input_shape: Sequence[int]) -> bytes:
    import torch

    from inference.torchscript import load_module

    module, target = load_module(file, "cpu"), io.BytesIO()
    try:
        with _warnings_accepted(), torch.inference_mode():
            torch.onnx.export(
                module,
                (torch.zeros(*input_shape),),
                target,
                dynamo=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
            )
    except (*_FAILURES, torch.onnx.errors.OnnxExporterError) as error:
        raise EngineFault("the network cannot be exported to ONNX", exc_type=type(error).__name__) from error
    return target.getvalue()


@contextmanager
def _warnings_accepted() -> Iterator[None]:
    """The exporter that reads TorchScript is deprecated and has no successor that does; its remarks are known."""
    from inference.torchscript import tracing_accepted

    with tracing_accepted():
        for category, message in _ACCEPTED:
            warnings.filterwarnings("ignore", message=message, category=category)
        yield
