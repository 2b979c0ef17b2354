from __future__ import annotations

from api.commands import ledger, ledger_move
from api.startup import lock_state
from bithive.cli import main
from bithive.database_sql import Database
from economy.store_sql import SqlStore
from tests.common.economy import House


def test_it_moves_tells_where_to_and_not_beside_a_hub(tmp_path, monkeypatch, capsys):
    assert ledger_move.move in [command.callback for command in ledger.app.registered_commands]
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path))
    house = House(SqlStore(Database(f"sqlite:///{tmp_path}/ledger.db")))
    house.fund(0, 5)
    house.ledger.close()
    target = f"sqlite:///{tmp_path}/new.db"
    with lock_state(tmp_path):
        assert main(["ledger", "move", "--to", target]) == 2
    assert not (tmp_path / "new.db").exists()
    capsys.readouterr()
    assert main(["ledger", "move", "--to", target]) == 0
    said = capsys.readouterr().out
    assert "moved: 2 entries, 1 transfers, 0 seals, 0 findings" in said
    assert "BITHIVE_NETWORK__LEDGER_DATABASE_URL" in said
    assert main(["ledger", "move", "--to", target]) == 0
    assert "was there already" in capsys.readouterr().out
    assert main(["ledger", "move", "--to", f"sqlite:///{tmp_path}/third.db"]) == 1
    assert "ledger-moved" in capsys.readouterr().err
    back = f"sqlite:///{tmp_path}/back.db"
    assert main(["ledger", "move", "--from", target, "--to", back]) == 0
