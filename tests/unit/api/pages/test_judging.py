from __future__ import annotations

from clinic.workitem import Review, State
from tests.common.page_house import OURS

ADDRESS = "/studies/1.2.3.100/review"


def judge(client, item, verdict, reason="", address=ADDRESS):
    form = {"workitem": item.workitem_id, "verdict": verdict, "reason": reason}
    return client.post(address, data=form, headers=OURS)


def stored(house, item):
    return house.side.store.workitem(item.institution, item.workitem_id)


def test_accepting_verifies_under_the_clinicians_name(house, page):
    item = house.done()
    answer = judge(page, item, "accept", "  looked at\nall planes ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/1.2.3.100")
    after = stored(house, item)
    assert (after.review, after.reviewed_by) == (Review.ACCEPTED, "clinician.one")
    assert after.reference("sr-verified")
    text = page.get("/studies/1.2.3.100").text
    assert "Accepted: the report is VERIFIED" in text
    assert "looked at all planes" in text
    assert "Structured report, verified" in text
    assert "Accept these findings?" in text
    assert ">Accept</button>" not in text
    assert ">Reject</button>" in text


def test_rejecting_retracts_and_keeps_the_reason(house, page):
    item = house.done()
    assert judge(page, item, "reject", "mask leaks into <orbit>").status_code == 303
    assert stored(house, item).review is Review.REJECTED
    text = page.get("/studies/1.2.3.100").text
    assert "Rejected: the findings are retracted" in text
    assert "mask leaks into &lt;orbit&gt;" in text
    assert "Rejection note" in text
    assert text.count("retracted</span>") == 3
    assert ">Reject</button>" not in text


def test_what_was_accepted_can_still_be_rejected_and_not_the_other_way(house, page):
    item = house.done()
    judge(page, item, "accept")
    assert judge(page, item, "reject", "second look").status_code == 303
    answer = judge(page, item, "accept")
    assert answer.status_code == 409
    assert "already-reviewed" in answer.text


def test_a_verdict_is_one_of_two_and_a_rejection_has_a_reason(house, page):
    item = house.done()
    for verdict, reason in (("reject", ""), ("reject", "   "), ("maybe", "x"), ("", "")):
        assert judge(page, item, verdict, reason).status_code == 400
    assert stored(house, item).review is None


def test_only_clinicians_judge(house, browser):
    item = house.done()
    for role in ("administrator", "auditor", "pacs", None):
        assert judge(browser(role), item, "accept").status_code == (401 if role is None else 403)
    assert stored(house, item).review is None


def test_another_page_cannot_judge(house, page):
    item = house.done()
    form = {"workitem": item.workitem_id, "verdict": "accept"}
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        assert page.post(ADDRESS, data=form, headers=headers).status_code == 403
    assert stored(house, item).review is None


def test_a_workitem_of_another_study_or_institution_is_not_there(house, page, browser):
    item = house.done()
    assert judge(page, item, "accept", address="/studies/1.2.3.999/review").status_code == 404
    theirs = browser("clinician", name="them", institution="ins_00000000000000000000000009")
    assert judge(theirs, item, "accept").status_code == 404
    assert page.post(ADDRESS, data={"verdict": "accept"}, headers=OURS).status_code == 404


def test_running_again_makes_a_new_workitem_at_once(house, page):
    item = house.failed()
    address = "/studies/1.2.3.200/rerun"
    answer = page.post(address, data={"workitem": item.workitem_id}, headers=OURS)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/1.2.3.200")
    assert house.woken == 1
    house.side.settle()
    (newest,) = [one for one in house.side.workitems(study_uid="1.2.3.200") if one.workitem_id != item.workitem_id]
    assert newest.state is not State.CANCELED
    assert "Failed" not in page.get("/studies/1.2.3.200/row").text


def test_what_did_not_fail_is_not_run_again(house, page):
    item = house.done()
    answer = page.post("/studies/1.2.3.100/rerun", data={"workitem": item.workitem_id}, headers=OURS)
    assert answer.status_code == 409
