import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bithive.errors import TwoRuntimes
from inference import engine
from inference.engine import Candidate, CheckedNetwork, NetworkFile, candidates, choose, make, threads_of
from inference.errors import BundleRefused, EngineAbsent, EngineFault
from tests.common.networks import SHAPE, noise, small_bundle, small_network, written

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("torch", "onnxruntime", "openvino")
RUNS = [(name, kind) for name in NAMES for kind in ("torchscript", "safetensors", "onnx")]
RUNS.remove(("torch", "onnx"))

WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "monai"):
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {kind: written(folder, kind) for kind in ("torchscript", "safetensors", "onnx")}


@pytest.fixture(scope="module")
def expected():
    import torch

    with torch.inference_mode():
        return small_network()(torch.from_numpy(noise())).numpy()


@pytest.mark.parametrize(("name", "kind"), RUNS)
def test_each_engine_computes_the_same_from_each_format(files, expected, name, kind):
    runner = make(Candidate(name, "cpu"), 1)
    network = runner.network(files[kind], SHAPE)
    answer = network(noise()).copy()
    assert answer.dtype == np.float32 and answer.shape == expected.shape
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    assert not np.array_equal(network(noise(2)), answer)
    assert network(noise()).tobytes() == answer.tobytes(), "the same bits twice"
    again = make(Candidate(name, "cpu"), 1).network(files[kind], SHAPE)
    assert again(noise()).tobytes() == answer.tobytes(), "and when it is loaded anew"


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_says_how_it_computes(name):
    runner = make(Candidate(name, "cpu"), 1)
    assert (runner.name, runner.device, runner.precision, runner.threads) == (name, "cpu", "f32", 1)
    assert (runner.deterministic, runner.tf32, runner.bf16) == (True, False, False)
    assert runner.version[0].isdigit()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "inputs",
    [noise(shape=(1, 1, 16, 16, 8)), noise(shape=(2, 1, 16, 16, 16)), noise()[0], noise().astype(np.float64)],
    ids=["smaller", "two at once", "no batch", "double"],
)
def test_another_shape_is_a_fault(files, name, inputs):
    network = make(Candidate(name, "cpu"), 1).network(files["torchscript"], SHAPE)
    with pytest.raises(EngineFault):
        network(inputs)


@pytest.mark.parametrize("name", NAMES)
def test_an_array_that_is_not_contiguous_is_taken(files, name):
    network = make(Candidate(name, "cpu"), 1).network(files["torchscript"], SHAPE)
    turned = noise().transpose(0, 1, 4, 3, 2)
    assert np.array_equal(network(turned).copy(), network(np.ascontiguousarray(turned)))


def test_what_a_library_raises_is_a_fault_without_its_words():
    def fail(_inputs):
        raise ValueError("something of a patient's")

    with pytest.raises(EngineFault) as fault:
        CheckedNetwork(fail, (1,), (ValueError,))(np.zeros(1, np.float32))
    assert "patient" not in str(fault.value)
    assert fault.value.context == {"exc_type": "ValueError"}
    with pytest.raises(EngineFault):
        CheckedNetwork(lambda inputs: inputs[0], (1, 2), ())(np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.ts", "torchscript"),
        ("models/model.pt", "torchscript"),
        ("a.onnx", "onnx"),
        ("b.safetensors", "safetensors"),
    ],
)
def test_the_suffix_tells_the_format(name, kind):
    assert NetworkFile.of(name, Path("x")).format == kind


@pytest.mark.parametrize("name", ["model.pth", "model", "model.pkl", "model.onnx.zip"])
def test_another_suffix_is_refused(name):
    with pytest.raises(BundleRefused):
        NetworkFile.of(name, Path("x"))


def test_candidates_keep_the_order_of_the_bundle():
    listed = ["openvino", "torch", "nobody_wrote_this", "onnxruntime"]
    assert [found.name for found in candidates(listed, {"torchscript"}) if found.device == "cpu"] == [
        "openvino",
        "torch",
        "onnxruntime",
    ]
    assert {found.name for found in candidates(listed, {"onnx"})} == {"openvino", "onnxruntime"}


def test_what_only_pytorch_reads_needs_pytorch(monkeypatch):
    monkeypatch.setattr(engine, "installed", lambda library: library != "torch")
    assert candidates(("torch", "openvino", "onnxruntime"), {"torchscript"}) == []
    assert candidates(("torch", "openvino"), {"onnx"}) == [Candidate("openvino", "cpu")]


def test_what_the_bundle_does_not_list_is_refused(tmp_path):
    bundle = small_bundle(tmp_path, {"torch": {"precision": "f32"}})
    with pytest.raises(BundleRefused):
        choose(bundle, {}, "openvino", 1)


def test_what_is_not_installed_is_absent(tmp_path, files):
    bundle = small_bundle(tmp_path, {"nobody_wrote_this": {"precision": "f32"}})
    with pytest.raises(EngineAbsent):
        choose(bundle, {"models/small": files["torchscript"]}, "auto", 1)


def test_a_library_that_is_found_and_does_not_import_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "inference.engine_openvino", None)
    with pytest.raises(EngineAbsent):
        make(Candidate("openvino", "cpu"), 1)


def test_two_builds_of_onnxruntime_are_refused(monkeypatch):
    monkeypatch.setattr(engine, "_distributed", lambda _name: True)
    with pytest.raises(TwoRuntimes):
        candidates(("torch", "onnxruntime"), {"onnx"})
    assert candidates(("torch",), {"torchscript"}) == [Candidate("torch", "cpu")]


def test_no_threads_means_all():
    assert threads_of(0) == len(os.sched_getaffinity(0))
    assert threads_of(3) == 3


def test_importing_the_port_imports_no_engine():
    ask = (
        "import sys, inference.engine, inference.calibration\n"
        "heavy = {'torch', 'monai', 'openvino', 'onnxruntime', 'onnx', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", ask], cwd=ROOT, check=True)


def test_a_node_without_pytorch_runs_onnx_on_both_other_engines(tmp_path, files):
    engines = {
        "openvino": {"precision": "f32", "parity": {"reference": "onnxruntime", "measure": "labels", "least": 0.999}},
        "onnxruntime": {"precision": "f32"},
    }
    small_bundle(tmp_path, engines)
    ask = f"""{WITHOUT_TORCH}
from pathlib import Path
import numpy as np
from inference.engine import NetworkFile, choose
from models.bundle import Bundle
bundle = Bundle.load(Path({str(tmp_path)!r}) / "small")
files = {{"models/small": NetworkFile(Path({str(files["onnx"].path)!r}), "onnx")}}
for wanted in ("onnxruntime", "openvino", "auto"):
    runner = choose(bundle, files, wanted, 1)
    network = runner.network(files["models/small"], {SHAPE})
    print(runner.name, float(network(np.ones({SHAPE}, np.float32)).sum()))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(("onnx", "openvino"))]
    assert [line[0] for line in lines][:2] == ["onnxruntime", "openvino"]
    assert len({round(float(line[1]), 2) for line in lines}) == 1


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_processor(files, expected):
    if not engine.gpu_present():
        pytest.skip("no GPU")
    for found in candidates(NAMES, {"torchscript"}):
        answer = make(found, 1).network(files["torchscript"], SHAPE)(noise())
        np.testing.assert_allclose(answer, expected, atol=1e-2)
