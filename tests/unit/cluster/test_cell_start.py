"""What comes before a cell: the program begins anew with what Ray must find, keeps its dialler, and hears signals."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from bithive.settings import Settings
from cluster.cell_start import dialler_of, ray_folder
from cluster.profile import Profile
from tests.common.hub import ROOT

_AGAIN = """
import json, os, sys
from bithive.settings import load
from cluster import cell_start
from cluster.profile import Profile
settings = load()
profile = Profile.of(settings)
dialler = cell_start.dialler_of(profile)
first = not os.getenv("HIVE_WALLED")
cell_start.enter_wall(settings, profile)
host, port = next(iter(dialler.places))
dialler.connect(host, port, 5).close()
print(json.dumps([first, dialler.pid, dialler.alive, os.stat("/proc/self/ns/net").st_ino]), flush=True)
if first:
    cell_start.again(dialler)
pid = dialler.pid
dialler.close()
assert not os.path.exists(f"/proc/{pid}")
"""

_PREPARE = """
import os
from bithive.settings import load
from cluster import cell_start
from cluster.profile import Profile
settings = load()
print("told", os.getpid(), os.getenv("RAY_AUTH_TOKEN", "")[:4], os.getenv("RAY_AUTH_MODE"), flush=True)
cell_start.prepare(settings, Profile.of(settings))
"""


def ran(program: str, state: Path, **more: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BITHIVE_", "RAY_", "HIVE_"))}
    told = {"BITHIVE_STATE": str(state), "BITHIVE_MODE": "demo", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | told | more,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_cell_that_begins_again_keeps_its_wall_and_its_dialler(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hub:
        url = f"http://127.0.0.1:{hub.getsockname()[1]}"
        lines = ran(_AGAIN, tmp_path, BITHIVE_CELL__HUB_URL=url)
    first, second = (json.loads(line) for line in lines if line.startswith("["))
    assert (first[0], second[0]) == (True, False)
    assert first[1:] == second[1:], "the same dialler, alive, and the same namespace"


def test_the_program_begins_anew_once_with_a_token_of_its_own(tmp_path: Path) -> None:
    lines = ran(_PREPARE, tmp_path, HIVE_FETCHED="1")  # what is fetched is `cluster.loading`'s own affair
    before, after = (line.split(" ")[1:] for line in lines if line.startswith("told"))
    assert before[0] == after[0], "the same process"
    assert before[1:] == ["", "None"]
    assert (len(after[1]), after[2]) == (4, "token")


_HEARD = """
import os, signal
from cluster.cell_start import hear, told_to_end
before = signal.getsignal(signal.SIGTERM)
with told_to_end() as ended:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hear(ended)
    os.kill(os.getpid(), signal.SIGTERM)
    assert ended.wait(5)
assert signal.getsignal(signal.SIGTERM) is before
print("heard")
"""


def test_signals_are_heard_again_after_somebody_took_them() -> None:
    ended = subprocess.run([sys.executable, "-c", _HEARD], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "heard\n", ended.stderr


def test_a_dialler_knows_the_hub_alone(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, cell={"hub_url": "https://hub.example:8443/x"})  # type: ignore[arg-type]
    dialler = dialler_of(Profile.of(settings))
    assert dialler.places == {("hub.example", 8443)}
    dialler.close()


def test_rays_folder_is_short_and_of_this_state(tmp_path: Path) -> None:
    one, other = (ray_folder(Settings(state=tmp_path / name)) for name in ("a", "b"))
    assert one != other
    assert len(str(one)) < 50
