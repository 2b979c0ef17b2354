import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional

from models.convert_tfjs import body_of, head_of, layers, onnx_of, reach, split
from models.errors import ConversionFailed
from tests.common.meshnets import changed, parts_of


def run(content, image):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def expected(parts, image):
    """The chain as PyTorch computes it."""
    kinds = {"relu": functional.relu, "elu": functional.elu, "gelu": lambda x: functional.gelu(x, approximate="tanh")}
    value = torch.from_numpy(image)
    for layer in layers(parts):
        bias = None if layer.bias is None else torch.from_numpy(layer.bias.copy())
        kernel = torch.from_numpy(layer.kernel)
        value = functional.conv3d(value, kernel, bias, padding=layer.reach, dilation=layer.dilation)
        if layer.normalised:
            value = functional.instance_norm(value)
        if layer.activation:
            value = kinds[layer.activation](value)
    return value.numpy()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).random((1, 1, 14, 15, 17), np.float32)


@pytest.mark.parametrize(
    "parts",
    [parts_of(), parts_of(activation="elu", shards=3), parts_of((2, 1), activation="gelu", normalised=True)],
    ids=["relu", "elu in three shards", "gelu, normalised"],
)
def test_it_computes_what_the_layers_say(parts, image):
    content = onnx_of(parts)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    np.testing.assert_allclose(run(content, image), expected(parts, image), rtol=1e-4, atol=1e-4)


def test_the_normalisation_is_read_from_the_names_alone(image):
    plain, named = parts_of((2, 1), normalised=True), layers(parts_of((2, 1), normalised=True))
    assert [layer.normalised for layer in named] == [True, True, False]
    assert b"normal" not in plain["model.json"].lower()
    kinds = [node.op_type for node in onnx.load_from_string(onnx_of(plain)).graph.node]
    assert kinds == ["Conv", "InstanceNormalization", "Relu"] * 2 + ["Conv"]


@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_body_and_head_give_every_second_voxel_of_the_inside(activation):
    parts = parts_of(activation=activation)
    body, head = split(layers(parts))
    near, far = reach(head), reach(body)
    assert (near, far) == (1, 9)
    count, around = 6, near + far
    image = np.random.default_rng(2).random((1, 1, *[2 * count + 2 * far] * 3), np.float32)
    whole = run(onnx_of(parts), image)[:, :, around:-around, around:-around, around:-around]
    features = np.zeros((1, 3, *[2 * count] * 3), np.float32)
    for x, y, z in np.ndindex(2, 2, 2):
        part = image[
            :, :, x : x + 2 * count + 2 * far - 1, y : y + 2 * count + 2 * far - 1, z : z + 2 * count + 2 * far - 1
        ]
        features[:, :, x::2, y::2, z::2] = run(body_of(parts), np.ascontiguousarray(part))
    np.testing.assert_allclose(run(head_of(parts), features), whole, rtol=1e-4, atol=1e-4)


def test_equal_parts_give_equal_bytes_and_others_others():
    assert onnx_of(parts_of()) == onnx_of(parts_of(shards=2))
    assert onnx_of(parts_of()) != onnx_of(parts_of(seed=1))
    assert len({onnx_of(parts_of()), body_of(parts_of()), head_of(parts_of())}) == 3


def drop(*path, value=None):
    def change(topology):
        at = topology
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return change


LAYERS = ("modelTopology", "model_config", "config", "layers")
CHANGES = {
    "no layers": drop(*LAYERS, value=[]),
    "no input": drop(*LAYERS, 0, "class_name", value="Conv3D"),
    "another kind of layer": drop(*LAYERS, 2, "class_name", value="Lambda"),
    "another activation": drop(*LAYERS, 2, "config", "activation", value="softmax"),
    "a layer that takes another": drop(*LAYERS, 3, "inbound_nodes", value=[[["input", 0, 0, {}]]]),
    "a layer that takes two": drop(
        *LAYERS, 3, "inbound_nodes", value=[[["activation_0", 0, 0, {}], ["input", 0, 0, {}]]]
    ),
    "strides": drop(*LAYERS, 1, "config", "strides", value=[2, 2, 2]),
    "uneven dilation": drop(*LAYERS, 1, "config", "dilation_rate", value=[1, 2, 1]),
    "huge dilation": drop(*LAYERS, 1, "config", "dilation_rate", value=[10**6] * 3),
    "no padding": drop(*LAYERS, 1, "config", "padding", value="valid"),
    "other filters": drop(*LAYERS, 1, "config", "filters", value=7),
    "groups": drop(*LAYERS, 1, "config", "groups", value=3),
    "quantised": drop("weightsManifest", 0, "weights", 0, "quantization", value={"dtype": "uint8"}),
    "other type": drop("weightsManifest", 0, "weights", 0, "dtype", value="int32"),
    "negative shape": drop("weightsManifest", 0, "weights", 0, "shape", value=[-3, 3, 3, 1, 3]),
    "huge shape": drop("weightsManifest", 0, "weights", 0, "shape", value=[3, 3, 3, 1, 10**9]),
    "a tensor twice": drop("weightsManifest", 0, "weights", 0, "name", value="conv_0/bias"),
    "a shard from elsewhere": drop("weightsManifest", 0, "paths", value=["../../etc/passwd"]),
    "no topology": drop("modelTopology"),
    "a list": drop("weightsManifest"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_no_meshnet_is_refused(name):
    with pytest.raises(ConversionFailed):
        onnx_of(changed(parts_of(), CHANGES[name]))


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"model.json": b"{"},
        {"model.json": b"[" * 100_000},
        {**parts_of(), "shard1.bin": parts_of()["shard1.bin"][:-1]},
        {**parts_of(), "shard1.bin": parts_of()["shard1.bin"] + b"\0\0\0\0"},
        {**parts_of(), "shard1.bin": b"\xff" * len(parts_of()["shard1.bin"])},
        {"model.json": parts_of()["model.json"]},
    ],
    ids=["nothing", "no JSON", "deep", "truncated", "longer", "not a number", "no shard"],
)
def test_damaged_parts_are_refused(parts):
    with pytest.raises(ConversionFailed):
        onnx_of(parts)


@pytest.mark.parametrize("parts", [parts_of((2, 1), normalised=True), parts_of((1, 3, 1)), parts_of((1, 2, 3, 2, 1))])
def test_what_cannot_be_split_is_not(parts):
    onnx_of(parts)
    with pytest.raises(ConversionFailed):
        body_of(parts)


@pytest.mark.parametrize(
    ("model", "dilations"),
    [
        ("model5_gw_ae", [1, 2, 4, 8, 16, 8, 4, 2, 1, 1]),
        ("model30chan18cls", [1, 2, 4, 8, 16, 8, 4, 2, 1, 1]),
        ("model21_104class", [1, 2, 2, 4, 4, 8, 8, 16, 1]),
    ],
)
def test_the_published_networks_are_read(shared, model, dilations):
    folder = shared / "weights" / "brainchop" / model
    parts = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [layer.dilation for layer in layers(parts)] == dilations


def test_mindgrab_is_normalised_although_its_topology_does_not_say_so(shared):
    folder = shared / "weights" / "brainchop" / "mindgrab"
    chain = layers({path.name: path.read_bytes() for path in folder.iterdir()})
    assert [layer.normalised for layer in chain] == [True] * 25 + [False]
    assert sum(layer.kernel.size + (0 if layer.bias is None else layer.bias.size) for layer in chain) == 146_237
