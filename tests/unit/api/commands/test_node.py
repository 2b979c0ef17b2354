from __future__ import annotations

from api.commands import node
from bithive.cli import COMMANDS, main


def test_it_needs_a_hub_that_is_reached_safely(tmp_path, monkeypatch, capsys):
    assert COMMANDS["node"][0] == node.__name__
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path))
    assert main(["node", "run"]) == 2
    monkeypatch.setenv("BITHIVE_CELL__TOKEN", "t")
    monkeypatch.setenv("BITHIVE_CELL__HUB_URL", "http://hub.example")
    assert main(["node", "run"]) == 2
    assert "tls-absent" in capsys.readouterr().err
