import json

import pytest

from models import derive
from models.errors import BadBundle, BundleNeeds
from models.resolve import resolved
from tests.unit.models import zoo_shapes

METADATA = {
    "network_data_format": {
        "inputs": {"image": {"modality": "CT", "num_channels": 1, "spatial_shape": [96, 96, 96]}},
        "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "spleen"}}},
    }
}


def metadata(inputs=None, outputs=None):
    made = json.loads(json.dumps(METADATA))
    made["network_data_format"]["inputs"]["image"].update(inputs or {})
    made["network_data_format"]["outputs"]["pred"].update(outputs or {})
    return made


def parts(**further):
    return {**resolved(zoo_shapes.spleen()), **further}


def test_the_shape_follows_the_inferer():
    shape = derive.shape_of(METADATA, parts())
    assert (shape.window, shape.overlap, shape.channels_in, shape.channels_out) == ((96, 96, 96), (0.5,) * 3, 1, 2)
    assert shape.activation_bytes == 4 * 96**3 * (1 + 10 * 32 + 2 * 2)
    window = -(-shape.activation_bytes // 1_000_000)
    assert shape.work_units["base"] == window
    assert shape.work_units["per_million_voxels"] == pytest.approx(window * 1e6 / 48**3, abs=1)


@pytest.mark.parametrize(
    ("network", "width"),
    [
        ({"channels": [16, 32]}, 16),
        ({"init_filters": 8}, 8),
        ({"feature_size": 48}, 48),
        ({"_target_": "Convolution", "out_channels": 2}, 2),
        ({"channels": "@x"}, 32),
        ({"channels": [10**9]}, 32),
        ({"channels": [True]}, 32),
        ({}, 32),
    ],
)
def test_the_width_is_that_of_the_first_feature_map(network, width):
    assert derive.shape_of(METADATA, parts(network_def=network)).width == width


def test_a_network_that_takes_the_image_whole_states_its_size():
    simple = parts(inferer={"_target_": "SimpleInferer"})
    assert derive.shape_of(metadata({"spatial_shape": [128, 96, 64]}), simple).window == (128, 96, 64)
    for shape in (["8*n", "8*n", "8*n"], [256, 256], [0, 1, 1], [10**9] * 3, None, "96"):
        with pytest.raises(BundleNeeds):
            derive.shape_of(metadata({"spatial_shape": shape}), simple)


@pytest.mark.parametrize("size", [[256, 256], [-1, -1, -1], 0, "96", [96, 96, True], None])
def test_a_window_without_a_fixed_size_is_not_built(size):
    with pytest.raises(BundleNeeds):
        derive.shape_of(METADATA, parts(inferer={"_target_": "SlidingWindowInferer", "roi_size": size}))


def test_one_number_is_a_cube_and_overlap_may_differ_by_axis():
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": 64, "overlap": [0.25, 0.5, 0.75]}
    shape = derive.shape_of(METADATA, parts(inferer=inferer))
    assert (shape.window, shape.overlap) == ((64, 64, 64), (0.25, 0.5, 0.75))
    for overlap in (1.0, -0.1, "x", [1], None):
        with pytest.raises(BadBundle):
            derive.shape_of(METADATA, parts(inferer={**inferer, "overlap": overlap}))


def keys(found):
    return [(item.label, item.key) for item in found]


def test_thresholded_channels_are_structures_each():
    steps = [{"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}]
    sigmoid = parts(postprocessing={"_target_": "Compose", "transforms": steps})
    tumours = metadata(
        outputs={"num_channels": 3, "channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing"}}
    )
    assert keys(derive.structures_of(tumours, sigmoid)) == [(1, "tumor_core"), (2, "whole_tumor"), (3, "enhancing")]
    assert keys(derive.structures_of(METADATA, sigmoid)) == [(1, "spleen")]
    assert keys(derive.structures_of(METADATA, parts())) == [(1, "spleen")]


@pytest.mark.parametrize(
    "outputs",
    [
        {"channel_def": {}},
        {"channel_def": None},
        {"num_channels": 5},
        {"num_channels": None},
        {"num_channels": True},
        {"num_channels": "2"},
        {"channel_def": {"0": "background"}},
    ],
)
def test_channels_that_are_not_named_are_refused(outputs):
    with pytest.raises(BadBundle):
        derive.structures_of(metadata(outputs=outputs), parts())


@pytest.mark.parametrize(
    "data_format", [None, {}, {"inputs": {}, "outputs": {}}, {"inputs": {"a": 1}, "outputs": {"b": 2}}]
)
def test_a_malformed_format_is_refused(data_format):
    with pytest.raises(BadBundle):
        derive.shape_of({"network_data_format": data_format}, parts())


def test_several_inputs_are_not_built():
    made = metadata()
    made["network_data_format"]["inputs"]["other"] = {}
    with pytest.raises(BundleNeeds):
        derive.image_of(made)


def test_engines_follow_the_formats():
    shape = derive.shape_of(METADATA, parts())
    structures = derive.structures_of(METADATA, parts())
    script = derive.extension_of({"models/model.ts": "torchscript"}, [], shape, structures, "MIT")
    assert script["engines"]["torch"] == {"precision": "f32"}
    assert script["engines"]["openvino"]["parity"] == {"reference": "torch", "measure": "labels", "least": 0.999}
    graph = derive.extension_of({"models/model.onnx": "onnx"}, [], shape, structures, "MIT")
    assert "torch" not in graph["engines"]
    assert graph["engines"]["openvino"]["parity"]["reference"] == "onnxruntime"
    assert script["data_class"] == "P3"
    assert script["findings"] == {"structures": [{"label": 1, "key": "spleen", "name": "spleen"}]}
