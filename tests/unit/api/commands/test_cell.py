from __future__ import annotations

from api.commands import cell
from bithive.cli import COMMANDS, main


def test_its_commands(capsys):
    assert COMMANDS["cell"][0] == cell.__name__
    assert main(["cell", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("init", "invite", "top"))


def test_a_network_without_an_address_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path / "cell"))
    assert main(["cell", "init", "bithive-invite-1.x", "--network", "10.9.0.0/24"]) == 1
    assert "--network and --address" in capsys.readouterr().err
    assert main(["cell", "invite", "--address", "somewhere"]) == 1
    assert not (tmp_path / "cell").exists()
