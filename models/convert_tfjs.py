"""TensorFlow.js layers models of MeshNet into ONNX, byte for byte the same everywhere.

A layers model is a `model.json` (topology and a list of tensors) with binary shards: the tensors one after the other,
float32, little-endian. MeshNet is a chain of convolutions over three axes with growing, then falling dilation. What is
read is such a chain and nothing else; kernels [D, H, W, in, out] become ONNX's [out, in, D, H, W]. Networks whose kernels are
named `..._gn` were trained with a normalisation of each channel over the whole image, without parameters, before each
activation: `model.json` does not mention it (its exporter writes it into the names only), and without it the network
answers nonsense.

Three files can be made of one model:

`onnx_of`   the whole network: zeros around the image, logits of each voxel;
`body_of`   everything up to the last convolution whose dilation is even, of every second voxel along each axis, without
            zeros around;
`head_of`   the convolutions after it, without zeros around.

Dilations between the first convolution and the last ones are all even, so that voxels of even and of odd index never
meet: eight runs of the body, each shifted by a voxel along some axes, compute exactly what the whole network computes
and hold an eighth of it at a time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bithive.limits import MIB
from models.errors import ConversionFailed

Float = npt.NDArray[np.float32]
Parts = Mapping[str, bytes]

OPSET = 20
IR_VERSION = 9
EPSILON = 1e-5
"""Of the normalisation: PyTorch's default, as brainchop 0.2.5 has it."""

_TOPOLOGY = "model.json"
_TOPOLOGY_BYTES_MAX = 4 * MIB
_SHARD_BYTES_MAX = 256 * MIB
_LAYERS_MAX = 256
_CHANNELS_MAX = 1024
_DILATION_MAX = 64
_NORMALISED = "_gn"
_ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "relu": ("Relu", {}),
    "elu": ("Elu", {"alpha": 1.0}),
    "gelu": ("Gelu", {"approximate": "tanh"}),
}
"""By TensorFlow's name; the approximation by tanh is what brainchop 0.2.5 computes."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A convolution and what follows it.

    Attributes
    ----------
    kernel
        (out, in, size, size, size); size 1 or 3.
    bias
        (out,), or None.
    dilation
        Alike along the three axes.
    normalised
        Whether each channel is standardised over the whole image before the activation.
    activation
        A key of the table of activations, or empty after the last layer.
    """

    kernel: Float
    bias: Float | None
    dilation: int
    normalised: bool
    activation: str

    @property
    def reach(self) -> int:
        """How many voxels to each side an output depends on."""
        return self.dilation * int(self.kernel.shape[2] // 2)


def onnx_of(parts: Parts) -> bytes:
    """The whole network.

    Parameters
    ----------
    parts
        Contents of `model.json` and of the shards that it names, by file name.

    Returns
    -------
    bytes
        ONNX, opset 20: `image` (1, 1, x, y, z) to `logits` (1, classes, x, y, z) of any size, zeros around each layer.

    Raises
    ------
    ConversionFailed
        If the parts are not a MeshNet as described above.
    """
    return _model(layers(parts), strided=False, padded=True)


def body_of(parts: Parts) -> bytes:
    """The part for every second voxel: (1, 1, 2 x + 2 r - 1, ...) to features (1, channels, x, y, z), `r` its `reach`.

    Raises
    ------
    ConversionFailed
        As `onnx_of`; and if the network normalises over the image, or cannot be split so.
    """
    return _model(split(layers(parts))[0], strided=True, padded=False)


def head_of(parts: Parts) -> bytes:
    """The rest: features (1, channels, x + 2 r, ...) to logits (1, classes, x, y, z). Raises as `body_of`."""
    return _model(split(layers(parts))[1], strided=False, padded=False)


def reach(chain: Sequence[Layer]) -> int:
    """How many voxels to each side an output of a chain depends on."""
    return sum(layer.reach for layer in chain)


def split(chain: Sequence[Layer]) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Body and head. Raises `ConversionFailed` where there is no body whose dilations are even."""
    even = [index for index, layer in enumerate(chain) if layer.reach and layer.dilation % 2 == 0]
    if not even or any(layer.normalised for layer in chain):
        raise ConversionFailed("the network cannot be run on every second voxel")
    end = even[-1] + 1
    body, head = tuple(chain[:end]), tuple(chain[end:])
    if body[0].reach != 1 or any(layer.reach % 2 for layer in body[1:]) or not head:
        raise ConversionFailed("the network cannot be run on every second voxel")
    return body, head


def layers(parts: Parts) -> tuple[Layer, ...]:
    """Read the chain. Raises `ConversionFailed`."""
    try:
        topology = json.loads(_part(parts, _TOPOLOGY, _TOPOLOGY_BYTES_MAX))
        rows = topology["modelTopology"]["model_config"]["config"]["layers"]
        tensors = _tensors(topology["weightsManifest"], parts)
        return _chain(rows, tensors)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        raise ConversionFailed("the model is no chain of convolutions in TensorFlow.js's layers format") from None


def _part(parts: Parts, name: str, size_bytes_max: int) -> bytes:
    if name not in parts or not 0 < len(parts[name]) <= size_bytes_max:
        raise ConversionFailed("a part of the model is missing, or too large", part=name[:100])
    return parts[name]


def _tensors(manifest: Any, parts: Parts) -> dict[str, Float]:
    """Every tensor by name; each group's shards are one after the other and filled to the last byte."""
    found: dict[str, Float] = {}
    for group in manifest:
        content = b"".join(_part(parts, str(path), _SHARD_BYTES_MAX) for path in group["paths"])
        offset = 0
        for row in group["weights"]:
            shape = [int(size) for size in row["shape"]]
            if row["dtype"] != "float32" or "quantization" in row or min(shape) < 1 or row["name"] in found:
                raise ConversionFailed("a tensor of the model is not plain float32, or comes twice")
            count = math.prod(shape)
            found[str(row["name"])] = np.frombuffer(content, "<f4", count, offset).reshape(shape)
            offset += 4 * count
        if offset != len(content):
            raise ConversionFailed("the shards are longer than their tensors")
    if not all(np.isfinite(tensor).all() for tensor in found.values()):
        raise ConversionFailed("a tensor of the model is not finite")
    return found


def _chain(rows: Sequence[Any], tensors: dict[str, Float]) -> tuple[Layer, ...]:
    """The layers in order: each must take what the one before it gives."""
    first, *others = rows
    if first["class_name"] != "InputLayer" or not 0 < len(others) <= _LAYERS_MAX:
        raise ConversionFailed("the model has no input, or too many layers")
    before, channels = str(first["config"]["name"]), int(first["config"]["batch_input_shape"][-1])
    chain: list[Layer] = []
    for row in others:
        config, given = row["config"], row["inbound_nodes"]
        if len(given) != 1 or len(given[0]) != 1 or given[0][0][0] != before:
            raise ConversionFailed("a layer takes something else than the layer before it gives")
        before = str(config["name"])
        if row["class_name"] == "Conv3D":
            chain.append(_convolution(config, tensors, channels))
            channels = chain[-1].kernel.shape[0]
        elif row["class_name"] == "Activation" and chain and not chain[-1].activation:
            chain[-1] = _activated(chain[-1], str(config["activation"]))
        else:
            raise ConversionFailed("the model has a layer of another kind", kind=str(row["class_name"])[:40])
    if tensors:
        raise ConversionFailed("the model has tensors that no layer takes")
    if not chain or chain[-1].activation or not all(layer.activation for layer in chain[:-1]):
        raise ConversionFailed("each convolution but the last must have an activation")
    return tuple(chain)


def _convolution(config: Mapping[str, Any], tensors: dict[str, Float], channels: int) -> Layer:
    name, filters = str(config["name"]), int(config["filters"])
    size, dilation = int(config["kernel_size"][0]), int(config["dilation_rate"][0])
    plain = (
        config["kernel_size"] == [size] * 3
        and config["dilation_rate"] == [dilation] * 3
        and config["strides"] == [1, 1, 1]
        and config["padding"] == "same"
        and config["data_format"] == "channels_last"
        and config.get("groups", 1) == 1
        and config.get("activation", "linear") == "linear"
    )
    if not plain or size not in (1, 3) or not 1 <= dilation <= _DILATION_MAX or not 1 <= filters <= _CHANNELS_MAX:
        raise ConversionFailed("a convolution of the model is of a kind that MeshNet has not")
    kernel = tensors.pop(f"{name}/kernel")
    bias = tensors.pop(f"{name}/bias") if config["use_bias"] else None
    if kernel.shape != (size, size, size, channels, filters) or (bias is not None and bias.shape != (filters,)):
        raise ConversionFailed("a tensor has another shape than its layer")
    turned = np.ascontiguousarray(kernel.transpose(4, 3, 0, 1, 2), np.float32)
    return Layer(turned, bias, dilation, name.endswith(_NORMALISED), "")


def _activated(layer: Layer, activation: str) -> Layer:
    if activation not in _ACTIVATIONS:
        raise ConversionFailed("the model has an activation of another kind", kind=activation[:40])
    return Layer(layer.kernel, layer.bias, layer.dilation, layer.normalised, activation)


def _model(chain: Sequence[Layer], *, strided: bool, padded: bool) -> bytes:
    """The file. Only what decides the numbers is written: no time, no path, no version of a library."""
    from onnx import TensorProto, helper

    nodes: list[Any] = []
    tensors: list[Any] = []
    value = "image"
    for number, layer in enumerate(chain):
        last = number + 1 == len(chain)
        value = _nodes(layer, number, value, "logits" if last else "", (strided, padded), nodes, tensors)
    channels = (chain[0].kernel.shape[1], chain[-1].kernel.shape[0])
    names = (("x", "y", "z"), ("x", "y", "z") if padded else ("x_out", "y_out", "z_out"))
    given, answered = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, *axes])
        for name, count, axes in zip(("image", "logits"), channels, names, strict=True)
    )
    graph = helper.make_graph(nodes, "meshnet", [given], [answered], tensors)
    model = helper.make_model(graph, producer_name="bithive", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return bytes(model.SerializeToString(deterministic=True))


def _nodes(
    layer: Layer,
    number: int,
    value: str,
    named: str,
    how: tuple[bool, bool],
    nodes: list[Any],
    tensors: list[Any],
) -> str:
    """Append one layer; gives the name of what comes out of it."""
    from onnx import helper, numpy_helper

    strided, padded = how
    halved = strided and number > 0
    size, stride = layer.kernel.shape[2], 2 if strided and number == 0 else 1
    dilation = layer.dilation // 2 if halved and size > 1 else layer.dilation
    pads = [layer.reach] * 6 if padded else [0] * 6
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    given = [value, f"kernel_{number}"]
    tensors.append(numpy_helper.from_array(layer.kernel, given[1]))
    if layer.bias is not None:
        given.append(f"bias_{number}")
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(layer.bias, np.float32), given[2]))
    shape = {"dilations": [dilation] * 3, "kernel_shape": [size] * 3, "pads": pads, "strides": [stride] * 3}
    steps.append(("Conv", given, shape))
    if layer.normalised:
        ones, zeros = (np.full(layer.kernel.shape[0], level, np.float32) for level in (1, 0))
        tensors.append(numpy_helper.from_array(ones, f"scale_{number}"))
        tensors.append(numpy_helper.from_array(zeros, f"shift_{number}"))
        steps.append(("InstanceNormalization", ["", f"scale_{number}", f"shift_{number}"], {"epsilon": EPSILON}))
    if layer.activation:
        kind, attributes = _ACTIVATIONS[layer.activation]
        steps.append((kind, [""], dict(attributes)))
    for step, (kind, inputs, attributes) in enumerate(steps):
        final = step + 1 == len(steps)
        output = named if final and named else f"value_{number}_{step}"
        nodes.append(helper.make_node(kind, [name or value for name in inputs], [output], **attributes))
        value = output
    return value
