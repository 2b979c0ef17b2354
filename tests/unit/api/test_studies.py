from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.wiring import wire
from bithive.clock import SystemClock
from bithive.settings import Mode, load
from clinic.workitem import Workitem
from clinic.workitem_store import Change
from pipelines.catalog import pipelines
from tests.common.dicom_factory import content_of, make_series

STUDY, SERIES = "1.2.3.500", "1.2.3.500.1"
OTHER = "ins_" + "0" * 26
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    settings = load(
        mode=Mode.DEMO,
        state=tmp_path_factory.mktemp("studies"),
        clinic={"disk_low_bytes": 0, "disk_reserve_bytes": 0},
    )
    services = wire(settings, SystemClock(), "http://127.0.0.1:9")
    series = make_series((4, 8, 6), study_uid=STUDY, series_uid=SERIES, modality="US", description="HEART")
    services.intake.receive(services.institution, [[content_of(instance)] for instance in series])
    services.flow.tick()
    yield services
    services.close()


@pytest.fixture(scope="module")
def app(services):
    with TestClient(create_app(services), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def tokens(services):
    accounts = services.accounts
    made = {role: accounts.add(role, role) for role in ("clinician", "pacs", "auditor", "administrator")}
    made["stranger"] = accounts.add("stranger", "clinician", OTHER)
    return {name: accounts.token(account) for name, account in made.items()}


@pytest.fixture(params=["clinician"])
def client(app, tokens, request):
    app.headers["Authorization"] = f"Bearer {tokens[request.param]}"
    app.cookies.clear()
    return app


def _workitem(services, number, state_reason=None):
    item = Workitem(
        workitem_id=services.ids.new("wit"),
        institution=services.institution,
        study_uid=STUDY,
        series_uid=SERIES,
        pipeline="intracranial_volume_t1",
        input_digest=f"{number:064x}",
        offer_id=services.ids.new("off"),
        key=b"k" * 32,
        created_ms=number,
        changed_ms=number,
        duty=None,
    )
    services.workitems.commit(Change((item,)))
    if state_reason:
        item = item.canceled(state_reason, number + 1, duty=None)
        services.workitems.commit(Change((item,)))
    return item


def test_a_study_that_nothing_takes_is_kept_and_says_why(client):
    (listed,) = client.get("/api/studies").json()["studies"]
    assert (listed["study_uid"], listed["instances"]) == (STUDY, 4)
    study = client.get(f"/api/studies/{STUDY}").json()
    (series,) = study["series_list"]
    assert series["modality"] == "US"
    assert series["pending"] is False
    assert set(series["unmatched"]) == set(pipelines())
    assert [event["kind"] for event in study["events"]] == ["received", "unmatched"]


@pytest.mark.parametrize("client", ["stranger"], indirect=True)
def test_another_institutions_study_is_not_there(client, services):
    item = _workitem(services, 1)
    assert client.get("/api/studies").json() == {"studies": []}
    for path in (f"/api/studies/{STUDY}", f"/api/workitems/{item.workitem_id}", f"/api/series/{SERIES}/planes"):
        assert client.get(path).status_code == 404, path
    assert client.get(f"/api/workitems/{item.workitem_id}/statement").status_code == 404
    assert client.get(f"/api/series/{SERIES}/planes/axial/0").status_code == 404
    for verb in ("rerun", "accept", "reject"):
        assert client.post(f"/api/workitems/{item.workitem_id}/{verb}").status_code == 404


@pytest.mark.parametrize("client", ["pacs", "auditor"], indirect=True)
def test_roles_without_the_scope(client):
    assert client.get("/api/studies").status_code == 403
    assert client.get(f"/api/studies/{STUDY}").status_code == 403


@pytest.mark.parametrize("client", ["administrator"], indirect=True)
def test_an_administrator_does_not_judge_findings(client, services):
    item = _workitem(services, 2)
    assert client.get(f"/api/studies/{STUDY}").status_code == 200
    assert client.post(f"/api/workitems/{item.workitem_id}/accept").status_code == 403


def test_a_workitem_never_shows_its_key(client, services):
    item = _workitem(services, 3)
    answer = client.get(f"/api/workitems/{item.workitem_id}")
    assert answer.json()["state"] == "SCHEDULED"
    assert answer.json()["title"] != item.pipeline
    assert (b"k" * 32).hex() not in answer.text
    assert "key" not in answer.json()


def test_a_statement_before_anything_is_booked(client, services):
    item = _workitem(services, 4)
    statement = client.get(f"/api/workitems/{item.workitem_id}/statement").json()
    assert (statement["state"], statement["charge"], statement["split"]) == ("none", None, [])


def test_only_what_was_canceled_is_repeated_and_only_once(client, services):
    running = _workitem(services, 5)
    answer = client.post(f"/api/workitems/{running.workitem_id}/rerun")
    assert (answer.status_code, answer.json()["code"]) == (409, "not-repeatable")
    failed = _workitem(services, 6, "offer-exhausted")
    again = client.post(f"/api/workitems/{failed.workitem_id}/rerun")
    assert again.status_code == 201
    assert again.json()["workitem_id"] != failed.workitem_id
    assert client.get(f"/api/workitems/{failed.workitem_id}").json()["superseded_by"] == again.json()["workitem_id"]
    assert client.post(f"/api/workitems/{failed.workitem_id}/rerun").status_code == 409


def test_findings_that_do_not_exist_are_not_judged(client, services):
    item = _workitem(services, 7)
    for verb in ("accept", "reject"):
        answer = client.post(f"/api/workitems/{item.workitem_id}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (409, "not-reviewable")


def test_planes(client):
    planes = {item["plane"]: item for item in client.get(f"/api/series/{SERIES}/planes").json()["planes"]}
    assert planes["axial"]["count"] == 4
    picture = client.get(f"/api/series/{SERIES}/planes/axial/2")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    assert client.get(f"/api/series/{SERIES}/planes/axial/4").status_code == 404
    assert client.get(f"/api/series/{SERIES}/planes/oblique/0").status_code == 400


def test_opening_is_in_the_access_log(client, services):
    before = len(services.access_log.read(services.institution))
    client.get(f"/api/studies/{STUDY}")
    rows = services.access_log.read(services.institution)
    assert len(rows) == before + 1
    assert (str(rows[-1].kind), rows[-1].study_uid) == ("opened", STUDY)
    assert rows[-1].account == services.accounts.named("clinician").account_id


@pytest.mark.parametrize("query", ["limit=0", "limit=100000", "offset=-1", "limit=x"])
def test_paging_out_of_range(client, query):
    answer = client.get(f"/api/studies?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


def test_a_study_is_deleted_by_an_administrator_alone_and_logged(app, tokens, services):
    study, series = "1.2.3.990", "1.2.3.990.1"
    contents = [content_of(item) for item in make_series((2, 4, 4), study_uid=study, series_uid=series)]
    services.intake.receive(services.institution, [[content] for content in contents])
    app.cookies.clear()
    for role, status in (("pacs", 403), ("clinician", 403), ("administrator", 204)):
        answer = app.delete(f"/api/studies/{study}", headers={"Authorization": f"Bearer {tokens[role]}"})
        assert answer.status_code == status, role
    headers = {"Authorization": f"Bearer {tokens['administrator']}"}
    assert app.get(f"/api/studies/{study}", headers=headers).status_code == 404
    assert app.delete(f"/api/studies/{study}", headers=headers).status_code == 404
    assert services.archive.series(services.institution, series) == []
    kinds = [row.kind for row in services.access_log.read(services.institution, 0, 1000) if row.study_uid == study]
    assert kinds.count("deleted") == 1
