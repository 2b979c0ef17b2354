"""QIDO-RS at every level and through every path."""

from __future__ import annotations

import pytest

from bithive import limits
from clinic.access_log import Access
from tests.common.dicom_factory import content_of, make_series
from tests.common.dicomweb import OURS, THEIRS

STUDY, SERIES = "1.2.3.100", "1.2.3.100.1"


@pytest.fixture
def filled(store, client):
    store(content_of(dataset) for dataset in make_series((3, 4, 4)))
    store([content_of(make_series((1, 4, 4), series_uid="1.2.3.100.2", modality="CT")[0])])
    store(
        [content_of(make_series((1, 4, 4), study_uid="1.5", series_uid="1.5.1", patient={"PatientName": "Other^P"})[0])]
    )
    return client


def search(client, path, **parameters):
    answer = client.get(f"/dicomweb/{path}", params=parameters)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    return answer.json()


def test_studies(filled):
    found = search(filled, "studies")
    assert {item["0020000D"]["Value"][0] for item in found} == {STUDY, "1.5"}
    (item,) = search(filled, "studies", StudyInstanceUID=STUDY)
    assert (item["00201206"]["Value"], item["00201208"]["Value"]) == ([2], [4])
    assert item["00080061"]["Value"] == ["CT", "MR"]
    assert item["00081190"]["Value"] == [f"http://hub/dicomweb/studies/{STUDY}"]
    assert item["00100010"]["Value"] == [{"Alphabetic": "Test^Patient"}]
    assert search(filled, "studies", PatientName="other*", limit=5)[0]["0020000D"]["Value"] == ["1.5"]
    assert search(filled, "studies", PatientID="nobody") == []


@pytest.mark.parametrize(
    ("path", "parameters", "count"),
    [
        ("series", {}, 3),
        ("series", {"Modality": "CT"}, 1),
        ("series", {"PatientName": "Other^*"}, 1),
        (f"studies/{STUDY}/series", {}, 2),
        (f"studies/{STUDY}/series", {"00080060": "MR"}, 1),
        ("instances", {}, 5),
        ("instances", {"StudyInstanceUID": STUDY, "InstanceNumber": "2"}, 1),
        (f"studies/{STUDY}/instances", {}, 4),
        (f"studies/{STUDY}/series/{SERIES}/instances", {}, 3),
        (f"studies/{STUDY}/series/{SERIES}/instances", {"limit": "2", "offset": "2"}, 1),
        ("studies/1.9/series", {}, 0),
        (f"studies/1.5/series/{SERIES}/instances", {}, 0),
    ],
)
def test_every_path(filled, path, parameters, count):
    assert len(search(filled, path, **parameters)) == count


def test_lower_levels_name_their_parents_and_addresses(filled):
    item = search(filled, f"studies/{STUDY}/series/{SERIES}/instances")[1]
    assert item["00080018"]["Value"] == [f"{SERIES}.2"]
    assert item["0020000E"]["Value"] == [SERIES]
    assert item["00280010"]["Value"] == [4]
    assert item["00081190"]["Value"] == [f"http://hub/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.2"]
    assert "00200032" not in item
    everything = search(filled, f"studies/{STUDY}/series/{SERIES}/instances", includefield="all")[0]
    assert "00200032" in everything
    named = search(filled, "instances", includefield="ImagePositionPatient,00200037")[0]
    assert {"00200032", "00200037"} <= set(named)
    series = search(filled, f"studies/{STUDY}/series")[0]
    assert series["00201209"]["Value"] == [3]
    assert series["00081190"]["Value"] == [f"http://hub/dicomweb/studies/{STUDY}/series/{SERIES}"]


def test_another_institution_finds_nothing(filled):
    for path in ("studies", "series", "instances", f"studies/{STUDY}/series"):
        assert filled.get(f"/dicomweb/{path}", headers={"Institution": THEIRS}).json() == []


@pytest.mark.parametrize("query", ["Nonsense=1", "StudyDate=x", "limit=-1", "SeriesInstanceUID=1.2", "%00=1"])
def test_what_is_not_understood(filled, query):
    answer = filled.get(f"/dicomweb/studies?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-query")


def test_what_is_not_acceptable(filled):
    answer = filled.get("/dicomweb/studies", headers={"Accept": "application/dicom+xml"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not-acceptable")


def test_a_capped_answer_says_so(filled, monkeypatch):
    monkeypatch.setattr(limits, "QUERY_RESULTS_MAX", 3)
    answer = filled.get("/dicomweb/instances")
    assert len(answer.json()) == 3
    assert answer.headers["warning"].startswith("299 ")
    assert "warning" not in filled.get("/dicomweb/instances?limit=2").headers
    assert "warning" not in filled.get("/dicomweb/series").headers
    assert "warning" in filled.get("/dicomweb/series?limit=3&fuzzymatching=true").headers


def test_who_searched_is_logged(filled, side):
    search(filled, "studies")
    search(filled, f"studies/{STUDY}/series")
    assert [(row.kind, row.study_uid) for row in side.access_log.read(OURS)] == [
        (Access.SEARCHED, ""),
        (Access.OPENED, STUDY),
    ]
