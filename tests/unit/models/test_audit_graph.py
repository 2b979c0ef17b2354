import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.audit_graph import audit_onnx, audit_safetensors
from models.errors import BadBundle, OnnxRefused

WEIGHT = numpy_helper.from_array(np.ones((1,), np.float32), "w")


def graph(nodes, tensors=(WEIGHT,)):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    return helper.make_graph(nodes, "g", ends[:1], ends[1:], list(tensors))


def written(path, nodes, tensors=(WEIGHT,), **further):
    onnx.save_model(helper.make_model(graph(nodes, tensors), **further), str(path))
    return path


ADD = helper.make_node("Add", ["x", "w"], ["y"])


def test_a_plain_graph_passes(tmp_path):
    assert audit_onnx(written(tmp_path / "m.onnx", [ADD])) == 1


def external():
    tensor = TensorProto()
    tensor.CopyFrom(WEIGHT)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def test_tensors_elsewhere_are_refused_wherever_they_hide(tmp_path):
    inner = helper.make_node("Constant", [], ["y"], value=external())
    branch = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    nested = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    for nodes, tensors in (([ADD], (external(),)), ([inner], ()), ([nested], ())):
        with pytest.raises(OnnxRefused) as refused:
            audit_onnx(written(tmp_path / "m.onnx", nodes, tensors))
        assert refused.value.code == "onnx-refused"


def test_foreign_operators_are_refused_and_own_functions_are_not(tmp_path):
    foreign = helper.make_node("Steal", ["x"], ["y"], domain="foreign")
    with pytest.raises(OnnxRefused):
        audit_onnx(written(tmp_path / "m.onnx", [foreign]))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "Call", ["a"], ["b"], body, opsets[:1])
    call = helper.make_node("Call", ["x"], ["y"], domain="own")
    path = written(tmp_path / "m.onnx", [call], opset_imports=opsets, functions=[function])
    assert audit_onnx(path) == 2
    function = helper.make_function("own", "Call", ["a"], ["b"], [foreign], opsets[:1])
    with pytest.raises(OnnxRefused):
        audit_onnx(written(tmp_path / "m.onnx", [call], opset_imports=opsets, functions=[function]))


@pytest.mark.parametrize("content", [b"", b"no onnx at all", b"\xff" * 100])
def test_what_is_no_onnx_is_refused(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(OnnxRefused):
        audit_onnx(tmp_path / "m.onnx")


def tensors(path, header, body=b"\0" * 8):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


ROW = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_safetensors_headers_are_checked(tmp_path):
    path = tmp_path / "m.safetensors"
    assert audit_safetensors(tensors(path, {"a": ROW, "__metadata__": {"x": "y"}})) == 1
    for header, body in (
        ({"a": ROW}, b"\0" * 9),
        ({"a": ROW}, b"\0" * 7),
        ({"a": ROW, "b": ROW}, b"\0" * 8),
        ({"a": {**ROW, "data_offsets": [8, 0]}}, b"\0" * 8),
        ({"a": {**ROW, "data_offsets": [4, 12]}}, b"\0" * 12),
        ({"a": {**ROW, "dtype": "OBJECT"}}, b"\0" * 8),
        ({"a": {"dtype": "F32"}}, b"\0" * 8),
        ({}, b""),
        (b"[" * 100_000, b""),
        (b"{", b""),
        (b"[]", b""),
    ):
        with pytest.raises(BadBundle):
            audit_safetensors(tensors(path, header, body))
    path.write_bytes((10**15).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadBundle):
        audit_safetensors(path)
    path.write_bytes(b"")
    with pytest.raises(BadBundle):
        audit_safetensors(path)
