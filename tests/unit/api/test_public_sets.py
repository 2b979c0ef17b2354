"""`POST /api/public-sets`: who may declare, and what a declaration must hold."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.public_sets import router
from clinic.access_log import Access, AccessLog, MemoryAccessStore
from clinic.archive import MemoryArchive
from clinic.data_class import why_not_public
from clinic.public_sets import MemoryPublicStore, PublicSets

BODY = {"name": "A Set", "licence": "CC0-1.0", "basis": "flags", "study_uids": ["1.2.3"]}


@pytest.fixture
def house(services, accounts, clock):
    store = MemoryPublicStore()
    sets = PublicSets(store, clock, MemoryArchive(), why_not_public)
    log = AccessLog(MemoryAccessStore(), clock)
    made = replace(services, access_log=log, public_sets=sets)

    def post(role, body=BODY):
        token = accounts.token(accounts.ensure(role, role))
        with TestClient(create_app(made, [router]), base_url="http://127.0.0.1") as client:
            return client.post("/api/public-sets", json=body, headers={"Authorization": f"Bearer {token}"})

    return post, store, log, accounts.institution()


def test_a_researcher_declares_and_it_is_logged(house):
    post, store, log, institution = house
    answer = post("researcher")
    assert (answer.status_code, answer.json()) == (201, {"studies": ["1.2.3"]})
    assert store.public(institution, "1.2.3").licence == "CC0-1.0"
    assert [row.kind for row in log.read(institution)] == [Access.PUBLISHED]
    assert post("administrator").status_code == 201


@pytest.mark.parametrize("role", ["clinician", "pacs", "cell", "auditor", "institution"])
def test_nobody_else_does(house, role):
    post, store, log, institution = house
    assert post(role).status_code == 403
    assert store.public(institution, "1.2.3") is None
    assert log.read(institution) == []


@pytest.mark.parametrize(
    "change",
    [
        {"licence": "proprietary"},
        {"basis": "trust me"},
        {"study_uids": []},
        {"study_uids": "1.2.3"},
        {"study_uids": [5]},
        {"study_uids": ["a"]},
        {"name": 5},
        {"more": 1},
    ],
)
def test_what_is_malformed_is_refused(house, change):
    post, _, log, institution = house
    assert post("researcher", BODY | change).status_code in {400, 422}
    assert log.read(institution) == []
