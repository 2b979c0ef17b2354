import numpy as np
import pytest

from inference.engine import NetworkFile
from inference.engine_openvino import OpenVinoEngine
from inference.errors import EngineFault
from tests.common.networks import SHAPE, noise, written


def test_bf16_is_another_engine_and_says_so(tmp_path):
    file = written(tmp_path, "torchscript")
    full, low = OpenVinoEngine(1), OpenVinoEngine(1, "bf16")
    assert (low.name, low.precision, low.bf16, low.tf32) == ("openvino-bf16", "bf16", True, False)
    assert (full.name, full.precision, full.bf16) == ("openvino", "f32", False)
    one, other = full.network(file, SHAPE)(noise()).copy(), low.network(file, SHAPE)(noise()).copy()
    np.testing.assert_allclose(one, other, atol=0.1)


@pytest.mark.parametrize("kind", ["torchscript", "safetensors", "onnx"])
@pytest.mark.parametrize("content", [b"", b"no network", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_network_is_a_fault(tmp_path, kind, content):
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(EngineFault):
        OpenVinoEngine(1).network(NetworkFile(path, kind, {"_target_": "UNet"}), SHAPE)


def test_a_network_of_two_inputs_is_a_fault(tmp_path):
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "ab"]
    outputs = [helper.make_tensor_value_info("c", TensorProto.FLOAT, SHAPE)]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "two", inputs, outputs)
    path = tmp_path / "two"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    with pytest.raises(EngineFault):
        OpenVinoEngine(1).network(NetworkFile(path, "onnx"), SHAPE)
