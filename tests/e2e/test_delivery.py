"""Two clients that nobody here made push a study in and read its SEG and SR out: dicomweb-client and Orthanc."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import dicomweb_client
import httpx2
import pydicom
import pytest

from tests.common.hub import Hub
from tests.common.servers import Orthanc, orthanc
from tests.common.studies import head_study

pytestmark = pytest.mark.heavy

WRITTEN = {"SEG", "SR", "OT"}


def test_dicomweb_client_sends_a_study_and_reads_the_findings(live: Hub, tmp_path: Path) -> None:
    study = head_study(tmp_path / "study", "dicomweb-client", step=2)
    client = dicomweb_client.DICOMwebClient(f"{live.url}/dicomweb", headers=live.headers("pacs"))
    client.store_instances([pydicom.dcmread(path) for path in study.files])
    live.wait_for_state(study.study_uid, ["COMPLETED"], 120)

    found = client.search_for_series(study.study_uid)
    series = {one["00080060"]["Value"][0]: one["0020000E"]["Value"][0] for one in found}
    assert set(series) == {"MR"} | WRITTEN
    (segmentation,) = client.retrieve_series(study.study_uid, series["SEG"])
    (report,) = client.retrieve_series(study.study_uid, series["SR"])
    assert segmentation.SegmentSequence[0].SegmentLabel == "Intracranial volume"
    assert report.VerificationFlag == "UNVERIFIED"
    assert {str(one.PatientID) for one in (segmentation, report)} == {"SYNTHETIC-0001"}


def test_orthanc_sends_a_study_and_reads_the_findings(live: Hub, tmp_path: Path) -> None:
    study = head_study(tmp_path / "study", "orthanc", step=2)
    peer = {"Url": f"{live.url}/dicomweb/", "HttpHeaders": live.headers("pacs")}
    web = {"Enable": True, "Root": "/dicom-web/", "EnableWado": False, "Servers": {"bithive": peer}}
    with (
        orthanc(tmp_path / "orthanc", {"DicomWeb": web}) as server,
        httpx2.Client(base_url=server.url, timeout=120) as http,
    ):
        for path in study.files:
            kept = http.post("/instances", content=path.read_bytes()).raise_for_status().json()["ParentStudy"]
        ask(http, "stow", {"Resources": [kept], "Synchronous": True})
        live.wait_for_state(study.study_uid, ["COMPLETED"], 120)

        ask(http, "retrieve", {"Resources": [{"Study": study.study_uid}], "Synchronous": True})
        assert modalities(server, kept, until=WRITTEN | {"MR"}) == WRITTEN | {"MR"}


def ask(http: httpx2.Client, what: str, body: dict[str, Any]) -> None:
    """Have Orthanc talk to the hub."""
    answer = http.post(f"/dicom-web/servers/bithive/{what}", json=body)
    assert answer.status_code == 200, answer.text


def modalities(server: Orthanc, study: str, until: set[str]) -> set[str]:
    """Of the series that Orthanc holds of a study, once it has indexed what it retrieved."""
    found: set[str] = set()
    deadline = time.monotonic() + 20
    while not found >= until and time.monotonic() < deadline:
        series = httpx2.get(f"{server.url}/studies/{study}/series", timeout=20).json()
        found = {one["MainDicomTags"]["Modality"] for one in series}
    return found
