from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bithive.cli import main
from models.evaluations import is_record


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "160")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["no_such", "x.npz"], "bundle-absent"),
        (["fetal_planes", "absent.npz"], "bad-dataset"),
        (["lungs_ct", "set.npz"], "bad-dataset"),
        (["fetal_planes", "pictures"], "weights-absent"),
        (["fetal_planes", "pictures", "--split", "test"], "bad-dataset"),
    ],
)
def test_what_cannot_be_evaluated_ends_with_a_code(tmp_path, monkeypatch, capsys, arguments, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(tmp_path / "pictures" / "femur.png")
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.array([0, 1]))
    assert main(["models", "evaluate", *arguments]) == 1
    assert f"[{code}]" in capsys.readouterr().err


def test_an_unknown_split_is_not_understood():
    assert main(["models", "evaluate", "fetal_planes", "x", "--split", "holdout"]) == 2


def test_real_images_end_on_the_card(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BITHIVE_MODEL_MIRRORS", str(shared / "weights"))
    folder = shared / "data" / "us-fetal"
    assert main(["models", "card", "intracranial_t1"]) == 0
    assert "not evaluated here" in capsys.readouterr().out
    assert main(["models", "pull", "fetal_planes"]) == 0
    capsys.readouterr()
    out = tmp_path / "record.json"
    asked = ["models", "evaluate", "fetal_planes", str(folder), "--engine", "onnxruntime", "--json", "--out", str(out)]
    assert main(asked) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads(out.read_text())
    assert is_record(record)
    assert record["metrics"]["with_refused"]["accuracy"]["found"] == record["n"] == 7
    assert record["metrics"]["answered"]["accuracy"]["low"] < 0.65
    assert (
        tmp_path / "state" / "models" / "evaluations" / "fetal_planes" / f"{record['dataset']['sha256']}.json"
    ).exists()
    assert main(["models", "card", "fetal_planes"]) == 0
    assert "us-fetal, 7 cases" in capsys.readouterr().out
