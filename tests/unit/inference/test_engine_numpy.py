from pathlib import Path

import pytest

from inference.engine import NetworkFile
from inference.engine_numpy import NumpyEngine
from inference.errors import BundleRefused


def test_the_engine_of_rules_runs_no_network():
    engine = NumpyEngine(2)
    assert (engine.name, engine.precision, engine.device, engine.threads) == ("numpy", "f64", "cpu", 2)
    assert NumpyEngine().threads >= 1
    with pytest.raises(BundleRefused):
        engine.network(NetworkFile(Path("x.onnx"), "onnx"), (1, 1, 2, 2, 2))
