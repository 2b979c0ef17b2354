"""A wall that is raised by a process of its own, as root and as nobody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.common.hub import ROOT

_RAISE = """
import ctypes, encodings.ascii, encodings.idna, json, os, socket, sys
from pathlib import Path
from cluster.wall import WallSpec, check_wall
from cluster.wall_linux import raise_wall
spec, port, user = WallSpec.from_json(json.loads(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
if user:
    os.setgroups([]); os.setgid(user); os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as after an exec: one's own /proc is one's own
raise_wall(spec)
found = check_wall(spec)
assert found.interfaces == ("lo",), found
assert not found.listeners, found
assert (os.getuid(), os.geteuid()) == (user or os.getuid(),) * 2, "who one is stays the same"
with socket.create_server(("0.0.0.0", 0)) as inside:
    socket.create_connection(("127.0.0.1", inside.getsockname()[1]), 2).close()
try:
    socket.create_connection(("127.0.0.1", port), 2)
except OSError:
    print("walled")
"""


def raised(
    spec: str = '{"kind": "private", "name": "", "network": "", "address": ""}', user: int = 0
) -> tuple[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        command = [sys.executable, "-c", _RAISE, spec, str(outside.getsockname()[1]), str(user)]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    return ran.stdout, ran.stderr


def test_outside_is_out_of_reach() -> None:
    assert raised() == ("walled\n", "")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_it_needs_no_privilege() -> None:
    assert raised(user=65534) == ("walled\n", "")


def test_a_named_namespace_that_is_gone_is_told() -> None:
    spec = '{"kind": "namespace", "name": "bithive-none", "network": "10.9.0.0/24", "address": "10.9.0.1"}'
    out, error = raised(spec)
    assert out == ""
    assert "wall-absent: the namespace bithive-none is gone" in error
