"""Bundles of the zoo's form from their files to Findings, on a node without PyTorch and MONAI too."""

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inference.errors import BundleRefused, UnsupportedVolume
from inference.findings import Findings
from inference.run import load
from inference.volume import Volume
from inference.zoo import Wanted, ZooRun, prepared, volumes_ml
from inference.zoo_plan import plan_of
from models.bundle import Bundle
from models.resolve import resolved
from tests.common.zoo import nearest_centre, zoo_bundle

ROOT = Path(__file__).resolve().parents[3]
ROI = (24, 24, 24)
CENTRES = (0.2, 0.7, 0.95)
ORGANS = {1: "Spleen", 2: "Left kidney"}


def conv_onnx(path, centres=CENTRES, roi=ROI):
    """The network of `tests.common.zoo.nearest_centre`, as one ONNX node."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    weight = np.array([40.0 * centre for centre in centres], np.float32).reshape(-1, 1, 1, 1, 1)
    bias = np.array([-20.0 * centre**2 for centre in centres], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["pred"], kernel_shape=[1, 1, 1])],
        "nearest_centre",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, *roi])],
        [helper.make_tensor_value_info("pred", TensorProto.FLOAT, [1, len(centres), *roi])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, str(path))


def installed(folder, name="spleen_ct_segmentation", file="models/model.onnx", engines=("onnxruntime",), **made):
    """A bundle as installing leaves it, and its weights."""
    made = {"weights": "" if file.endswith(".onnx") else "model.ts", **made}
    path = zoo_bundle(folder, name, labels=ORGANS, centres=CENTRES, roi=ROI, **made)
    if file.endswith(".onnx"):
        conv_onnx(path / file)
    elif file.endswith(".safetensors"):
        from safetensors.torch import save_file

        save_file(nearest_centre(CENTRES).state_dict(), path / file)
    content = (path / file).read_bytes()
    pinned = {
        "file": file,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "source": {"kind": "address", "address": "https://weights.example/model"},
    }
    extension = {
        "data_class": "P3",
        "engines": {engine: {"precision": "f32"} for engine in engines},
        "networks": {file: {"input_shape": [1, 1, *ROI], "output_channels": 3, "activation_bytes": 1_000_000}},
        "findings": {"structures": [{"label": 1, "key": "spleen", "name": "Spleen"}, {"label": 2, "key": "left_kidney", "name": "Left kidney"}]},
        "work_units": {"base": 1, "per_million_voxels": 1},
        "weights": [pinned],
        "licence": "Apache-2.0",
    }  # fmt: skip
    (path / "configs" / "bithive.json").write_text(json.dumps(extension))
    return Bundle.load(path), {file: path / file}


def hounsfield(scaled):
    return -57 + 221 * scaled


def abdomen(unit="HU", dtype=np.int16):
    """A box of each organ, along the stored axes of an LPS image with 1.5 x 1.5 x 2 mm voxels."""
    array = np.full((20, 40, 36), hounsfield(0.2), dtype)
    array[4:12, 6:20, 5:17] = hounsfield(0.7)
    array[10:18, 24:36, 20:32] = hounsfield(0.95)
    return Volume(array, np.diag([1.5, 1.5, 2.0, 1.0]), unit)


def expected():
    array = abdomen().array
    return (array > hounsfield(0.5)).astype(np.uint8) + (array > hounsfield(0.85))


CHILD = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "monai"):
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
from inference.run import load
from inference.volume import Volume
from models.bundle import Bundle
folder, volume, engine, into = sys.argv[1:]
bundle = Bundle.load(Path(folder))
loaded = load(bundle, {"models/model.onnx": Path(folder) / "models/model.onnx"}, engine, 1)
told = []
findings = loaded.run(Volume.from_bytes(Path(volume).read_bytes()), lambda stage, share: told.append((stage, share)))
Path(into).write_bytes(findings.to_bytes())
assert loaded.engine == engine and loaded.precision == "f32" and not loaded.tf32 and not loaded.bf16, loaded.engine
assert loaded.memory_bytes > 1_000_000
assert [share for _, share in told] == sorted(share for _, share in told) and told[-1] == ("measuring", 1.0), told
assert len([stage for stage, _ in told if stage == "segmenting"]) > 4, told
assert not {"torch", "monai"} & set(sys.modules)
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_node_without_torch_runs_onnx(tmp_path, engine):
    installed(tmp_path, engines=(engine,))
    source = abdomen()
    (tmp_path / "volume").write_bytes(source.to_bytes())
    given = [tmp_path / "spleen_ct_segmentation", tmp_path / "volume", engine, tmp_path / "findings"]
    ended = subprocess.run([sys.executable, "-c", CHILD, *given], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    findings = Findings.from_bytes((tmp_path / "findings").read_bytes(), source.array.shape)
    assert findings.structures == ("spleen", "left_kidney")
    assert np.array_equal(findings.labels.array, expected())
    assert findings.measurement("spleen_volume").value == pytest.approx(8 * 14 * 12 * 4.5 / 1000)
    assert (findings.measurement("left_kidney_volume").unit, findings.measurement("left_kidney_volume").mask) == (
        "mL",
        "left_kidney",
    )


@pytest.mark.parametrize("file", ["models/model.ts", "models/model.safetensors"])
def test_other_files_of_the_network_give_the_same(tmp_path, file):
    bundle, weights = installed(tmp_path, file=file, engines=("torch",))
    loaded = load(bundle, weights, "torch", 1)
    assert np.array_equal(loaded.run(abdomen()).labels.array, expected())


def test_another_unit_or_an_even_image_is_refused(tmp_path):
    bundle, weights = installed(tmp_path)
    loaded = load(bundle, weights, "onnxruntime", 1)
    with pytest.raises(UnsupportedVolume):
        loaded.run(abdomen(unit="arbitrary"))
    with pytest.raises(UnsupportedVolume):
        loaded.run(Volume(np.full((9, 9, 9), 40, np.int16), np.eye(4), "HU"))


def test_nothing_found_is_a_finding(tmp_path):
    bundle, weights = installed(tmp_path)
    array = abdomen().array.clip(max=int(hounsfield(0.25)))
    findings = load(bundle, weights, "onnxruntime", 1).run(Volume(array, abdomen().affine, "HU"))
    assert findings.measurements == ()
    assert not findings.labels.array.any()


@pytest.mark.parametrize("networks", [{}, {"models/other.onnx": None}])
def test_a_network_that_is_not_there_is_refused(tmp_path, networks):
    bundle, _ = installed(tmp_path)
    with pytest.raises(BundleRefused):
        load(bundle, networks, "onnxruntime", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"input_shape": "96"},
        {"input_shape": [1, 1, 24, 24, 32]},
        {"input_shape": [1, 2, 24, 24, 24]},
        {"output_channels": 5},
    ],
)
def test_a_network_of_another_shape_is_refused(tmp_path, change):
    installed(tmp_path)
    path = tmp_path / "spleen_ct_segmentation" / "configs" / "bithive.json"
    extension = json.loads(path.read_text())
    extension["networks"]["models/model.onnx"] |= change
    path.write_text(json.dumps(extension))
    bundle = Bundle.load(path.parents[1])
    with pytest.raises(BundleRefused):
        load(bundle, {"models/model.onnx": path.parents[1] / "models/model.onnx"}, "onnxruntime", 1)


def parts_of(tmp_path, **made):
    config = json.loads(
        (zoo_bundle(tmp_path, weights="", roi=(8, 8, 8), **made) / "configs/inference.json").read_text()
    )
    return resolved(config, ("preprocessing", "inferer", "postprocessing"))


def test_floats_that_are_not_finite_count_as_nothing(tmp_path):
    array = abdomen(dtype=np.float32).array
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2] = np.nan, np.inf, -np.inf
    _, image = prepared(Volume(array, abdomen().affine, "HU"), plan_of(parts_of(tmp_path)))
    assert np.isfinite(image).all()


def test_a_grid_larger_than_a_node_holds_is_refused(tmp_path):
    far = Volume(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.diag([900.0, 900.0, 900.0, 1.0]), "HU")
    with pytest.raises(UnsupportedVolume):
        prepared(far, plan_of(parts_of(tmp_path, pixdim=(0.1, 0.1, 0.1))))


def test_a_network_for_the_whole_grid_takes_only_its_own_size(tmp_path):
    plan = plan_of(parts_of(tmp_path, change={"inferer": {"_target_": "SimpleInferer"}}))
    run = ZooRun(
        plan,
        lambda inputs: np.concatenate([-inputs, inputs - 0.5], axis=1),
        Wanted("HU", ("spleen",)),
        (1, 1, 36, 40, 20),
    )
    assert run.run(abdomen(), lambda *_: None).labels.array.any()
    with pytest.raises(UnsupportedVolume):
        run.run(Volume(np.array(abdomen().array[1:]), abdomen().affine, "HU"), lambda *_: None)


def named(structures, channels, kind="threshold", metadata=None):
    bundle = SimpleNamespace(structures=[SimpleNamespace(key=key) for key in structures], metadata=metadata or {})
    return Wanted.of(bundle, SimpleNamespace(decision=SimpleNamespace(kind=kind)), channels)


def test_the_channels_are_those_that_are_named():
    assert named(["a", "b"], 3, "argmax").first_channel == 0
    assert named(["a", "b"], 2).first_channel == 1
    assert named(["a", "b"], 3).first_channel == 0
    for kind, channels in (("argmax", 2), ("argmax", 4), ("threshold", 1), ("threshold", 4)):
        with pytest.raises(BundleRefused):
            named(["a", "b"], channels, kind)
    with pytest.raises(BundleRefused):
        named([], 1, "argmax")


@pytest.mark.parametrize(
    ("row", "unit"),
    [
        ({"format": "hounsfield", "modality": "CT"}, "HU"),
        ({"format": "magnitude", "modality": "CT"}, "HU"),
        ({"format": "magnitude", "modality": "MR"}, "arbitrary"),
        ({}, ""),
    ],
)
def test_the_unit_follows_from_the_metadata(row, unit):
    metadata = {"network_data_format": {"inputs": {"image": row}}}
    assert named(["a"], 2, "argmax", metadata).unit == unit


def test_thresholds_number_from_the_first_channel_that_is_a_structure(tmp_path):
    after = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": True,
        },
    ]
    parts = parts_of(tmp_path, change={"postprocessing": {"_target_": "Compose", "transforms": after}})

    def network(inputs):
        return np.concatenate([0.5 - inputs, inputs - 0.5, inputs - 0.85], axis=1)

    def found(wanted):
        return ZooRun(plan_of(parts), network, wanted, (1, 1, 8, 8, 8)).run(abdomen(), lambda *_: None).labels.array

    assert np.array_equal(found(Wanted("HU", ("spleen", "left_kidney"), 0)), expected())
    assert np.array_equal(found(Wanted("HU", ("elsewhere", "spleen", "left_kidney"), 1)), expected() + 1)


def test_a_name_too_long_to_be_measured_is_not():
    labels = SimpleNamespace(keys=("k" * 57, "k" * 58, "absent"), counts=lambda: np.array([5, 2, 3, 0]))
    (measurement,) = volumes_ml(labels, 0.5)
    assert (measurement.value, measurement.mask) == (1.0, "k" * 57)
    assert math.isclose(measurement.value, 1.0)
