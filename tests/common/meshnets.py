"""Small MeshNets in TensorFlow.js's layers format, with seeded weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

INPUT = "input"


def parts_of(
    dilations: Sequence[int] = (1, 2, 4, 2, 1),
    channels: int = 3,
    classes: int = 4,
    activation: str = "relu",
    *,
    normalised: bool = False,
    shards: int = 1,
    seed: int = 0,
) -> dict[str, bytes]:
    """`model.json` and its shards, as TensorFlow.js writes them."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"name": INPUT, "batch_input_shape": [None, 16, 16, 16, 1]}}
    ]
    tensors: list[tuple[str, Any]] = []
    before, width = INPUT, 1
    for number, dilation in enumerate((*dilations, 1)):
        last = number == len(dilations)
        size, filters = (1, classes) if last else (3, channels)
        name = "output" if last else f"conv_{number}{'_gn' if normalised else ''}"
        bias = last or not normalised
        config = {
            "name": name,
            "filters": filters,
            "kernel_size": [size] * 3,
            "strides": [1, 1, 1],
            "dilation_rate": [dilation] * 3,
            "padding": "same",
            "data_format": "channels_last",
            "activation": "linear",
            "use_bias": bias,
        }
        rows.append({"class_name": "Conv3D", "config": config, "inbound_nodes": [[[before, 0, 0, {}]]]})
        spread = 1.5 / np.sqrt(size**3 * width)
        tensors.append((f"{name}/kernel", random.normal(0, spread, (size, size, size, width, filters))))
        if bias:
            tensors.append((f"{name}/bias", random.normal(0, 0.2, filters)))
        before, width = name, filters
        if not last:
            before = f"activation_{number}"
            given = [[[name, 0, 0, {}]]]
            rows.append(
                {
                    "class_name": "Activation",
                    "config": {"name": before, "activation": activation},
                    "inbound_nodes": given,
                }
            )
    content = b"".join(np.asarray(tensor, "<f4").tobytes() for _, tensor in tensors)
    cut = -(-len(content) // shards)
    pieces = {f"shard{number + 1}.bin": content[number * cut : (number + 1) * cut] for number in range(shards)}
    listed = [{"name": name, "shape": list(tensor.shape), "dtype": "float32"} for name, tensor in tensors]
    topology = {
        "format": "layers-model",
        "modelTopology": {"model_config": {"class_name": "Functional", "config": {"layers": rows}}},
        "weightsManifest": [{"paths": list(pieces), "weights": listed}],
    }
    return {"model.json": json.dumps(topology).encode(), **pieces}


def changed(parts: dict[str, bytes], change: Any) -> dict[str, bytes]:
    """The same with another topology: `change` is given the parsed `model.json`."""
    topology = json.loads(parts["model.json"])
    change(topology)
    return {**parts, "model.json": json.dumps(topology).encode()}
