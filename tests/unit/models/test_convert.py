import json
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from models import convert as converting
from models.convert import convert
from models.errors import ConversionFailed

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.steps": torch.tensor(3),
    "b": torch.ones(4, dtype=torch.float16),
}


def test_tensors_come_out_as_they_went_in(tmp_path):
    state = {**STATE, "tied": STATE["a.weight"].t()}
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, tmp_path / "m.pt")
    done = convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    found = safetensors.torch.load_file(tmp_path / "m.safetensors")
    assert done.tensors == len(found) == 4
    assert all(torch.equal(found[name], value) for name, value in state.items())
    tried = (
        subprocess.run(["unshare", "--net", "--map-root-user", "true"], capture_output=True)
        if shutil.which("unshare")
        else None
    )
    assert done.offline == (tried is not None and tried.returncode == 0)


def test_anything_but_tensors_is_refused_and_leaves_nothing(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "m.pt")
    with pytest.raises(ConversionFailed) as failed:
        convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    assert failed.value.code == "conversion-failed"
    assert not (tmp_path / "m.safetensors").exists()


def test_the_tensors_of_a_checkpoint_are_found():
    assert set(converting._tensors({"state_dict": STATE, "rate": 1})) == set(STATE)
    assert set(converting._tensors(STATE)) == set(STATE)
    for wrong in (
        {},
        [],
        {"a": 1},
        {1: torch.ones(1)},
        {"a": torch.ones(1).to_sparse()},
        {"a": torch.ones(1, dtype=torch.complex64)},
    ):
        with pytest.raises(SystemExit):
            converting._tensors(wrong)


def test_the_child_is_limited_and_knows_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BITHIVE_SECRET", "s" * 40)
    program = (
        "import json, os, resource, socket\n"
        "from models.convert import _limit\n"
        "_limit(1000)\n"
        "kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)\n"
        "print(json.dumps([[resource.getrlimit(kind) for kind in kinds]]))\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=converting._ROOT)
    limits = json.loads(shown.stdout)[0]
    assert all(soft == hard and hard >= 0 for soft, hard in limits), shown.stderr
    assert limits[3] == [0, 0]
