"""The command itself runs in tests/e2e/test_demo.py."""

from __future__ import annotations

import socket

from rich.console import Console

from api.commands.demo import _free_port, _state_folder


def test_a_folder_of_its_own_goes_and_a_given_one_stays(tmp_path):
    console = Console(quiet=True)
    with _state_folder(None, console) as folder:
        (folder / "x").write_text("x")
    assert not folder.exists()
    with _state_folder(tmp_path / "state", console) as folder:
        folder.mkdir()
    assert folder.exists()


def test_a_port_that_is_free():
    first = _free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert _free_port() != first
