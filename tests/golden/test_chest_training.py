"""The training script of the chest networks: equal seeds give equal networks, and a short run already learns."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.heavy]


def trained(shared, folder, script, *arguments):
    images = shared / "data" / "chest-xray" / "pneumoniamnist-train-val.npz"
    command = [sys.executable, "-m", f"training.chest_pneumonia.{script}", images, "--out", folder, *arguments]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return json.loads((folder / {"train": "figures.json", "gate": "film.json"}[script]).read_text())


def test_the_score_is_learnt_again(shared, tmp_path):
    short = ("--epochs", "3", "--members", "1")
    first, again = (trained(shared, tmp_path / name, "train", *short) for name in ("first", "again"))
    assert first == again
    assert first["validation_auc"] > 0.9
    other = trained(shared, tmp_path / "other", "train", *short, "--seed", "8")
    assert other["sha256"] != first["sha256"]


def test_the_gate_is_learnt_again(shared, tmp_path):
    first, again = (trained(shared, tmp_path / name, "gate", "--steps", "60") for name in ("first", "again"))
    assert first == again
    assert first["made_refused"]["noise"] > 0.9
