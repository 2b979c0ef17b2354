import numpy as np
import onnxruntime
import pytest

from inference.conform import Conformed
from inference.errors import AnatomyAbsent
from inference.geometry import Canonical
from inference.meshnet import BrainBoxd, EverySecondInferer, greatest
from inference.volume import Volume
from models.convert_tfjs import body_of, head_of, layers, onnx_of, reach, split
from tests.common.meshnets import parts_of

TILE = (8, 10, 12)


def network(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.fixture(
    scope="module", params=[(1, 2, 4, 2, 1), (1, 2, 2, 4)], ids=["a head that looks around", "that does not"]
)
def made(request):
    parts = parts_of(request.param, classes=5)
    body, head = split(layers(parts))
    inferer = EverySecondInferer(network(head_of(parts)), reach(body), reach(head), TILE, 3)
    return parts, inferer, network(body_of(parts)), reach(body) + reach(head)


@pytest.mark.parametrize("size", [(8, 10, 12), (5, 9, 11), (19, 11, 12), (6, 21, 25)])
def test_the_labels_are_those_of_the_whole_network(made, size):
    parts, inferer, body, around = made
    image = np.random.default_rng(3).random((1, 1, *[length + 2 * around for length in size]), np.float32)
    logits = network(onnx_of(parts))(image)[0][(slice(None), *[slice(around, -around)] * 3)]
    found = inferer(image, body)
    assert found.labels.shape == size
    assert found.labels.dtype == np.uint8
    clear = np.partition(logits, -2, axis=0)[-1] - np.partition(logits, -2, axis=0)[-2] > 1e-4
    assert clear.mean() > 0.99
    assert np.array_equal(found.labels[clear], logits.argmax(0)[clear])
    assert 0.2 < found.certainty <= 1.0


def test_a_head_that_sees_nothing_has_no_certainty(made):
    around = made[3]
    background = EverySecondInferer(
        lambda x: np.pad(x[:, :1] * 0 + 1, ((0, 0), (0, 2), (0, 0), (0, 0), (0, 0))), around, 0, TILE, 4
    )
    features = np.zeros((1, 1, *[length // 2 for length in TILE]), np.float32)
    found = background(
        np.zeros((1, 1, *[length + 2 * around for length in TILE]), np.float32), lambda _inputs: features
    )
    assert not found.labels.any()
    assert found.certainty == 0.0


@pytest.mark.parametrize(
    "change", [{"tile": (7, 8, 8)}, {"tile": (2, 8, 8)}, {"head_reach": 2}, {"reach": 0}, {"planes": 0}]
)
def test_what_cannot_be_tiled_is_refused(change):
    given = {"head": None, "reach": 3, "head_reach": 0, "tile": (8, 8, 8), "planes": 2} | change
    with pytest.raises(TypeError):
        EverySecondInferer(**given)


def test_greatest_takes_the_first_of_equals():
    logits = np.random.default_rng(0).integers(-2, 3, (104, 3, 4, 5)).astype(np.float32)
    assert np.array_equal(greatest(logits), logits.argmax(0))


def cube_of(array):
    return Conformed.of(Canonical.of(Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]), "arbitrary")))


def test_the_box_is_scaled_and_air_goes_on_beyond_the_cube():
    random = np.random.default_rng(4)
    array = np.zeros((128, 120, 110), np.int16)
    array[20:, 10:110, 10:100] = random.integers(100, 1000, (108, 100, 90))
    cube = cube_of(array)
    mask = np.zeros(array.shape, np.bool_)
    mask[110:124, 40:60, 50:70] = True
    step = BrainBoxd("cube", "network_input", "box", "mask", 1, 30, 0.02, 0.98)
    data = step({"cube": cube, "mask": mask})
    box, grown = data["box"], data["network_input"]
    assert grown.shape == tuple(length + 60 for length in box.shape)
    low, high = np.quantile(cube.array, (0.02, 0.98))
    inner = grown[tuple(slice(30, 30 + length) for length in box.shape)]
    scaled = np.clip((cube.array[box.slices].astype(np.float64) - low) / (high - low + 1e-3), 0, 1)
    np.testing.assert_allclose(inner, scaled, atol=1e-6)
    assert box.low[1] < 30, "the top of the image is near the cube's edge"
    assert not grown[:, : 30 - box.low[1]].any()


def test_nothing_marked_has_no_box():
    array = np.random.default_rng(5).integers(1, 900, (70, 70, 70)).astype(np.int16)
    step = BrainBoxd("cube", "network_input", "box", "mask", 1, 3, 0.02, 0.98)
    with pytest.raises(AnatomyAbsent):
        step({"cube": cube_of(array), "mask": np.zeros(array.shape, np.bool_)})
