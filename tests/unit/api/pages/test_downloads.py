from __future__ import annotations

import io
import zipfile

import pydicom

from clinic.access_log import Access
from tests.common.dicom_factory import INSTITUTION


def exported(house):
    return [row.study_uid for row in house.services.access_log.read(INSTITUTION) if row.kind is Access.EXPORTED]


def test_an_object_made_here_is_downloaded_as_it_is_stored(house, page):
    item = house.done()
    for reference in item.references:
        answer = page.get(f"/studies/1.2.3.100/instances/{reference.sop_uid}/download")
        assert answer.headers["content-type"] == "application/dicom"
        assert answer.headers["content-disposition"] == f'attachment; filename="{reference.sop_uid}.dcm"'
        assert pydicom.dcmread(io.BytesIO(answer.content)).SOPInstanceUID == reference.sop_uid
    assert exported(house) == ["1.2.3.100"] * 3


def test_a_series_is_downloaded_as_a_zip_that_anyone_can_read(house, page):
    house.receive_head()
    answer = page.get("/studies/1.2.3.100/series/1.2.3.100.1/download")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 64
        assert all(name.endswith(".dcm") for name in archive.namelist())
        first = pydicom.dcmread(io.BytesIO(archive.read("00001.dcm")))
    assert first.SeriesInstanceUID == "1.2.3.100.1"
    assert exported(house) == ["1.2.3.100"]


def test_what_is_not_there_or_not_yours(house, page, browser):
    house.receive_head()
    for address in (
        "/studies/1.2.3.999/series/1.2.3.100.1/download",
        "/studies/1.2.3.100/series/1.2.3.9/download",
        "/studies/1.2.3.999/instances/1.2.3.100.1.1/download",
        "/studies/1.2.3.100/instances/1.2.3.9/download",
    ):
        assert page.get(address).status_code == 404
    theirs = browser("clinician", name="them", institution="ins_00000000000000000000000009")
    assert theirs.get("/studies/1.2.3.100/series/1.2.3.100.1/download").status_code == 404
    assert browser("auditor").get("/studies/1.2.3.100/series/1.2.3.100.1/download").status_code == 403
    assert page.get("/studies/1.2.3.100/instances/x;y/download").status_code == 400
    assert exported(house) == []
