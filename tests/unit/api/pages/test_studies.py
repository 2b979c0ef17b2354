from __future__ import annotations

import re

import pytest

from clinic.access_log import Access
from tests.common.dicom_factory import INSTITUTION
from tests.common.page_house import HOSTILE, OURS

NAME = "Grünwald, Zoë (Dr)"


def accessed(house):
    return [(row.kind, row.study_uid) for row in house.services.access_log.read(INSTITUTION)]


def test_an_empty_list_says_what_to_do(page):
    text = page.get("/studies").text
    assert "No studies yet" in text
    assert 'href="/upload"' in text
    assert "http://127.0.0.1/dicomweb/studies" in text


def test_a_study_on_its_way(house, page):
    house.receive_head()
    text = page.get("/studies").text
    assert NAME in text
    assert "PID-&lt;b&gt;4711&lt;/b&gt;" in text
    assert "2026-11-20 09:15" in text
    assert "64 instances" in text
    assert "For a free computer" in text
    house.lease()
    text = page.get("/studies/1.2.3.100/row").text
    assert "Segmenting on node …000001" in text
    assert re.search(r'<progress max="100" value="42"', text)


def test_a_finished_study_shows_its_volume_and_waits_for_review(house, page):
    item = house.done()
    text = page.get("/studies").text
    assert f"{round(item.measured[0].value):,} ml".replace(",", "\u202f") in text
    assert "Not yet reviewed" in text
    assert 'data-tones="review"' in text


def test_a_failed_study_says_why_in_words(house, page):
    house.failed()
    text = page.get("/studies").text
    assert "Failed" in text
    assert "not plausible" in text


def test_a_study_that_nothing_takes_is_kept_with_the_reason(house, page):
    house.receive_other()
    text = page.get("/studies").text
    assert "Kept" in text
    assert "the modality is another one" in text


def test_search_is_posted_and_finds_by_each_word(house, page):
    house.receive_head("1.2.3.100")
    house.receive_other("1.2.3.300", {"PatientName": "Ander^Otto", "PatientID": "O-1"})
    found = page.post("/studies", data={"q": "zoë grün"}, headers=OURS).text
    assert NAME in found
    assert "Ander" not in found
    assert "No study fits" in page.post("/studies", data={"q": "nobody"}, headers=OURS).text
    everything = page.post("/studies/rows", data={"q": " "}, headers=OURS).text
    assert NAME in everything
    assert "Ander" in everything


def test_pages_of_the_list(house, page, monkeypatch):
    from api.pages import gather

    monkeypatch.setattr(gather, "ROWS_A_PAGE", 2)
    for number in range(3):
        house.receive_other(f"1.2.3.{300 + number}", {"PatientName": f"P{number}", "PatientID": f"P{number}"})
        house.clock.advance_s(1)
    first = page.get("/studies").text
    assert ("P2" in first, "P1" in first, "P0" in first) == (True, True, False)
    assert "/studies?skip=2" in first
    assert "P0" in page.get("/studies?skip=2").text
    assert page.get("/studies?skip=-1").status_code == 400


def test_a_studys_page_holds_findings_card_receipt_and_charge(house, page):
    item = house.done()
    text = page.get("/studies/1.2.3.100").text
    for said in (
        "Intracranial volume (TIV)", "never the volume of the brain", "UNVERIFIED", "Passed the plausibility check",
        "Model card", "Intended use", "Not validated.", "Licence", "Receipt", item.receipt["node"], "openvino 1, f32, cpu",
        "holds, by the node’s own key", "Charge", "Node that computed it", "70 %", "Node’s reward", "BTT", "Steps",
        "Written into the study", "Segmentation", "Structured report", "Preview, not for diagnosis",
    ):  # fmt: skip
        assert said in text, said
    assert "brain volume" not in text.lower()


def test_a_forged_receipt_is_shown_as_such(house):
    from api.pages.evidence import receipt_lines

    item = house.done()
    assert receipt_lines(item.receipt).signed
    assert not receipt_lines(item.receipt | {"wall_ms": 1}).signed
    assert receipt_lines(item.receipt | {"extra": 1}) is None
    assert receipt_lines(None) is None


def test_a_silent_ledger_does_not_keep_the_page_away(house, page):
    house.done()
    house.economy.ledger.store.close()
    assert page.get("/studies/1.2.3.100").status_code == 200


def test_a_study_under_way_shows_the_steps_ahead(house, page):
    house.receive_head()
    house.lease()
    text = page.get("/studies/1.2.3.100").text
    assert '<li class="now">' in text
    assert '<li class="next">' in text
    state = page.get("/studies/1.2.3.100/state").text
    assert 'data-part="findings"' in state
    assert 'data-part="evidence"' in state


def test_a_failed_study_offers_to_run_again(house, page, browser):
    house.failed()
    assert "Run again" in page.get("/studies/1.2.3.200").text
    assert "Run again" in browser("administrator").get("/studies/1.2.3.200").text


def test_only_a_clinician_is_asked_for_a_verdict(house, page, browser):
    house.done()
    assert "Accept these findings?" in page.get("/studies/1.2.3.100").text
    assert "Accept these findings?" not in browser("administrator").get("/studies/1.2.3.100").text


def test_what_patients_are_called_is_escaped_everywhere(house, page):
    house.done(patient=HOSTILE)
    for address in ("/studies", "/studies/1.2.3.100", "/studies/1.2.3.100/row", "/studies/1.2.3.100/state"):
        text = page.get(address).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    assert "&lt;script&gt;alert" in page.get("/studies").text


def test_no_address_names_a_patient(house, page):
    house.done()
    for address in ("/studies", "/studies/1.2.3.100"):
        links = re.findall(r'(?:href|src|action|data-source|data-events)="([^"]*)"', page.get(address).text)
        assert links
        for link in links:
            assert not re.search(r"gr.nwald|zo|4711|PID", link, re.IGNORECASE), link


def test_other_institutions_studies_are_not_there(house, browser):
    house.done()
    theirs = browser("clinician", name="them", institution="ins_00000000000000000000000009")
    assert "No studies yet" in theirs.get("/studies").text
    for address in ("", "/row", "/state"):
        assert theirs.get(f"/studies/1.2.3.100{address}").status_code == 404


def test_opening_is_logged(house, page):
    house.done()
    page.get("/studies")
    page.get("/studies/1.2.3.100")
    assert accessed(house) == [(Access.SEARCHED, ""), (Access.OPENED, "1.2.3.100")]


def test_roles_without_studies_do_not_see_them(browser):
    assert browser("auditor").get("/studies").status_code == 403
    assert browser("pacs").get("/studies").status_code == 403


@pytest.mark.parametrize("count", [3, 25])
def test_many_measurements_are_a_table_that_scrolls(house, page, count):
    item = house.done_many(count)
    text = page.get("/studies/1.2.3.100").text
    assert ('<table class="measures' in text) is (count > 3)
    assert f"{count} structures" in page.get("/studies").text
    for one in item.measured:
        assert one.name in text


def test_a_study_in_which_nothing_was_found_says_so(house, page):
    house.done_many(3, empty=(1, 2, 3))
    assert "None of the structures that it looks for was found" in page.get("/studies/1.2.3.100").text
    assert "None found" in page.get("/studies").text
