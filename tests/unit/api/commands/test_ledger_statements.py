from __future__ import annotations

import csv
import io

import pytest
from pypdf import PdfReader
from typer.testing import CliRunner

from api.commands.ledger import app, economy
from api.commands.ledger_statements import VERIFIER
from api.pages.verifier_page import verifier_html
from bithive.clock import ManualClock
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
def hub(run):
    """The party of the hub, which took its share of one charge."""
    network, made = Network(ManualClock()), SeededIds(9, ManualClock()).new("off")
    with economy(load()) as opened:
        opened.booking.take(network.opened(made))
        opened.booking.take(network.accepted(made))
        return opened.parties.of("hub")


def test_parties_are_listed_by_kind(run, hub):
    assert run("parties", "--kind", "hub").output.split() == ["hub", hub]
    kinds = {line.split()[0] for line in run("parties").output.splitlines()}
    assert kinds == {"institution", "operator", "node", "network", "hub", "protocol"}


def test_a_statement_is_written_as_csv_and_pdf(run, hub, tmp_path):
    shown = run("party-statement", hub).output
    rows = list(csv.reader(io.StringIO(shown, newline="")))
    assert ["party", hub] in rows
    assert [row[2] for row in rows if row[:1] == ["revenue"]] == ["opening", "line", "closing"]
    ended = run("party-statement", hub, "--to", str(tmp_path / "a.csv"), "--period", "1999")
    assert ended.exit_code == 0
    assert b"period,1999\r\n" in (tmp_path / "a.csv").read_bytes()
    assert run("party-statement", hub, "--form", "pdf", "--to", str(tmp_path / "a.pdf")).exit_code == 0
    assert hub in PdfReader(tmp_path / "a.pdf").pages[0].extract_text()


def test_what_cannot_be_written_is_said(run, hub):
    assert run("party-statement", hub, "--form", "pdf").exit_code == 2
    assert run("party-statement", hub, "--form", "odt").exit_code == 2
    assert run("party-statement", "pty_nobody").exception.code == "party-unknown"
    assert run("party-statement", hub, "--period", "soon").exception.code == "bad-period"


def test_the_verifier_needs_no_ledger(run, tmp_path):
    assert run("export", VERIFIER).output == verifier_html()
    assert run("export", VERIFIER, "--to", str(tmp_path / "verifier.html")).exit_code == 0
    assert (tmp_path / "verifier.html").read_bytes() == verifier_html().encode()
    assert not (tmp_path / "ledger.db").exists()
    assert run("export", "nothing").exit_code == 2
