"""WADO-RS: instances, headers and bulk values, in the form that was asked for."""

from __future__ import annotations

import email
import io

import pydicom
import pytest

from bithive.errors import DigestMismatch
from clinic.access_log import Access
from tests.common.dicom_factory import content_of, make_series
from tests.common.dicomweb import OURS, THEIRS

STUDY, SERIES, SOP = "1.2.3.100", "1.2.3.100.1", "1.2.3.100.1.1"
INSTANCE = f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SOP}"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
FILES = [content_of(dataset) for dataset in make_series((3, 4, 4), syntax=IMPLICIT)]


def parts(answer):
    """Content types and contents of a multipart answer, read by Python's own parser."""
    assert answer.headers["content-type"].startswith("multipart/related")
    raw = b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.content
    message = email.message_from_bytes(raw)
    boundary = message.get_param("boundary").encode()
    pieces = answer.content.split(b"--" + boundary)[1:-1]
    found = [piece.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n") for piece in pieces]
    return [(email.message_from_bytes(head + b"\r\n\r\n")["Content-Type"], content) for head, _, content in found]


@pytest.fixture
def filled(store, client):
    assert store(FILES).status_code == 200
    return client


def get(client, path, accept=None, **headers):
    return client.get(path, headers=({"Accept": accept} if accept else {}) | headers)


@pytest.mark.parametrize(
    ("path", "count"),
    [(f"/dicomweb/studies/{STUDY}", 3), (f"/dicomweb/studies/{STUDY}/series/{SERIES}", 3), (INSTANCE, 1)],
)
def test_instances_as_they_were_stored(filled, path, count):
    answer = get(filled, path, 'multipart/related; type="application/dicom"; transfer-syntax=*')
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    found = parts(answer)
    assert [content for _, content in found] == FILES[:count]
    assert {kind for kind, _ in found} == {f"application/dicom; transfer-syntax={IMPLICIT}"}


@pytest.mark.parametrize("form", ["multipart", "single", "metadata"])
def test_what_came_with_blank_uids_leaves_with_those_it_is_known_by(store, client, form):
    (blank,) = make_series((1, 4, 4))
    blank.file_meta.MediaStorageSOPClassUID, blank.file_meta.MediaStorageSOPInstanceUID = blank.SOPClassUID, SOP
    content = content_of(blank)
    content = content.replace(b"\x08\x00\x18\x00UI\x0e\x00" + SOP.encode() + b"\x00", b"\x08\x00\x18\x00UI\x00\x00")
    assert store([content]).status_code == 202
    if form == "metadata":
        (header,) = get(client, INSTANCE + "/metadata").json()
        assert header["00080018"]["Value"] == [SOP]
        assert header["04000561"]["Value"][0]["04000563"]["Value"] == ["BitHive"]
        return
    accept = "application/dicom; transfer-syntax=*"
    answer = get(
        client, INSTANCE, accept if form == "single" else f'multipart/related; type="{accept[:17]}"; transfer-syntax=*'
    )
    assert answer.status_code == 200
    given = answer.content if form == "single" else parts(answer)[0][1]
    dataset = pydicom.dcmread(io.BytesIO(given))
    assert dataset.SOPInstanceUID == SOP
    (blanks,) = dataset.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert [element.keyword for element in blanks] == ["SOPInstanceUID"]


@pytest.mark.parametrize("accept", [None, "*/*", 'multipart/related; type="application/dicom"', "multipart/*"])
def test_the_default_transfer_syntax_is_explicit(filled, accept):
    ((kind, content),) = parts(get(filled, INSTANCE, accept))
    assert kind == f"application/dicom; transfer-syntax={EXPLICIT}"
    dataset, original = pydicom.dcmread(io.BytesIO(content)), pydicom.dcmread(io.BytesIO(FILES[0]))
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
    assert dataset == original
    assert dataset.PixelData == original.PixelData


def test_one_instance_in_one_part(filled):
    answer = get(filled, INSTANCE, "application/dicom; transfer-syntax=*")
    assert (answer.headers["content-type"], answer.content) == ("application/dicom", FILES[0])
    answer = get(filled, INSTANCE, "application/dicom")
    assert pydicom.dcmread(io.BytesIO(answer.content)).file_meta.TransferSyntaxUID == EXPLICIT


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (INSTANCE, "application/dicom+xml"),
        (INSTANCE, 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90'),
        (f"/dicomweb/studies/{STUDY}", "application/dicom"),
        (f"{INSTANCE}/metadata", "application/dicom+xml"),
        (f"{INSTANCE}/bulkdata/7FE00010", "image/png"),
    ],
)
def test_what_is_not_acceptable(filled, path, accept):
    answer = get(filled, path, accept)
    assert (answer.status_code, answer.json()["code"]) == (406, "not-acceptable")


def test_a_second_choice_is_taken(filled):
    answer = get(
        filled,
        INSTANCE,
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90, '
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2; q=0.5',
    )
    assert parts(answer)[0][1] == FILES[0]


@pytest.mark.parametrize("path", [f"/dicomweb/studies/{STUDY}", f"/dicomweb/studies/{STUDY}/series/{SERIES}", INSTANCE])
@pytest.mark.parametrize("tail", ["", "/metadata"])
def test_another_institution_finds_nothing(filled, path, tail):
    answer = get(filled, path + tail, Institution=THEIRS)
    assert answer.status_code == 404
    assert answer.json()["code"] in {"study-absent", "series-absent", "instance-absent"}
    assert get(filled, (path + tail).replace("1.2.3.100", "1.2.9")).status_code == 404


def test_metadata(filled):
    answer = get(filled, f"/dicomweb/studies/{STUDY}/series/{SERIES}/metadata", "application/dicom+json")
    assert answer.headers["content-type"] == "application/dicom+json"
    headers = answer.json()
    assert [item["00080018"]["Value"][0] for item in headers] == [f"{SERIES}.{k}" for k in (1, 2, 3)]
    assert headers[0]["7FE00010"]["BulkDataURI"] == f"http://hub{INSTANCE}/bulkdata/7FE00010"
    for path in (f"/dicomweb/studies/{STUDY}/metadata", f"{INSTANCE}/metadata"):
        assert get(filled, path).json()[0] == headers[0]
    dataset = pydicom.Dataset.from_json(
        headers[0], lambda _tag, _vr, _uri: pydicom.dcmread(io.BytesIO(FILES[0])).PixelData
    )
    assert dataset == pydicom.dcmread(io.BytesIO(FILES[0]))


def test_bulk_values(filled):
    uri = get(filled, f"{INSTANCE}/metadata").json()[0]["7FE00010"]["BulkDataURI"]
    expected = pydicom.dcmread(io.BytesIO(FILES[0])).PixelData
    assert get(filled, uri).content == expected
    ((kind, content),) = parts(get(filled, uri, 'multipart/related; type="application/octet-stream"'))
    assert (kind, content) == ("application/octet-stream", expected)
    answer = get(filled, f"{INSTANCE}/bulkdata/00100010")
    assert (answer.status_code, answer.json()["code"]) == (404, "bulk-absent")


def test_who_took_what_is_logged_once_a_request(filled, side):
    get(filled, f"/dicomweb/studies/{STUDY}")
    get(filled, f"/dicomweb/studies/{STUDY}/metadata")
    get(filled, INSTANCE, Institution=THEIRS)
    assert [(row.kind, row.study_uid, row.account) for row in side.access_log.read(OURS)] == [
        (Access.EXPORTED, STUDY, "acc_1"),
        (Access.OPENED, STUDY, "acc_1"),
    ]
    assert side.access_log.read(THEIRS) == []


def test_changed_bytes_never_leave_whole(filled, tmp_path, side):
    row = side.archive.instance(OURS, SOP)
    path = tmp_path / "blobs" / row.blob[:2] / row.blob
    path.write_bytes(FILES[0][:-1] + b"\x55")
    with pytest.raises((DigestMismatch, RuntimeError)):  # the answer has begun, so the connection breaks
        get(filled, INSTANCE, "application/dicom; transfer-syntax=*")


def test_what_was_stored_can_be_stored_again(filled, store):
    contents = [
        content
        for _, content in parts(
            get(filled, f"/dicomweb/studies/{STUDY}", 'multipart/related; type="application/dicom"; transfer-syntax=*')
        )
    ]
    assert store(contents).status_code == 200
