"""STOW-RS: every case with its status and its code, and nothing else harmed."""

from __future__ import annotations

import socket
import struct
import tracemalloc
import urllib.request

import pytest
from starlette.testclient import TestClient

from bithive import limits
from tests.common.dicom_factory import content_of, files_of, make_series
from tests.common.dicomweb import (
    OURS,
    STORE_HEADERS,
    THEIRS,
    application,
    clinic_side,
    multipart,
    reasons,
    serving,
)
from tests.common.servers import wait_until

SOP = "1.2.3.100.1.1"


def files(count=3, **arguments):
    return [content_of(dataset) for dataset in make_series((count, 8, 6), **arguments)]


def test_all_stored(store, side):
    answer = store(files())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert "warning" not in answer.headers
    body = answer.json()
    assert body["00081190"]["Value"] == ["http://hub/dicomweb/studies/1.2.3.100"]
    items = body["00081199"]["Value"]
    assert [item["00081155"]["Value"][0] for item in items] == [f"1.2.3.100.1.{k}" for k in (1, 2, 3)]
    assert items[0]["00081190"]["Value"] == [
        f"http://hub/dicomweb/studies/1.2.3.100/series/1.2.3.100.1/instances/{SOP}"
    ]
    assert "00081198" not in body
    assert side.archive.study(OURS, "1.2.3.100").instances == 3
    assert side.archive.study(THEIRS, "1.2.3.100") is None


def test_some_failed_and_the_answer_names_reasons_only(store):
    secret = "VERY^SECRET"
    stranger = files(2, patient={"PatientID": secret, "PatientName": secret})[1]
    answer = store([files(1)[0], b"VERY^SECRET text", stranger])
    assert answer.status_code == 202
    assert reasons(answer.json()) == [0xA902, 0xC000]
    (failed,) = answer.json()["00081198"]["Value"]
    assert failed["00081155"]["Value"] == ["1.2.3.100.1.2"]
    assert answer.json()["0008119A"]["Value"] == [{"00081197": {"vr": "US", "Value": [0xC000]}}]
    assert answer.headers["warning"] == '299 bithive "not-dicom=1, patient-mismatch=1"'
    assert secret not in answer.text


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ([b"a text file"], 0xC000),
        ([files(1)[0][:-7]], 0xC001),
        ([files(1, SOPClassUID="1.2.840.10008.1.1")[0]], 0x0122),
    ],
)
def test_none_stored(store, side, contents, reason):
    answer = store(contents)
    assert (answer.status_code, reasons(answer.json())) == (409, [reason])
    assert "00081190" not in answer.json()
    assert side.archive.study(OURS, "1.2.3.100") is None


def test_the_same_again_and_the_same_twice(store):
    assert store(files()).status_code == 200
    assert store(files()).status_code == 200
    answer = store([*files(), *files()])
    assert answer.status_code == 200
    assert len(answer.json()["00081199"]["Value"]) == 6


def test_another_content_under_a_known_uid(store):
    store(files(1))
    answer = store(files(1, description="changed"))
    assert (answer.status_code, reasons(answer.json())) == (409, [0x0111])
    assert "instance-differs" in answer.headers["warning"]


def test_a_study_that_is_named(store):
    assert store(files(1), "1.2.3.100").status_code == 200
    answer = store(files(1, series_uid="1.5"), "1.9")
    assert (answer.status_code, reasons(answer.json())) == (409, [43265])
    answer = store(files(1), "not-a-uid")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-uid")


def test_a_real_study_with_blank_uids_is_stored_with_a_warning(store, shared):
    answer = store(files_of(shared / "data" / "ct-body-j2k"))
    assert answer.status_code == 202
    items = answer.json()["00081199"]["Value"]
    assert len(items) == 20
    assert all(item["00081196"]["Value"] == [0xB000] for item in items)
    assert "00081198" not in answer.json()


def test_a_private_class_is_stored_with_a_warning(store):
    answer = store(files(1, SOPClassUID="1.3.12.2.1107.5.9.1"))
    assert answer.status_code == 202
    assert answer.json()["00081199"]["Value"][0]["00081196"]["Value"] == [0xB007]


def test_one_bare_instance(client):
    answer = client.post("/dicomweb/studies", content=files(1)[0], headers={"Content-Type": "application/dicom"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, b"x", 415, "unsupported-media-type"),
        ({"Content-Type": ""}, b"x", 415, "unsupported-media-type"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"x", 415, "unsupported-media-type"),
        (
            {"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=b'},
            b"x",
            415,
            "unsupported-media-type",
        ),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, b"x", 400, "bad-multipart"),
        ({}, b"no boundary", 400, "bad-multipart"),
        ({}, b"", 400, "bad-multipart"),
        ({}, multipart([]), 400, "no-instances"),
        ({}, multipart(files(2))[:-20], 400, "bad-multipart"),
        ({"Content-Type": "application/dicom"}, b"", 400, "no-instances"),
        ({"Accept": "application/dicom+xml"}, multipart(files(1)), 406, "not-acceptable"),
    ],
)
def test_requests_that_are_refused_as_a_whole(client, side, headers, content, status, code):
    answer = client.post("/dicomweb/studies", content=content, headers=STORE_HEADERS | headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert side.archive.study(OURS, "1.2.3.100") is None


def test_a_missing_type_parameter_is_forgiven(client):
    headers = {"Content-Type": f'multipart/related; boundary="{"the-boundary"}"'}
    assert client.post("/dicomweb/studies", content=multipart(files(1)), headers=headers).status_code == 200


def test_limits_are_refused_before_anything_is_stored(client, side, tmp_path, monkeypatch):
    body = multipart(files(3))
    monkeypatch.setattr(limits, "REQUEST_BYTES_MAX", len(body) - 1)
    announced = client.post("/dicomweb/studies", content=body, headers=STORE_HEADERS)
    chunked = client.post("/dicomweb/studies", content=iter([body[:3000], body[3000:]]), headers=STORE_HEADERS)
    for answer in (announced, chunked):
        assert (answer.status_code, answer.json()["code"]) == (413, "request-too-large")
    monkeypatch.setattr(limits, "REQUEST_BYTES_MAX", len(body))
    monkeypatch.setattr(limits, "REQUEST_INSTANCES_MAX", 2)
    answer = client.post("/dicomweb/studies", content=body, headers=STORE_HEADERS)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-many-instances")
    assert side.archive.study(OURS, "1.2.3.100") is None
    assert not list((tmp_path / "blobs").glob("??/*"))
    assert not list((tmp_path / "blobs" / "spool").iterdir())
    monkeypatch.setattr(limits, "REQUEST_INSTANCES_MAX", 3)
    assert client.post("/dicomweb/studies", content=body, headers=STORE_HEADERS).status_code == 200


def test_an_instance_over_the_limit_fails_alone(store, monkeypatch):
    small, large = files(1)[0], content_of(make_series((1, 64, 64), series_uid="1.2.3.100.2")[0])
    monkeypatch.setattr(limits, "INSTANCE_BYTES_MAX", len(small))
    answer = store([small, large])
    assert (answer.status_code, reasons(answer.json())) == (202, [0xA701])


def test_a_full_disk_asks_to_come_back(tmp_path):
    free = [10_000]
    with clinic_side(tmp_path, lambda: free[0], disk_reserve_bytes=1000, disk_low_bytes=5000) as side:
        client = TestClient(application(side), base_url="http://hub")

        def post(contents, path="/dicomweb/studies"):
            return client.post(path, content=multipart(contents), headers=STORE_HEADERS)

        assert post(files(1)).status_code == 200
        free[0] = 4999
        assert post(files(2)).status_code == 200
        for path in ("/dicomweb/studies", "/dicomweb/studies/1.9"):
            answer = post(files(1, study_uid="1.9", series_uid="1.9.1"), path)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        mixed = post([files(3)[2], files(1, study_uid="1.9", series_uid="1.9.1")[0]])
        assert (mixed.status_code, reasons(mixed.json())) == (202, [0xA700])
        free[0] = 999
        answer = post(files(3))
        assert (answer.status_code, answer.json()["code"]) == (503, "disk-full")
        assert "retry-after" in answer.headers
        assert side.archive.study(OURS, "1.2.3.100").instances == 3


def test_a_connection_that_ends_early_leaves_nothing(side, tmp_path):
    body = multipart(files(3))
    head = "".join(f"{name}: {value}\r\n" for name, value in STORE_HEADERS.items())
    with serving(application(side)) as url:
        host, port = url.removeprefix("http://").split(":")
        for announced in (f"Content-Length: {len(body)}\r\n", "Transfer-Encoding: chunked\r\n"):
            with socket.create_connection((host, int(port))) as connection:
                start = f"POST /dicomweb/studies HTTP/1.1\r\nHost: {host}\r\n{head}{announced}\r\n".encode()
                sent = body[: len(body) // 2]
                if "chunked" in announced:
                    sent = f"{len(sent):x}\r\n".encode() + sent
                connection.sendall(start + sent)
                wait_until(lambda: any((tmp_path / "blobs" / "spool").iterdir()))
            wait_until(lambda: not any((tmp_path / "blobs" / "spool").iterdir()))
    assert side.archive.study(OURS, "1.2.3.100") is None
    assert not list((tmp_path / "blobs").glob("??/*"))


def test_memory_is_bounded_by_the_backlog_and_not_by_the_instance(side):
    content = content_of(make_series((1, 8, 6), Rows=4096, Columns=4096)[0])
    frame = bytes(4096 * 4096 * 2)
    at = content.rfind(b"OW\x00\x00") + 4
    content = content[:at] + struct.pack("<I", len(frame) * 4) + b"".join([frame] * 4)
    body = multipart([content])
    del content
    with serving(application(side)) as url:
        tracemalloc.start()
        request = urllib.request.Request(f"{url}/dicomweb/studies", body, STORE_HEADERS)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(body) > 130_000_000
    assert peak < 90_000_000
