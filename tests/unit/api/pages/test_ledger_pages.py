"""Statements, overview and list of parties as pages: who sees what, and what it says."""

from __future__ import annotations

import csv
import io
import re
import time
from dataclasses import replace

import pytest
from pypdf import PdfReader

from api.ledger_desk import CheckRun
from api.pages import ledger_overview, ledger_rewards, ledger_statement, ledger_verifier
from api.pages.ledger_seals import seal_lines
from api.pages.ledger_words import ACCOUNTS, KINDS, amount, brief, heading, party
from api.pages.verifier_page import verifier_html, verifier_policy
from economy.chart import CHART
from economy.entry import Account, Entry, move
from economy.money import EUR, WU
from economy.parties import KINDS as PARTY_KINDS
from economy.party_rewards import Standing
from economy.seal import make_seal
from economy.statement_period import Period
from tests.common.economy import Network

THEM = "ins_0000000000000000000000TH3M"


@pytest.fixture
def network(house):
    """Books as the network would, for the house's institution."""
    made = Network(house.clock)
    made.institution = house.services.institution
    return made


@pytest.fixture
def booked(house, network):
    """Seven studies charged, one released, an epoch closed and sealed."""
    booking = house.economy.booking
    for number in range(8):
        offer = network.ids.new("off")
        booking.take(network.opened(offer, work_units=1000 + number))
        booking.take(network.closed(offer) if number == 3 else network.accepted(offer, work_units=900 + number))
    house.clock.advance_s(1000)
    house.economy.epochs.close()
    make_seal(house.economy.ledger.store, house.economy.key, house.clock)
    return house


@pytest.fixture
def browse(house, browser):
    """A browser of an account of a role that the house's own helper does not make."""

    def open_as(role, institution=None):
        account = house.accounts.add(f"{role}.{institution or 'x'}", role, institution)
        client = browser("")
        secret, _ = house.accounts.open_session(house.accounts.link(account))
        client.cookies.set("bithive", secret)
        return client

    return open_as


def id_of(house, kind, ref=""):
    found = house.economy.parties.find(kind, ref)
    assert found is not None
    return found


def path(house, kind="institution", ref=None, **query):
    ref = house.services.institution if ref is None and kind == "institution" else ref or ""
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return f"/ledger/statements/{id_of(house, kind, ref)}?{asked}"


def this_month(house):
    return Period.month_of(house.clock.now_ms()).text


def test_every_account_kind_and_standing_has_words():
    assert set(ACCOUNTS) == set(CHART)
    assert set(KINDS) == set(PARTY_KINDS)
    assert set(ledger_rewards.STANDINGS) == set(Standing)


def test_amounts_line_up_and_parties_are_not_named():
    assert amount(-1234567800000, EUR) == "\u22121\u202f234\u202f567.800000"
    assert (amount(7, WU), heading("new-code")) == ("7", "New code")
    node = "pty_0000000000000000000000ABCD"
    assert party(node, {node: "node"}, None) == "Node \u202600ABCD"
    assert party(node, {node: "node"}, node) == "you"
    assert party(node, {node: "hub"}, None) == "This hub"
    assert brief(node) == "\u202600ABCD"


def test_an_institution_sees_its_own_statement_and_its_name(booked, browse):
    page = browse("institution", booked.services.institution)
    answer = page.get("/ledger/statements/own")
    text = answer.text
    assert answer.status_code == 200
    for said in (
        "Test Hospital",
        "which is you",
        this_month(booked),
        "Study charged: ",
        "Opening balance",
        "Balance so far",
    ):
        assert said in text, said
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script>" not in text
    assert 'style="' not in text
    assert page.get(path(booked)).status_code == 200
    assert re.findall(r'href="(/ledger/proofs/entry/offer/[^"]+/charge)\?seal=\d+"', text)
    for link in re.findall(r'href="(/ledger/[^"#]+)"', text):
        assert page.get(link.replace("&amp;", "&")).status_code == 200, link


@pytest.mark.parametrize("form", ["", ".csv", ".pdf"])
def test_another_institution_sees_nothing_of_it(booked, browse, form):
    them = browse("institution", THEM)
    for kind in ("institution", "hub", "network"):
        own = path(booked, kind).split("?")[0] + form
        answer = them.get(own)
        assert answer.status_code == 404
        assert "party-unknown" in answer.text
    for unknown in ("pty_0000000000000000000000N0NE", "%27%20OR%201=1", "..%2f..%2fetc", "x" * 300):
        assert them.get(f"/ledger/statements/{unknown}{form}").status_code == 404
    own = them.get(f"/ledger/statements/own{form}")
    assert (own.status_code, "Nothing booked yet" in own.text) == ((200, True) if not form else (404, False))


@pytest.mark.parametrize("role", ["clinician", "pacs", "cell"])
def test_other_roles_see_no_statement(booked, browse, role):
    page = browse(role)
    for address in (path(booked), "/ledger", "/ledger/parties", "/ledger/statements/own"):
        assert page.get(address).status_code == 403
    assert "/ledger" not in page.get("/about").text


def test_nobody_is_sent_to_sign_in(booked, browser):
    nobody = browser("")
    for address in ("/ledger", "/ledger/parties", path(booked)):
        answer = nobody.get(address)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?next=/ledger")


def test_an_institution_does_not_see_the_overview(booked, browse):
    page = browse("institution", booked.services.institution)
    assert page.get("/").headers["location"] == "/ledger/statements/own"
    assert page.get("/ledger").status_code == 403
    assert page.get("/ledger/parties").status_code == 403
    assert ">Statement</a>" in page.get("/about").text


def test_csv_and_pdf_are_named_and_whole(booked, browse):
    auditor = browse("auditor")
    start = path(booked, "hub").split("?")[0]
    answer = auditor.get(f"{start}.csv?period={this_month(booked)}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    name = f'filename="statement-{id_of(booked, "hub")}-{this_month(booked)}.csv"'
    assert name in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert sum(row[2:3] == ["line"] for row in rows) == 7
    pdf = auditor.get(f"{start}.pdf?period={this_month(booked)}")
    assert pdf.headers["content-type"] == "application/pdf"
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf.content)).pages)
    assert id_of(booked, "hub") in text
    assert "Test Hospital" not in text + answer.text


def test_periods_are_read_and_refused(booked, browse):
    auditor = browse("auditor")
    assert "Nothing was booked" in auditor.get(path(booked, period="1999")).text
    later = auditor.get(path(booked, period=Period.month_of(booked.clock.now_ms()).after().text)).text
    assert "No lines in this period." in later
    for bad in ("x", "2026-13", "2026-10-05..2026-10-04", "%3Cscript%3E"):
        answer = auditor.get(path(booked, period=bad))
        assert (answer.status_code, "bad-period" in answer.text) == (400, True)
        assert "<script>" not in answer.text
    assert auditor.get(path(booked, period="2" * 40)).status_code == 400
    assert auditor.get(path(booked, account="nothing:EUR")).status_code == 404


def test_a_long_account_comes_in_pages_that_leave_nothing_out(booked, browse, monkeypatch):
    monkeypatch.setattr(ledger_statement, "LINES_A_PAGE", 4)
    monkeypatch.setattr(ledger_statement, "LINES_SHOWN", 3)
    auditor = browse("auditor")
    whole = auditor.get(path(booked)).text
    assert "All 17 lines" in whole
    address, seen, pages = path(booked, account="credit:EUR", period=this_month(booked)), [], 0
    while address:
        text = auditor.get(address).text
        seen += re.findall(r'<td class="number balance">([^<]+)</td>', text)
        further = re.search(r'href="([^"]+)">Further lines', text)
        address, pages = (further[1].replace("&amp;", "&") if further else ""), pages + 1
        assert ("Opening balance" in text) == (pages == 1)
    rows = csv.reader(io.StringIO(auditor.get(path(booked).replace("?", ".csv?")).text, newline=""))
    expected = [row[8] for row in rows if row[:3] == ["credit", "EUR", "line"]]
    assert [text.replace("\u202f", "") for text in seen] == expected
    assert pages > 3


def test_hostile_facts_are_escaped(booked, browse):
    network, hub = id_of(booked, "network"), id_of(booked, "hub")
    facts = {"reason": '<img src=x onerror=alert(1)>"', "bundle": "</td><script>alert(2)</script>"}
    legs = (move(Account(network, "credit-issue", "EUR"), Account(hub, "revenue", "EUR"), 1),)
    booked.economy.ledger.post(Entry("test/hostile", "test.moved", legs, facts))
    text = browse("auditor").get(path(booked, "hub")).text
    assert "<img" not in text.replace('<img src="/static', "")
    assert "<script>alert" not in text
    assert "&lt;/td&gt;&lt;script&gt;" in text


def test_a_node_sees_where_its_rewards_come_from(booked, browse, network):
    text = browse("auditor").get(path(booked, "node", network.node)).text
    assert "Where the rewards come from" in text
    assert "held back" in text
    assert len(re.findall(r"/ledger/proofs/entry/receipt/[0-9a-f]{64}\"", text)) >= 7
    assert (
        "Where the rewards come from"
        not in browse("institution", booked.services.institution).get("/ledger/statements/own").text
    )


def test_the_overview_says_what_an_auditor_asks_first(booked, browse):
    page = browse("auditor")
    text = page.get("/ledger").text
    with booked.economy.ledger.store.reading() as snapshot:
        seals, head = snapshot.seals(), snapshot.head()
    assert str(head.seq) in text
    assert seals[-1].log_root in text
    for said in ("Debits equal credits", "Issuance", "Epoch pool", "nobody yet", "No witness is named", "Not checked"):
        assert said in text, said
    assert ">Ledger</a>" in text
    assert page.get("/").headers["location"] in {"/access-log", "/ledger"}


def test_an_empty_ledger_has_a_page(house, browse):
    text = browse("auditor").get("/ledger").text
    assert "None yet: the first is made" in text
    assert "None has been closed yet." in text


def test_a_check_is_run_and_its_faults_are_shown(booked, browse):
    page = browse("auditor")
    own = {"Sec-Fetch-Site": "same-origin"}
    assert page.post("/ledger/check", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert booked.services.desk.last_check is None
    assert page.post("/ledger/check", headers=own).headers["location"] == "/ledger#check"
    _ended(booked)
    assert "Everything agrees" in page.get("/ledger").text
    store = booked.economy.ledger.store
    row = store._entries[-1]
    store._entries[-1] = row._replace(content=row.content.replace("epoch", "epoxy"))
    page.post("/ledger/check", headers=own)
    _ended(booked)
    text = page.get("/ledger").text
    assert "hash-mismatch" in text
    assert "Everything agrees" not in text
    store._entries[-1] = row


def _ended(house):
    for _ in range(400):
        run = house.services.desk.last_check
        if run is not None and run.ended_ms:
            return
        time.sleep(0.02)
    raise AssertionError("the check did not end")


def test_a_check_that_runs_or_broke_is_said():
    running = ledger_overview._check(CheckRun(1_000, 0, 5, 10))
    assert (running.running, "5 of 10" in running.text) == (True, True)
    broken = ledger_overview._check(CheckRun(1_000, 2_000, failure="ledger-unavailable"))
    assert (broken.tone, "ledger-unavailable" in broken.text) == ("bad", True)


def test_one_check_at_a_time(booked):
    desk, store = booked.services.desk, booked.economy.ledger.store
    with store._lock:
        thread = desk.begin_check(store, booked.clock)
        assert desk.begin_check(store, booked.clock) is None
    thread.join(20)
    assert desk.last_check.checked.findings == []


def test_parties_come_in_pages_by_kind(booked, browse, monkeypatch):
    monkeypatch.setattr(ledger_overview, "PARTIES_A_PAGE", 2)
    auditor, seen, address = browse("auditor"), [], "/ledger/parties"
    while address:
        text = auditor.get(address).text
        seen += re.findall(r"/ledger/statements/(pty_\w+)", text)
        further = re.search(r'href="([^"]+)">Further parties', text)
        address = further[1].replace("&amp;", "&") if further else ""
    with booked.economy.ledger.store.reading() as snapshot:
        known = [item.party_id for item in snapshot.parties().values()]
    assert seen == known
    text = auditor.get("/ledger/parties?kind=node").text
    assert re.findall(r"/ledger/statements/(pty_\w+)", text) == [
        item.party_id for item in booked.economy.ledger.store.parties(kind="node").values()
    ]
    assert auditor.get("/ledger/parties?kind=%3Cscript%3E").status_code == 200


def test_a_seal_of_a_witness_that_is_not_named_any_more_is_shown_by_its_key(booked):
    with booked.economy.ledger.store.reading() as snapshot:
        seal = snapshot.last_seal()
    lines = seal_lines((), seal, [])
    assert (lines.cosigned, lines.is_provable, lines.to_seq) == ((), True, seal.to_seq)


def test_a_clinical_hub_has_no_ledger_in_its_navigation(house, browse):
    from bithive.settings import Role

    settings = house.services.settings.model_copy(update={"role": Role.CLINICAL})
    house.app.state.services = replace(house.services, settings=settings)
    assert "/ledger" not in browse("auditor").get("/about").text


def test_the_verifier_is_one_file_that_allows_nothing_but_itself(browser):
    answer = browser("").get("/ledger/verify")
    assert answer.text == verifier_html() == ledger_verifier.verifier().body.decode()
    policy = answer.headers["content-security-policy"]
    assert policy == verifier_policy()
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "'self'" not in policy
    assert "connect-src" not in policy
    assert not re.findall(r'(?:src|href)="', answer.text), "nothing is loaded from anywhere"
    for forbidden in ("fetch(", "XMLHttpRequest", "WebSocket", "innerHTML", "eval(", "import(", "document.write"):
        assert forbidden not in answer.text
