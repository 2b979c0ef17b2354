"""Credentials in files: whole, for their owner alone, and no other file in their place."""

import os
import stat
from pathlib import Path

import pytest

from bithive.errors import BadSettings
from cluster.private_files import SIZE_BYTES_MAX, read_private, write_private


def test_written_whole_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "token"
    assert read_private(path) is None
    for content in (b"first", b"second and longer", b""):
        write_private(path, content)
        assert read_private(path) == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["token"]


def test_others_may_not_read_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    write_private(path, b"x")
    path.chmod(0o640)
    with pytest.raises(BadSettings):
        read_private(path)


def test_a_link_a_folder_a_pipe_or_a_flood_is_no_credential(tmp_path: Path) -> None:
    write_private(tmp_path / "real", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    write_private(tmp_path / "flood", b"x" * (SIZE_BYTES_MAX + 1))
    for name in ("link", "folder", "flood", "pipe"):
        if name == "pipe":
            assert read_private(tmp_path / name) == b"", "a pipe without a writer is empty and nobody waits"
            continue
        with pytest.raises((BadSettings, IsADirectoryError)):
            read_private(tmp_path / name)


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_private(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_text() == "precious" and read_private(tmp_path / "link") == b"new"
