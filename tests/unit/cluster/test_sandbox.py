"""What a process gives up: confined for real in processes of their own, as root and as somebody without privileges."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import SandboxAbsent
from cluster.sandbox import Bounds, Confinement, confine
from tests.common.tree import ROOT

WHOLE = {"seccomp": True, "landlock": 7, "network": True, "scratch": True, "unprivileged": True}

CONFINED = """
import ctypes, json, os, resource, sys
from pathlib import Path
if "nobody" in sys.argv:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as after the program is executed
from cluster import sandbox
from cluster.sandbox import Bounds, confine
if "powerless" in sys.argv:
    sandbox._without_capabilities(ctypes.CDLL(None))
held = confine(Bounds((sys.argv[1],), 3 << 30, 7, False, int(sys.argv[2]) or os.getppid()))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({
    "held": held.to_json(),
    "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh")],
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "limits": [resource.getrlimit(item) for item in (resource.RLIMIT_CORE, resource.RLIMIT_DATA)],
    "interfaces": [line.split(":")[0].strip() for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]],
    "scratch": Path("/dev/shm/x").write_text("x") if held.scratch else 0,
    "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
}))
"""


def confined(
    folder: Path, *more: str, parent: int = 0, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    command = [python, "-c", CONFINED, str(folder), str(parent), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})


def check(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert found["held"]["seccomp"] is True
    assert found["held"]["unprivileged"] is True
    assert set(found["capabilities"]) == {"0000000000000000"}
    assert found["limits"] == [[0, 0], [3 << 30, 3 << 30]]
    assert found["nice"] == 7
    assert found["oom"] == "500"
    assert not Path("/dev/shm/x").exists(), "its scratch is its own"
    return found


def test_everything_is_given_up(tmp_path: Path) -> None:
    found = check(confined(tmp_path))
    if found["held"]["network"]:
        assert set(found["interfaces"]) <= {"lo"}


def test_without_capabilities_as_much_is_given_up(tmp_path: Path) -> None:
    """But for the scratch where it is root without them: Linux maps that user into no namespace."""
    found = check(confined(tmp_path, "powerless"))
    assert found["held"]["landlock"] >= 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_nobody_gives_up_as_much(tmp_path: Path) -> None:
    """By the system's own Python where ours lies in a folder that is closed to others: nothing but ours is imported.

    Where both are closed there is nothing that nobody could start.
    """
    pythons = [path for path in (sys.executable, "/usr/bin/python3.11", "/usr/bin/python3.12") if _open(Path(path))]
    if not pythons or not _open(ROOT / "cluster" / "sandbox.py"):
        return
    check(confined(tmp_path, "nobody", python=pythons[0]))


def _open(path: Path) -> bool:
    real = path.resolve()
    return real.exists() and all(part.stat().st_mode & 0o005 for part in (real, *real.parents))


def test_an_orphan_does_not_begin(tmp_path: Path) -> None:
    ended = confined(tmp_path, parent=1 << 22)
    assert "the parent has gone" in ended.stderr


def test_what_holds_is_said_and_read_again() -> None:
    assert Confinement.from_json(Confinement(**WHOLE).to_json()) == Confinement(**WHOLE)
    assert Confinement(**WHOLE).weak == ()
    assert Confinement(True, 0, False, False, True).weak == ("landlock", "network", "scratch")


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {**WHOLE, "seccomp": False},
        {**WHOLE, "seccomp": 1},
        {**WHOLE, "landlock": "7"},
        {**WHOLE, "more": True},
        {name: value for name, value in WHOLE.items() if name != "network"},
    ],
    ids=str,
)
def test_whatever_else_is_said_is_no_confinement(said: Any) -> None:
    with pytest.raises(SandboxAbsent):
        Confinement.from_json(said)


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxAbsent, match="Linux"):
        confine(Bounds((), 0, 0, False, 1))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY, "nothing was given up here"
