"""Other people's DICOMweb: a real Orthanc and the reference client push in and read back; dcmtk reads what comes out."""

from __future__ import annotations

import io
import json
import subprocess
import urllib.request

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from tests.common.dicom_factory import content_of, files_of, make_series
from tests.common.dicomweb import OURS, STORE_HEADERS, application, clinic_side, multipart, serving
from tests.common.servers import orthanc

STUDY, SERIES = "1.2.3.100", "1.2.3.100.1"


@pytest.fixture
def side(tmp_path):
    with clinic_side(tmp_path) as side:
        yield side


@pytest.fixture
def url(side):
    with serving(application(side)) as url:
        yield url


@pytest.fixture
def reference(url):
    client = DICOMwebClient(f"{url}/dicomweb")
    yield client
    client._session.close()


def call(url, body=None, headers=None):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=60) as answer:
        return answer.read()


def test_the_reference_client_stores_searches_and_retrieves(reference):
    datasets = [pydicom.dcmread(io.BytesIO(content_of(dataset))) for dataset in make_series((3, 8, 6))]
    answer = reference.store_instances(datasets)
    assert len(answer.ReferencedSOPSequence) == 3
    assert "FailedSOPSequence" not in answer
    (study,) = reference.search_for_studies(search_filters={"PatientID": "T-1"}, fields=["StudyDescription"])
    assert Dataset.from_json(study).NumberOfStudyRelatedInstances == 3
    assert reference.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    (series,) = reference.search_for_series(STUDY)
    assert Dataset.from_json(series).Modality == "MR"
    assert len(reference.search_for_instances(STUDY, SERIES)) == 3
    retrieved = reference.retrieve_study(STUDY)
    assert [item.PixelData for item in retrieved] == [item.PixelData for item in datasets]
    own = reference.retrieve_instance(STUDY, SERIES, f"{SERIES}.2", media_types=(("application/dicom", "*"),))
    assert own == datasets[1]
    assert len(reference.retrieve_series_metadata(STUDY, SERIES)) == 3
    (frame,) = reference.retrieve_instance_frames(STUDY, SERIES, f"{SERIES}.1", [1])
    assert frame == datasets[0].PixelData
    picture = reference.retrieve_instance_rendered(STUDY, SERIES, f"{SERIES}.1", media_types=("image/png",))
    assert picture.startswith(b"\x89PNG")
    uri = reference.retrieve_instance_metadata(STUDY, SERIES, f"{SERIES}.1")["7FE00010"]["BulkDataURI"]
    assert reference.retrieve_bulkdata(uri) == [datasets[0].PixelData]


@pytest.mark.heavy
def test_orthanc_pushes_a_study_in_and_reads_it_back(side, url, tmp_path):
    contents = [content_of(dataset) for dataset in make_series((30, 64, 48))]
    extra = {
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "Servers": {"bithive": {"Url": f"{url}/dicomweb/", "HasDelete": False}},
        }
    }
    with orthanc(tmp_path / "orthanc", extra) as server:
        for content in contents:
            call(f"{server.url}/instances", content)
        (study,) = json.loads(call(f"{server.url}/studies"))
        answer = call(f"{server.url}/dicom-web/servers/bithive/stow", {"Resources": [study], "Synchronous": True})
        assert json.loads(answer)["InstancesCount"] == "30"
        rows = side.archive.series(OURS, SERIES)
        assert len(rows) == 30
        assert sum(event.body["added"] for event in side.archive.outbox.waiting()) == 30
        found = call(
            f"{server.url}/dicom-web/servers/bithive/qido", {"Uri": "/studies", "Arguments": {"00100020": "T-1"}}
        )
        assert STUDY in json.dumps(json.loads(found))
        urllib.request.urlopen(
            urllib.request.Request(f"{server.url}/studies/{study}", method="DELETE"), timeout=30
        ).close()
        retrieved = call(
            f"{server.url}/dicom-web/servers/bithive/retrieve",
            {"Resources": [{"Study": STUDY}], "Synchronous": True},
        )
        assert int(json.loads(retrieved)["ReceivedInstancesCount"]) == 30
        for instance in json.loads(call(f"{server.url}/instances")):
            dataset = pydicom.dcmread(io.BytesIO(call(f"{server.url}/instances/{instance}/file")))
            original = make_series((30, 64, 48))[int(dataset.InstanceNumber) - 1]
            np.testing.assert_array_equal(dataset.pixel_array, original.pixel_array)


@pytest.mark.heavy
def test_orthanc_reads_a_real_series_and_dcmtk_understands_it(url, shared, tmp_path, external):
    contents = files_of(shared / "data" / "t1-head" / "dicom")[:40]
    call(f"{url}/dicomweb/studies", multipart(contents), STORE_HEADERS)
    extra = {"DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Servers": {"bithive": [f"{url}/dicomweb/"]}}}
    study = pydicom.dcmread(io.BytesIO(contents[0])).StudyInstanceUID
    with orthanc(tmp_path / "orthanc", extra) as server:
        call(
            f"{server.url}/dicom-web/servers/bithive/retrieve",
            {"Resources": [{"Study": study}], "Synchronous": True},
        )
        assert len(json.loads(call(f"{server.url}/instances"))) == 40
    content = call(
        json.loads(call(f"{url}/dicomweb/instances?limit=1"))[0]["00081190"]["Value"][0],
        headers={"Accept": "application/dicom"},
    )
    path = tmp_path / "one.dcm"
    path.write_bytes(content)
    ended = subprocess.run([external("dcmdump"), "+P", "0008,0018", str(path)], capture_output=True, text=True)
    assert ended.returncode == 0
    assert "SOPInstanceUID" in ended.stdout


@pytest.mark.parametrize("program", ["+ti", "+te", "+tb"])
def test_files_that_dcmtk_wrote_are_taken(url, tmp_path, external, program):
    plain, written = tmp_path / "plain.dcm", tmp_path / "written.dcm"
    plain.write_bytes(content_of(make_series((1, 16, 16))[0]))
    subprocess.run([external("dcmconv"), program, str(plain), str(written)], check=True)
    answer = json.loads(call(f"{url}/dicomweb/studies", multipart([written.read_bytes()]), STORE_HEADERS))
    location = answer["00081199"]["Value"][0]["00081190"]["Value"][0]
    frame = call(f"{location}/frames/1", headers={"Accept": "application/octet-stream"})
    assert frame == make_series((1, 16, 16))[0].PixelData


def test_compressed_by_dcmtk_and_decoded_by_us(url, tmp_path, external):
    plain, written = tmp_path / "plain.dcm", tmp_path / "written.dcm"
    plain.write_bytes(content_of(make_series((1, 16, 16), signed=False)[0]))
    subprocess.run([external("dcmcjpeg"), "+e1", str(plain), str(written)], check=True)
    answer = json.loads(call(f"{url}/dicomweb/studies", multipart([written.read_bytes()]), STORE_HEADERS))
    location = answer["00081199"]["Value"][0]["00081190"]["Value"][0]
    frame = call(f"{location}/frames/1", headers={"Accept": "application/octet-stream"})
    assert frame == make_series((1, 16, 16), signed=False)[0].PixelData
    as_stored = call(f"{location}/frames/1", headers={"Accept": "image/jpeg"})
    assert as_stored[:2] == b"\xff\xd8"
