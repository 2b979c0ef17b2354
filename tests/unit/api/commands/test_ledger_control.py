"""Officers, policies, keys and months from the command line, from the first day on."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from api.commands import ledger_control
from api.commands.ledger import app
from economy import policies


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, code=0):
        ended = CliRunner().invoke(app, arguments)
        shown = ended.output if ended.exception is None else f"{ended.output}{ended.exception}"
        assert ended.exit_code == code, shown
        return shown

    return invoke


def officer(run, name):
    """In office at once: there are fewer than two."""
    public_key = run("control", "officer-key", f"{name}.key").strip()
    run("control", "draft", "officer", public_key, "--to", f"{name}.json")
    return public_key


def test_from_the_first_officer_to_a_policy_that_two_approve(run, tmp_path):
    run("seal")
    anna, bela = (officer(run, name) for name in ("anna", "bela"))
    assert anna != bela
    assert "one person decides alone" in run("officers")
    for name in ("anna", "bela"):
        assert "entry" in run("control", "submit", f"{name}.json")
    assert "recorded before" in run("control", "submit", "bela.json")
    assert "two officers decide" in run("officers")

    card = next(item for item in policies.load() if item.kind == "rate-card")
    content = {"kind": "rate-card", "version": 2, "effective_from_ms": 5, "content": json.loads(card.content)}
    (tmp_path / "rate_card.json").write_text(json.dumps(content))
    run("control", "draft", "policy", "rate_card.json", "--to", "draft.json")
    assert "not-approved" in run("control", "submit", "draft.json", code=1)
    assert "1 of 2" in run("control", "approve", "draft.json", "--key", "anna.key", "--yes")
    assert "already" in run("control", "approve", "draft.json", "--key", "anna.key", "--yes", code=1)
    assert "not-approved" in run("control", "submit", "draft.json", code=1)
    run("control", "approve", "draft.json", "--key", "bela.key", "--yes")
    assert bela in run("control", "show", "draft.json")
    assert "entry" in run("control", "submit", "draft.json")
    assert "nothing waits" in run("control", "waiting")
    checked = run("check")
    assert "0 findings" in checked
    assert "notice: single-control" in checked

    run("control", "draft", "revoke", anna, "--to", "revoke.json")
    for name in ("anna", "bela"):
        run("control", "approve", "revoke.json", "--key", f"{name}.key", "--yes")
    assert "officers-too-few" in run("control", "submit", "revoke.json", code=1)
    assert "withdrawn" in run("control", "withdraw", "revoke.json")
    assert "entry-differs" in run("control", "submit", "revoke.json", code=1)


def test_an_officer_says_no_and_needs_a_key(run):
    run("seal")
    anna = officer(run, "anna")
    run("control", "draft", "seal-key", anna, "--to", "draft.json")
    run("control", "approve", "draft.json", "--key", "anna.key", code=1)
    assert "officer-key" in run("control", "approve", "draft.json", "--key", "absent.key", code=2)
    other = ("--ledger", "bithive.ledger/00000000000000000000")
    assert "draft-elsewhere" in run("control", "approve", "draft.json", "--key", "anna.key", *other, code=1)
    assert "bad-policy" in run("control", "draft", "released", "rate-card", "99", code=1)
    assert '"format": "bithive-draft-1"' in run("control", "draft", "released", "rate-card", "1")


def test_the_books_by_the_month(run):
    run("seal")
    assert "digest" in run("trial-balance")
    assert run("trial-balance", "--csv").startswith("asset,code,debit pending")
    assert "entry-unknown" in run("trial-balance", "--at", "99999", code=1)
    assert "entry 0" in run("trial-balance", "--at-ms", "5")
    assert "period-running" in run("close-period", "9998-12", code=1)
    assert "bad-period" in run("close-period", "9999-12", code=1)
    assert "bad-period" in run("close-period", "soon", code=1)
    assert "2020-01 is closed" in run("close-period", "2020-01")
    for name in ("anna", "bela"):
        officer(run, name)
        run("control", "submit", f"{name}.json")
    run("close-period", "2020-02", "--to", "close.json")
    for name in ("anna", "bela"):
        run("control", "approve", "close.json", "--key", f"{name}.key", "--yes")
    run("control", "submit", "close.json")
    assert "declaration-differs" in run("close-period", "2020-02", code=1)
    assert "0 findings" in run("check")
    run("seal")
    assert "0 entries" in run("check", "--since", "2")
    assert "seal-unknown" in run("check", "--since", "9", code=1)


def test_the_commands_are_part_of_the_ledgers(run):
    assert ledger_control.control in [group.typer_instance for group in app.registered_groups]
