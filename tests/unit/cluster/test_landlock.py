"""Files that a process may open, by the kernel's rules; tried in a process of its own, since they hold for good."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import landlock
from tests.common.tree import ROOT

TRY = """
import json, os, socket, sys
from pathlib import Path
from cluster import landlock
folder = Path(sys.argv[1])
rules = [(folder / "read", landlock.READ), (folder / "write", landlock.WRITE), (folder / "absent", landlock.WRITE),
         (folder / "one.txt", landlock.READ), (Path("/dev/null"), landlock.DEVICE)]
server = socket.create_server(("127.0.0.1", 0))
held = landlock.restrict(rules)
def tried(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True
print(json.dumps({
    "held": held,
    "read": tried((folder / "read" / "in").read_bytes),
    "list": tried(lambda: os.listdir(folder / "read")),
    "write_read": tried(lambda: (folder / "read" / "new").write_bytes(b"x")),
    "overwrite": tried(lambda: (folder / "read" / "in").write_bytes(b"x")),
    "truncate": tried(lambda: os.truncate(folder / "read" / "in", 0)),
    "write": tried(lambda: (folder / "write" / "new").write_bytes(b"x")),
    "folder": tried(lambda: (folder / "write" / "sub").mkdir()),
    "move_out": tried(lambda: os.rename(folder / "write" / "new", folder / "new")),
    "move": tried(lambda: os.rename(folder / "write" / "new", folder / "write" / "newer")),
    "one": tried((folder / "one.txt").read_bytes),
    "other": tried((folder / "two.txt").read_bytes),
    "link": tried((folder / "read" / "link").read_bytes),
    "parent": tried(lambda: os.listdir(folder)),
    "null": tried(lambda: Path("/dev/null").write_bytes(b"x")),
    "connect": tried(lambda: socket.create_connection(server.getsockname(), 1)),
}))
"""


@pytest.mark.skipif(landlock.version() < 4, reason="this kernel has no such rules")
def test_only_what_is_listed_can_be_opened(tmp_path: Path) -> None:
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
    (tmp_path / "read" / "in").write_bytes(b"in")
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "read" / "link").symlink_to(tmp_path / "two.txt")
    ended = subprocess.run([sys.executable, "-c", TRY, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found.pop("held") == landlock.version()
    allowed = {"read", "list", "write", "folder", "move", "one", "null"}
    assert {name for name, can in found.items() if can} == allowed


def test_links_are_followed_before_they_are_rules(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert landlock.readable([tmp_path / "link"]) == [((tmp_path / "real").resolve(), landlock.READ)]
