from __future__ import annotations

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from api.commands.ledger import app, economy
from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from bithive.settings import load
from tests.common.economy import Network


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path))

    def invoke(*arguments):
        return CliRunner().invoke(app, arguments)

    return invoke


@pytest.fixture
def offer(run):
    network = Network(ManualClock())
    made = SeededIds(9, ManualClock()).new("off")
    with economy(load()) as opened:
        opened.booking.take(network.opened(made))
        opened.booking.take(network.accepted(made))
    return made


def test_a_study_from_charge_to_reward(run, offer):
    statement = run("statement", offer).output
    assert "settled" in statement
    assert "0.1676 EUR" in statement
    assert "accrued, epoch 1" in statement
    closed = run("close-epoch")
    assert closed.exit_code == 0
    assert "epoch 1" in closed.output
    assert "1 nodes for 1\u202f460.00 RU" in closed.output
    assert "held, epoch 1" in run("statement", offer).output
    assert "nothing is recorded since" in run("seal").output
    assert "clearing" in run("balances").output
    checked = run("check")
    assert checked.exit_code == 0
    assert "1 seals: 0 findings" in checked.output


def test_check_fails_on_a_spoiled_ledger(run, offer, tmp_path):
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    with database.write() as connection:
        connection.execute(text("UPDATE account SET credit_posted = credit_posted + 1 WHERE code = 'revenue'"))
    database.close()
    checked = run("check")
    assert checked.exit_code == 1
    assert "balance-mismatch" in checked.output


def test_export(run, offer, tmp_path):
    assert run("export", "transfers").output.startswith("seq,leg,phase")
    assert run("export", "beancount", "--to", str(tmp_path / "x.beancount")).exit_code == 0
    assert "balance Liabilities" in (tmp_path / "x.beancount").read_text()
    assert run("export", "xml").exit_code == 2


def test_seal_and_an_empty_ledger(run):
    assert run("check").output.startswith("0 entries")
    assert "seal 1" in run("seal").output
    assert "none" in run("statement", "off_" + "0" * 26).output
