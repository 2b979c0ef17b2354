from __future__ import annotations

from api.auth import Principal
from api.pages import openings
from api.pages.openings import QUIET_S, Openings
from bithive.clock import ManualClock
from clinic.access_log import Access, AccessLog, MemoryAccessStore
from tests.common.dicom_factory import INSTITUTION
from tests.common.page_house import OURS

WHO = Principal("acc_1", "one", "clinician", frozenset(), INSTITUTION, None)


def test_a_page_that_asks_for_its_parts_is_one_opening():
    clock = ManualClock()
    log = AccessLog(MemoryAccessStore(), clock)
    noted = Openings(log, clock)
    noted.opened(WHO, "1.2")
    for _ in range(3):
        noted.opened(WHO, "1.2", by_itself=True)
    assert len(log.read(INSTITUTION)) == 1
    noted.opened(WHO, "1.2")
    noted.opened(WHO, "1.3", by_itself=True)
    assert [row.study_uid for row in log.read(INSTITUTION)] == ["1.2", "1.2", "1.3"]
    clock.advance_s(QUIET_S + 1)
    noted.opened(WHO, "1.2", by_itself=True)
    assert len(log.read(INSTITUTION)) == 4


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(openings, "KEPT_MAX", 2)
    clock = ManualClock()
    log = AccessLog(MemoryAccessStore(), clock)
    noted = Openings(log, clock)
    for uid in ("1", "2", "3"):
        noted.opened(WHO, uid)
    noted.opened(WHO, "1", by_itself=True)
    noted.opened(WHO, "3", by_itself=True)
    assert [row.study_uid for row in log.read(INSTITUTION)] == ["1", "2", "3", "1"]


def test_parts_of_a_page_asked_for_alone_are_openings_too(house, page):
    house.done()
    house.receive_head("1.2.3.500", {"PatientName": "B", "PatientID": "B"})
    page.get("/studies/1.2.3.100/state")
    page.get("/studies/1.2.3.500/series/1.2.3.500.1/image/geometry")
    page.get("/studies/1.2.3.500/state")
    rows = house.services.access_log.read(INSTITUTION)
    assert [(row.kind, row.study_uid) for row in rows] == [(Access.OPENED, "1.2.3.100"), (Access.OPENED, "1.2.3.500")]


def test_rows_asked_for_alone_are_a_search(house, page):
    house.receive_head()
    for _ in range(2):
        page.get("/studies/1.2.3.100/row")
        page.post("/studies/rows", data={}, headers=OURS)
    page.post("/studies/rows", data={"q": "x"}, headers=OURS)
    assert [row.kind for row in house.services.access_log.read(INSTITUTION)] == [Access.SEARCHED] * 2
