"""Small real networks in every format that nodes read, with the same weights in each, and a bundle around one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from inference.engine import NetworkFile
from models.bundle import Bundle
from models.catalog import BUNDLES

SHAPE = (1, 1, 16, 16, 16)
DEFINITION = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}
ENGINES = {
    "openvino": {"precision": "f32", "parity": {"reference": "torch", "measure": "labels", "least": 0.999}},
    "onnxruntime": {"precision": "f32", "parity": {"reference": "torch", "measure": "dice", "least": 0.999}},
    "torch": {"precision": "f32"},
}


def small_network(seed: int = 0) -> Any:
    """A UNet of MONAI's with three channels and seeded weights."""
    import torch
    from monai.networks.nets import UNet

    torch.manual_seed(seed)
    return UNet(**{name: value for name, value in DEFINITION.items() if name != "_target_"}).eval()


def written(folder: Path, kind: str, seed: int = 0) -> NetworkFile:
    """The small network as a file.

    Parameters
    ----------
    folder
        Where it goes.
    kind
        `torchscript`, `onnx` or `safetensors`.
    seed
        Of the weights.
    """
    import torch
    from safetensors.torch import save_file

    from inference.convert_onnx import exported
    from inference.torchscript import tracing_accepted

    folder.mkdir(parents=True, exist_ok=True)
    network, path = small_network(seed), folder / f"network-{kind}-{seed}"
    if kind == "safetensors":
        save_file(network.state_dict(), path)
        return NetworkFile(path, kind, DEFINITION)
    if kind == "torchscript":
        with tracing_accepted():
            torch.jit.trace(network, torch.zeros(SHAPE)).save(str(path))
    else:
        path.write_bytes(exported(written(folder / "source", "torchscript", seed), SHAPE))
    return NetworkFile(path, kind)


def noise(seed: int = 1, shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What a network is given."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def small_bundle(folder: Path, engines: Any = None, **network: Any) -> Bundle:
    """A bundle that declares one network, `models/small`, and the engines that may run it."""
    configs = folder / "small" / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    metadata = json.loads((BUNDLES / "intracranial_t1" / "configs" / "metadata.json").read_text())
    metadata["bithive"]["engines"] = ENGINES if engines is None else engines
    metadata["bithive"]["networks"] = {"models/small": {"input_shape": list(SHAPE), **network}}
    (configs / "metadata.json").write_text(json.dumps(metadata))
    (configs / "inference.json").write_text("{}")
    return Bundle.load(folder / "small")
