from __future__ import annotations

from api.commands.models import card_rows
from bithive.cli import main
from models.catalog import Catalog


def test_without_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BITHIVE_MODELS__STORE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["models", "list"]) == 0
    assert "weights-absent" in capsys.readouterr().out
    assert main(["models", "verify"]) == 1
    assert "intracranial_t1" in capsys.readouterr().out
    assert main(["models", "pull", "no_such"]) == 1
    assert "bundle-absent" in capsys.readouterr().err


def test_the_card_says_what_it_is_for(tmp_path):
    rows = dict(card_rows(Catalog(tmp_path).bundle("intracranial_t1")))
    assert all(rows[name] for name in ("intended use", "population", "eval metrics", "license", "sha256"))
