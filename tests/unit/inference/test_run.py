import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inference.errors import BundleRefused, EngineFault, UnsupportedVolume
from inference.findings import Mask, Measurement
from inference.run import LoadedBundle, OwnRun, load
from inference.torchscript import deprecation_accepted
from inference.volume import Volume
from models.bundle import Bundle
from models.catalog import BUNDLES

VOLUME = Volume(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4), "arbitrary")


ENGINE = SimpleNamespace(
    name="torch", version="1", precision="f32", device="cpu", threads=1, deterministic=True, tf32=False, bf16=False
)


class Step:
    def __init__(self, stage, act):
        self.stage, self.act = stage, act

    def __call__(self, item):
        return self.act(item)


def prepared(item):
    return {**item, "network_input": item["image"].array.astype(np.float32)}


def measured(item):
    mask = item["pred"][0, 0] > 500
    return {**item, "masks": (Mask("m", mask),), "measurements": (Measurement("v", float(mask.sum()), "mL", "m"),)}


def bundle(network=lambda inputs: inputs, pre=prepared, post=measured):
    before = [Step("preparing", pre), Step("locating", dict), Step("preparing", dict)]
    parts = {
        "preprocessing": SimpleNamespace(transforms=before),
        "inferer": lambda inputs, net: net(inputs),
        "network_def": network,
        "postprocessing": SimpleNamespace(transforms=[Step("measuring", post)]),
    }
    return LoadedBundle(ENGINE, OwnRun(parts), 1000)


def test_it_runs_and_tells_each_stage_once_in_order():
    told = []
    findings = bundle().run(VOLUME, lambda stage, fraction: told.append((stage, fraction)))
    assert findings.measurement("v").value == 499
    assert told == [("preparing", 0.0), ("locating", 0.1), ("segmenting", 0.3), ("measuring", 0.8), ("measuring", 1.0)]


def test_it_says_how_it_computes():
    loaded = bundle()
    assert (loaded.engine, loaded.engine_version, loaded.precision, loaded.device) == ("torch", "1", "f32", "cpu")
    assert (loaded.threads, loaded.deterministic, loaded.tf32, loaded.bf16) == (1, True, False, False)
    assert loaded.memory_bytes == 1000


def test_a_refusal_passes_and_a_failing_engine_is_a_fault():
    def refuse(_item):
        raise UnsupportedVolume

    def fail(_inputs):
        raise RuntimeError("out of everything")

    def starve(_inputs):
        raise MemoryError

    with pytest.raises(UnsupportedVolume):
        bundle(pre=refuse).run(VOLUME)
    for network in (fail, starve):
        with pytest.raises(EngineFault) as fault:
            bundle(network=network).run(VOLUME)
        assert "everything" not in fault.value.detail


def test_one_run_at_a_time():
    inside, most = [], []

    def network(inputs):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.02)
        inside.pop()
        return inputs

    loaded = bundle(network=network)
    threads = [threading.Thread(target=loaded.run, args=(VOLUME,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_network_that_is_not_declared_is_refused():
    with pytest.raises(BundleRefused):
        load(Bundle.load(BUNDLES / "intracranial_t1"), {}, "torch", 1)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_bundle_is_made_from_its_files_alone(tmp_path, engine):
    class Double(torch.nn.Module):
        def forward(self, inputs):
            return torch.cat([1 - inputs, inputs], dim=1)

    with deprecation_accepted():
        torch.jit.trace(Double(), torch.zeros(1, 1, 8, 8, 8)).save(str(tmp_path / "double.pt"))
    folder = tmp_path / "doubled" / "configs"
    folder.mkdir(parents=True)
    metadata = json.loads((BUNDLES / "intracranial_t1" / "configs" / "metadata.json").read_text())
    metadata["bithive"]["networks"] = {"models/double.pt": {"input_shape": [1, 1, 8, 8, 8]}}
    metadata["bithive"]["weights"][0]["file"] = "models/double.pt"
    del metadata["bithive"]["weights"][1]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    steps = [
        {"_target_": "inference.preprocess.Canonicald", "keys": "image"},
        {
            "_target_": "inference.preprocess.SampleGridd",
            "keys": "image",
            "into": "network_input",
            "spatial_size": [8, 8, 8],
        },
    ]
    after = [
        {"_target_": "inference.postprocess.CertaintyScored", "keys": "pred", "into": "clear", "channel": 1,
         "lower": 0.1, "threshold": 0.5, "upper": 0.9},
    ]  # fmt: skip
    config = {
        "network_def": {"_target_": "torch.jit.load", "f": "models/double.pt"},
        "inferer": {"_target_": "SimpleInferer"},
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "postprocessing": {"_target_": "Compose", "transforms": after},
    }
    (folder / "inference.json").write_text(json.dumps(config))
    loaded = load(Bundle.load(folder.parent), {"models/double.pt": tmp_path / "double.pt"}, engine, 1)
    assert (loaded.engine, loaded.device, loaded.threads, loaded.deterministic) == (engine, "cpu", 1, True)
    array = np.zeros((8, 8, 8), np.float32)
    array[0], array[1] = 0.95, 0.5
    findings = loaded.run(Volume(array, np.eye(4), "arbitrary"))
    assert findings.scores[0].value == 0.5
