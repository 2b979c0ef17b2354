"""How a bundle process is started: what it is told, and what it may have."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.bundle_start import Program, bounds, environment
from cluster.plan import Plan
from tests.common.tree import ROOT

PLAN = Plan("store", ("key",), (), (), "auto", 2, 4, 3 << 30, "/secret/node.key")
TOLD = {
    *("PATH", "LANG", "HOME", "TMPDIR", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONNOUSERSITE"),
    *("PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_CACHE_DISABLE"),
}


def test_its_environment_is_a_list_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BITHIVE_SECRET", "BITHIVE_CELL__TOKEN", "RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "what must not be known")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    told = environment(PLAN)
    assert set(told) == TOLD
    assert "what must not be known" not in told.values()
    assert told["OMP_NUM_THREADS"] == "2"
    assert told["CUDA_VISIBLE_DEVICES"] == ""
    assert environment(replace(PLAN, gpu="1"))["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cuda/lib64")
    assert environment(PLAN)["LD_LIBRARY_PATH"] == "/opt/cuda/lib64"


def test_it_may_read_code_and_weights_and_no_state(tmp_path: Path) -> None:
    found = bounds(replace(PLAN, store=str(tmp_path / "models")), Program(readable=("/more",)))
    assert str(tmp_path) not in found.readable
    assert str(tmp_path / "models") not in found.readable
    assert str(ROOT) not in found.readable
    assert str(tmp_path / "models" / "sha256") in found.readable
    assert "/more" in found.readable
    assert (tmp_path / "models" / "calibration").is_dir()


@pytest.mark.parametrize(
    ("changes", "expected"), [({}, (3 << 30) * 2 + (4 << 30)), ({"memory_bytes": 0}, 0), ({"gpu": "0"}, 0)], ids=str
)
def test_memory_is_bound_where_that_is_possible(tmp_path: Path, changes: dict[str, object], expected: int) -> None:
    assert bounds(replace(PLAN, store=str(tmp_path), **changes), Program()).memory_bytes == expected
