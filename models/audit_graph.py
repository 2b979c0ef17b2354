"""Reads ONNX and safetensors files without running them: every tensor is in the file itself, every operator is ONNX's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bithive.limits import MIB
from models.errors import BadBundle, OnnxRefused

_DOMAINS = frozenset({"", "ai.onnx"})
_HEADER_BYTES_MAX = 64 * MIB
_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"})


def audit_onnx(path: Path) -> int:
    """Check an ONNX file.

    Returns
    -------
    int
        How many nodes it has.

    Raises
    ------
    OnnxRefused
        If it cannot be read, keeps tensors in another file, or uses an operator that neither ONNX nor the file defines.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError, MemoryError):
        raise OnnxRefused("the file cannot be read as ONNX") from None
    own = {(function.domain, function.name) for function in model.functions}
    count = _check_graph(model.graph, own)
    for function in model.functions:
        count += _check_nodes(function.node, own)
    if not count or model.training_info:
        raise OnnxRefused("the file holds no network, or how to train one")
    return count


def _check_graph(graph: Any, own: set[tuple[str, str]]) -> int:
    for tensor in graph.initializer:
        _check_tensor(tensor)
    for sparse in graph.sparse_initializer:
        _check_tensor(sparse.values)
        _check_tensor(sparse.indices)
    return _check_nodes(graph.node, own)


def _check_nodes(nodes: Iterable[Any], own: set[tuple[str, str]]) -> int:
    count = 0
    for node in nodes:
        count += 1
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
            raise OnnxRefused(
                "the file uses an operator of a foreign library", name=f"{node.domain}.{node.op_type}"[:100]
            )
        for attribute in node.attribute:
            for tensor in (*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])):
                _check_tensor(tensor)
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                count += _check_graph(graph, own)
    return count


def _check_tensor(tensor: Any) -> None:
    if tensor.data_location or tensor.external_data:
        raise OnnxRefused("the file keeps tensors in another file")


def audit_safetensors(path: Path) -> int:
    """Check the header of a safetensors file; gives how many tensors it has. Raises `BadBundle`."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_HEADER_BYTES_MAX, size):
                raise BadBundle("a safetensors file has no header")
            header = json.loads(file.read(length))
        spans = sorted(
            (*map(int, row["data_offsets"]), row["dtype"] in _DTYPES)
            for name, row in header.items()
            if name != "__metadata__"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadBundle("the header of a safetensors file cannot be read") from None
    position = 0
    for span in spans:
        if len(span) != 3 or span[0] != position or span[1] < span[0] or not span[2]:
            raise BadBundle("the tensors of a safetensors file overlap, leave gaps, or are of an unknown type")
        position = span[1]
    if position != size - 8 - length or not spans:
        raise BadBundle("a safetensors file is longer or shorter than its header says")
    return len(spans)
