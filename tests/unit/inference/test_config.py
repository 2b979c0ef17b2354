import copy

import pytest

from inference.config import ALLOWED_TARGETS, audit, build
from inference.errors import BundleRefused
from inference.steps import Compose, Keyed, SimpleInferer
from models.catalog import Catalog

CONFIG = {
    "network_def": {"_target_": "torch.jit.load", "f": "models/model.pt"},
    "inferer": {"_target_": "SimpleInferer"},
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "inference.preprocess.Canonicald", "keys": "image"}],
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "inference.postprocess.ThresholdChanneld", "keys": "pred", "channel": 1, "threshold": 0.5}
        ],
    },
}


def changed(**changes):
    return copy.deepcopy(CONFIG) | changes


def test_the_networks_are_named():
    assert audit(CONFIG) == ["models/model.pt"]


def test_every_bundle_of_ours_passes(tmp_path):
    for bundle in Catalog(tmp_path).bundles().values():
        assert set(audit(bundle.inference())) == {pinned.file for pinned in bundle.weights}


def test_it_is_made_with_the_networks_of_the_engine():
    network = object()
    parts = build(CONFIG, {"models/model.pt": lambda: network})
    assert parts["network_def"]() is network
    assert type(parts["inferer"]).__name__ == "SimpleInferer"
    assert type(parts["preprocessing"].transforms[0]).__name__ == "Canonicald"


def test_a_reference_gives_one_and_the_same_object():
    locate = {
        "_target_": "inference.preprocess.LocateBoxd",
        "keys": "a",
        "into": "b",
        "image": "c",
        "network": "@locator",
        "inferer": "@inferer",
        "channel": 1,
        "threshold": 0.5,
        "plane_fraction_min": 0.1,
        "margin": 0.1,
    }
    config = changed(
        locator={"_target_": "torch.jit.load", "f": "models/box.pt"},
        preprocessing={"_target_": "Compose", "transforms": [locate]},
    )
    networks = {"models/model.pt": lambda: 1, "models/box.pt": lambda: 2}
    assert build(config, networks)["preprocessing"].transforms[0].network is networks["models/box.pt"]


def test_a_transform_has_keys_and_a_chain_has_transforms():
    assert (Keyed("a").keys, Keyed(["a", "b"]).keys, Keyed(["a", "b"]).key) == (("a",), ("a", "b"), "a")
    for keys in ([], [1], 5):
        with pytest.raises(TypeError):
            Keyed(keys)
    with pytest.raises(TypeError):
        Compose([SimpleInferer()])
    with pytest.raises(NotImplementedError):
        Keyed("a")({})
    assert SimpleInferer()(3, lambda inputs: inputs + 1) == 4


def deep(levels):
    node = "x"
    for _ in range(levels):
        node = [node]
    return node


@pytest.mark.parametrize(
    "config",
    [
        {key: value for key, value in CONFIG.items() if key != "inferer"},
        changed(imports=["$import os"]),
        changed(run="$__import__('os').system('true')"),
        changed(value=["a", {"b": "prefix $eval"}]),
        changed(value="%other.json#key"),
        changed(inferer={"_target_": "os.system", "command": "true"}),
        changed(inferer={"_target_": "monai.inferers.SimpleInferer.__init__"}),
        changed(inferer={"_target_": "builtins.eval", "x": "1"}),
        changed(inferer={"_target_": ["SimpleInferer"]}),
        changed(inferer={"_target_": {"_target_": "SimpleInferer"}}),
        changed(inferer={"_target_": "SimpleInferer", "_mode_": "debug"}),
        changed(inferer={"_target_": "SimpleInferer", "_requires_": "@network_def"}),
        changed(inferer={"_target_": "SimpleInferer", "_disabled_": True}),
        changed(**{"+preprocessing": []}),
        changed(**{"preprocessing::transforms": []}),
        changed(network_def={"_target_": "torch.jit.load", "f": "models/model.pt", "_extra_files": {}}),
        changed(network_def={"_target_": "torch.jit.load", "f": {"a": 1}}),
        changed(network_def={"_target_": "torch.load", "f": "models/model.pt"}),
        changed(value=deep(40)),
    ],
)
def test_what_could_do_more_is_refused(config):
    with pytest.raises(BundleRefused):
        audit(config)


def test_wrong_arguments_are_refused():
    wrong = {"_target_": "inference.preprocess.Canonicald", "keys": "image", "surprise": 1}
    config = changed(preprocessing={"_target_": "Compose", "transforms": [wrong]})
    with pytest.raises(BundleRefused):
        build(config, {"models/model.pt": lambda: 1})


@pytest.mark.parametrize("members", [{"inferer": "@absent"}, {"inferer": "@a", "a": "@b", "b": "@a"}, {"inferer": "@"}])
def test_a_reference_that_leads_nowhere_or_to_itself_is_refused(members):
    with pytest.raises(BundleRefused):
        build(changed(**members), {"models/model.pt": lambda: 1})


def test_a_chain_of_something_else_is_refused():
    config = changed(postprocessing={"_target_": "Compose", "transforms": ["@inferer"]})
    with pytest.raises(BundleRefused):
        build(config, {"models/model.pt": lambda: 1})


def test_every_allowed_target_is_used_or_from_monai(tmp_path):
    used = set()

    def walk(node):
        if isinstance(node, dict):
            used.add(node.get("_target_"))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    for bundle in Catalog(tmp_path).bundles().values():
        walk(bundle.inference())
    assert used >= ALLOWED_TARGETS


def test_a_network_may_be_named_as_onnxruntime_loads_it():
    network = {"_target_": "onnxruntime.InferenceSession", "path_or_bytes": "models/model.onnx"}
    config = changed(network_def=network)
    assert audit(config) == ["models/model.onnx"]
    assert build(config, {"models/model.onnx": "the network"})["network_def"] == "the network"
    for wrong in ({"f": "models/model.onnx"}, {"path_or_bytes": 1}, {"path_or_bytes": "a", "providers": []}):
        with pytest.raises(BundleRefused):
            audit(changed(network_def={"_target_": "onnxruntime.InferenceSession", **wrong}))


def test_rules_have_neither_network_nor_inferer():
    rules = {key: CONFIG[key] for key in ("preprocessing", "postprocessing")}
    assert audit(rules) == []
    assert set(build(rules, {})) == {"preprocessing", "postprocessing"}
    for half in ("network_def", "inferer"):
        with pytest.raises(BundleRefused):
            audit({**rules, half: CONFIG[half]})
