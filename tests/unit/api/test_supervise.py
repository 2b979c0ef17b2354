from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from api.startup import ROOT
from api.supervise import MARK, Supervisor, cell_environment, end_leftovers, mark_of
from bithive.clock import SystemClock
from bithive.settings import Mode, load

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def settings(tmp_path):
    return load(mode=Mode.DEMO, state=tmp_path / "state", secret="s" * 40)


def _until(clock, condition, timeout_s=10.0):
    end = clock.monotonic_s() + timeout_s
    while not condition():
        assert clock.monotonic_s() < end, "it did not happen"
        os.sched_yield()


def test_the_cell_is_told_no_secret_of_the_hub(settings, monkeypatch):
    monkeypatch.setenv("BITHIVE_SECRET", "s" * 40)
    told = cell_environment(settings, "http://127.0.0.1:1", "its-token")
    assert "s" * 40 not in json.dumps(told)
    assert told["BITHIVE_CELL__TOKEN"] == "its-token"
    assert told["RAY_AUTH_MODE"] == "token"
    assert len(told["RAY_AUTH_TOKEN"]) == 64
    assert told["BITHIVE_STATE"].endswith("state/cell")
    again = cell_environment(settings, "http://127.0.0.1:1", "its-token")
    assert again["RAY_AUTH_TOKEN"] != told["RAY_AUTH_TOKEN"]


def test_what_the_cell_is_told_is_a_setting_each(settings):
    told = cell_environment(settings, "http://127.0.0.1:1", "its-token")
    ask = "from bithive.settings import load; s = load(); print(s.cell.hub_url, s.model_mirrors)"
    done = subprocess.run([sys.executable, "-c", ask], env=told, capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip() == "http://127.0.0.1:1 ()"


def test_it_is_started_again_when_it_dies_and_ended_with_its_children(settings):
    clock = SystemClock()
    nest = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); time.sleep(600)"
    supervisor = Supervisor(settings, "http://127.0.0.1:1", "t", clock, (sys.executable, "-c", nest))
    supervisor.start()
    _until(clock, lambda: supervisor.pid and psutil.Process(supervisor.pid).children())
    first = supervisor.pid
    orphan = psutil.Process(first).children()[0]
    os.kill(first, signal.SIGKILL)
    _until(clock, lambda: supervisor.pid not in {None, first})
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    second = supervisor.pid
    supervisor.stop()
    assert supervisor.restarts == 1
    assert not psutil.pid_exists(second)
    assert end_leftovers(mark_of(settings)) == 0


def test_only_leftovers_of_the_same_state_folder_are_ended(settings, tmp_path):
    theirs = subprocess.Popen(SLEEPER, env={**os.environ, MARK: str(tmp_path / "other")})
    ours = subprocess.Popen(SLEEPER, env={**os.environ, MARK: mark_of(settings)}, start_new_session=True)
    try:
        assert end_leftovers(mark_of(settings)) == 1
        assert ours.wait(5) is not None
        assert theirs.poll() is None
    finally:
        theirs.kill()
        theirs.wait()


def test_it_does_not_outlive_a_killed_parent(tmp_path):
    program = textwrap.dedent(f"""
        import os, subprocess, sys, time
        child = "import os, sys; sys.path.insert(0, {str(ROOT)!r}); from api.supervise import die_with; " \\
            "die_with(int(sys.argv[1])); print(os.getpid(), flush=True); import time; time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", child, str(os.getpid())])
        time.sleep(600)
    """)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_parent_that_is_gone_already():
    ask = "from api.supervise import die_with; die_with(1 << 22)"
    assert subprocess.run([sys.executable, "-c", ask], cwd=ROOT).returncode == 1
