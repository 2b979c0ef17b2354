"""A unit that systemd would take, written, started and taken away by a program that stands in for systemctl."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bithive.errors import BadSettings
from cluster.install_unit import Unit, install, is_available, remove
from tests.common.tree import ROOT

UNIT = Unit(
    "bithive-ab12cd34.service",
    Path("/var/lib/bithive"),
    Path("/opt/bithive/.venv/bin/python"),
    Path("/opt/bithive"),
    "bithive",
)


@pytest.fixture
def systemctl(tmp_path: Path) -> tuple[str, ...]:
    """Writes down what it is told; declines to enable when a file `declines` lies beside it."""
    program = tmp_path / "systemctl"
    program.write_text(
        '#!/bin/sh\necho "$@" >> "$(dirname "$0")/told"\n'
        '[ "$1" = enable ] && [ -e "$(dirname "$0")/declines" ] && echo "no such thing" >&2 && exit 5\nexit 0\n'
    )
    program.chmod(0o755)
    return (str(program),)


def test_installed_and_removed_nothing_is_left(tmp_path: Path, systemctl: tuple[str, ...]) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    path = install(UNIT, folder, systemctl)
    assert path.read_text() == UNIT.text() and path.stat().st_mode & 0o777 == 0o644
    assert remove(UNIT.name, folder, systemctl) and not remove(UNIT.name, folder, systemctl)
    assert list(folder.iterdir()) == []
    name = UNIT.name
    told = ["daemon-reload", f"enable --now {name}", f"disable --now {name}", "daemon-reload"]
    assert (tmp_path / "told").read_text().splitlines() == told


def test_what_systemd_declines_is_said(tmp_path: Path, systemctl: tuple[str, ...]) -> None:
    (tmp_path / "declines").touch()
    with pytest.raises(BadSettings, match="no such thing"):
        install(UNIT, tmp_path, systemctl)
    with pytest.raises(BadSettings, match="cannot be run"):
        install(UNIT, tmp_path, (str(tmp_path / "absent"),))


def test_bounds_stand_in_it_for_the_kernel_to_keep() -> None:
    bounded = Unit(UNIT.name, UNIT.state, UNIT.python, UNIT.root, "root", threads=3, memory_bytes=2**32)
    assert "CPUQuota=300%" in bounded.text() and f"MemoryHigh={2**32 + 2**31}" in bounded.text()
    assert "CPUQuota" not in UNIT.text() and "NoNewPrivileges=yes" in UNIT.text()
    assert "CAP_SYS_ADMIN" in bounded.text() and "CAP_SYS_ADMIN" not in UNIT.text()


def test_a_store_elsewhere_is_told_and_may_be_written() -> None:
    shared = Unit(UNIT.name, UNIT.state, UNIT.python, UNIT.root, "root", store=Path("/srv/models"))
    assert "BITHIVE_MODELS__STORE=/srv/models" in shared.text() and "=/var/lib/bithive /srv/models\n" in shared.text()


@pytest.mark.parametrize("path", ["/home/a b", "relative", "/a%h", "/a$b", '/a"b', "/a\nExecStart=/bin/sh"])
def test_a_path_that_would_be_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(BadSettings):
        Unit(UNIT.name, Path(path), UNIT.python, UNIT.root, "root").text()


def test_every_line_is_a_section_a_comment_or_a_setting() -> None:
    for line in UNIT.text().splitlines():
        assert re.fullmatch(r"|\[[A-Z][a-z]+\]|#.*|[A-Z][A-Za-z]+=.+", line), line


def test_the_example_in_packaging_is_what_is_written() -> None:
    assert (ROOT / "packaging" / "bithive-node.service").read_text() == UNIT.text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_understands_it(tmp_path: Path) -> None:
    here = Unit(UNIT.name, tmp_path, Path(shutil.which("python3") or "/usr/bin/python3"), ROOT, "root", 2, 2**32)
    (tmp_path / UNIT.name).write_text(here.text())
    ended = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / UNIT.name], capture_output=True, text=True, timeout=60
    )
    assert "Unknown" not in ended.stderr and "Failed to parse" not in ended.stderr, ended.stderr


def test_without_systemd_there_is_none(tmp_path: Path) -> None:
    assert not is_available(tmp_path / "absent")
