from __future__ import annotations

import pytest

from api.pages import access
from api.pages.access import newest
from bithive.clock import ManualClock
from clinic.access_log import Access, AccessLog, MemoryAccessStore

US, THEM = "ins_00000000000000000000000001", "ins_00000000000000000000000002"


@pytest.fixture
def log():
    return AccessLog(MemoryAccessStore(), ManualClock())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 11, 60, 257])
def test_the_newest_rows_come_first_and_pages_leave_none_out(log, monkeypatch, count):
    monkeypatch.setattr(access, "ROWS_A_PAGE", 10)
    for number in range(count):
        log.record(US, "acc_1", Access.OPENED, str(number))
        if number % 3 == 0:
            log.record(THEM, "acc_2", Access.OPENED, "theirs")
    seen, before = [], None
    while rows := newest(log, US, before):
        seen += [row.study_uid for row in rows]
        before = rows[-1].seq
    assert seen == [str(number) for number in reversed(range(count))]


def test_an_auditor_reads_who_did_what(house, page, browser):
    house.done()
    page.get("/studies/1.2.3.100")
    page.get("/studies/1.2.3.100/series/1.2.3.100.1/download")
    text = browser("auditor").get("/access-log").text
    for said in ("clinician.one", "opened", "exported", "1.2.3.100"):
        assert said in text
    assert text.index("exported</span>") < text.index("opened</span>")


def test_an_administrator_reads_it_and_a_clinician_does_not(page, browser):
    assert "Nothing has been opened" in browser("administrator").get("/access-log").text
    assert page.get("/access-log").status_code == 403
    assert "Access log" not in page.get("/about").text


def test_a_page_of_older_entries(house, browser, monkeypatch):
    monkeypatch.setattr(access, "ROWS_A_PAGE", 2)
    for number in range(5):
        house.services.access_log.record(house.services.institution, "acc_9", Access.OPENED, f"1.2.{number}")
    auditor = browser("auditor")
    text = auditor.get("/access-log").text
    assert "/access-log?before=4" in text
    assert "1.2.2" in auditor.get("/access-log?before=4").text
    assert auditor.get("/access-log?before=0").status_code == 400
