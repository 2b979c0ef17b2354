from __future__ import annotations

from api.commands import migrate
from api.startup import lock_state
from bithive.cli import COMMANDS, main


def test_all_databases_and_not_beside_a_hub(tmp_path, monkeypatch, capsys):
    assert COMMANDS["migrate"][0] == migrate.__name__
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path))
    for _ in range(2):
        assert main(["migrate"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{name}: up to date" for name in ("accounts", "clinic", "network", "ledger")
        ]
    with lock_state(tmp_path):
        assert main(["migrate"]) == 2
    assert "state-busy" in capsys.readouterr().err
