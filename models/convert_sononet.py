"""SonoNet's published parameters (NumPy arrays in the order of Lasagne's layers) as one ONNX network.

Layers as the authors' `models.py` has them (C. F. Baumgartner and others, SonoNet: Real-Time Detection and Localisation of
Fetal Standard Scan Planes in Freehand Ultrasound, IEEE Transactions on Medical Imaging 36:2204-2215, 2017): five blocks of
3 x 3 convolutions, four of them followed by 2 x 2 maximum pooling, an adaptation by two 1 x 1 convolutions, the mean of each
class map, softmax. Lasagne turns filters over unless told not to; SonoNet tells it not to, so they are kept as they are.

Each convolution is followed by batch normalisation with fixed statistics: its scale goes into the weights and its shift
becomes the bias, computed in float64 and rounded once.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

PART = "SonoNet16.npz"
CLASSES = 14

_BLOCKS = ((16, 16), (32, 32), (64, 64, 64), (128, 128, 128), (128, 128, 128))
_ADAPTATION = 64
_ARRAYS_OF_LAYER = 5
_ROWS, _COLUMNS = 224, 288
_OPSET, _IR = 17, 8

Float = npt.NDArray[np.float32]


def onnx_of(parts: Mapping[str, bytes]) -> bytes:
    """SonoNet-16 as ONNX: input (1, 1, 224, 288) float32, output (1, 14, 1, 1), the share of each class.

    Parameters
    ----------
    parts
        `SonoNet16.npz` as it was published.

    Returns
    -------
    bytes
        The same ones for the same part, on every machine.

    Raises
    ------
    ValueError, KeyError
        If the file does not hold the arrays of that network.
    ImportError
        Without the package `onnx`.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, initialisers, last = [], [], "input"
    for number, (weights, bias, is_last_of_block, rectified) in enumerate(_layers(parts[PART])):
        pad = weights.shape[-1] // 2
        named = {f"w{number}": weights, f"b{number}": bias}
        initialisers += [numpy_helper.from_array(array, name) for name, array in named.items()]
        nodes.append(
            helper.make_node("Conv", [last, *named], [f"c{number}"], kernel_shape=weights.shape[2:], pads=[pad] * 4)
        )
        last = f"c{number}"
        if rectified:
            nodes.append(helper.make_node("Relu", [last], [f"r{number}"]))
            last = f"r{number}"
        if is_last_of_block:
            nodes.append(helper.make_node("MaxPool", [last], [f"p{number}"], kernel_shape=[2, 2], strides=[2, 2]))
            last = f"p{number}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["output"], axis=1))
    graph = helper.make_graph(
        nodes,
        "sononet16",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, _ROWS, _COLUMNS])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, CLASSES, 1, 1])],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    model.producer_name = "bithive"
    checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _layers(content: bytes) -> Iterator[tuple[Float, Float, bool, bool]]:
    """Folded weights and bias of each convolution, whether pooling follows, and whether rectification does."""
    shapes = list(_shapes())
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        wanted = [f"arr_{index}" for index in range(len(shapes) * _ARRAYS_OF_LAYER)]
        if sorted(archive.files) != sorted(wanted):
            raise ValueError("the archive holds other arrays than SonoNet-16 has")
        arrays: list[npt.NDArray[Any]] = [archive[name] for name in wanted]
    for index, (shape, pooled) in enumerate(shapes):
        weights, shift, scale, mean, inverse = arrays[index * _ARRAYS_OF_LAYER : (index + 1) * _ARRAYS_OF_LAYER]
        if weights.shape != shape or any(array.shape != shape[:1] for array in (shift, scale, mean, inverse)):
            raise ValueError("an array has another shape than SonoNet-16's")
        if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in (weights, shift, scale)):
            raise ValueError("an array is not finite float32")
        factor = scale.astype(np.float64) * inverse.astype(np.float64)
        folded = (weights.astype(np.float64) * factor[:, None, None, None]).astype(np.float32)
        bias = (shift.astype(np.float64) - mean.astype(np.float64) * factor).astype(np.float32)
        if not (np.isfinite(folded).all() and np.isfinite(bias).all()):
            raise ValueError("a folded array is not finite")
        yield folded, bias, pooled, index + 1 < len(shapes)


def _shapes() -> Iterator[tuple[tuple[int, int, int, int], bool]]:
    """Shape of each layer's weights (out, in, rows, columns), and whether pooling follows it."""
    channels = 1
    for number, block in enumerate(_BLOCKS, start=1):
        for place, filters in enumerate(block, start=1):
            yield (filters, channels, 3, 3), place == len(block) and number < len(_BLOCKS)
            channels = filters
    yield (_ADAPTATION, channels, 1, 1), False
    yield (CLASSES, _ADAPTATION, 1, 1), False
