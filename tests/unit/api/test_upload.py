from __future__ import annotations

import io
import zipfile

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.upload import file_name
from api.wiring import wire
from bithive import limits
from bithive.clock import SystemClock
from bithive.settings import Mode, load
from tests.common.dicom_factory import content_of, make_series

BOUNDARY = "----form"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    settings = load(
        mode=Mode.DEMO,
        state=tmp_path_factory.mktemp("upload"),
        clinic={"disk_low_bytes": 0, "disk_reserve_bytes": 0},
    )
    services = wire(settings, SystemClock(), "http://127.0.0.1:9")
    with TestClient(create_app(services), base_url="http://127.0.0.1") as client:
        token = services.accounts.token(services.accounts.add("dr.roe", "clinician"))
        client.headers["Authorization"] = f"Bearer {token}"
        yield services, client
    services.close()


@pytest.fixture
def client(hub):
    return hub[1]


def _instances(number, count=3):
    study = f"1.2.3.{number}"
    series = make_series((count, 4, 4), study_uid=study, series_uid=f"{study}.1")
    return study, [content_of(instance) for instance in series]


def _form(files):
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _post(client, files, headers=None):
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **(headers or {})}
    return client.post("/api/upload", content=_form(files), headers=headers)


def _zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_files_of_a_folder_with_something_else_among_them(client):
    study, contents = _instances(1)
    files = [(f"head/{number}.dcm", content) for number, content in enumerate(contents)]
    answer = _post(client, [*files, ("head/notes.txt", b"hello"), ("head/empty", b"")]).json()
    assert (answer["stored"], answer["refused"], answer["studies"]) == (3, 2, [study])
    assert [item["name"] for item in answer["files"]][:3] == [name for name, _ in files]
    codes = {item["name"]: item["code"] for item in answer["files"]}
    assert codes["head/notes.txt"] == "not-dicom"
    assert codes["head/0.dcm"] is None
    found = client.get(f"/api/studies/{study}").json()
    assert found["instances"] == 3


def test_a_zip_among_files(client):
    study, contents = _instances(2)
    packed = _zip({"a/": b"", "a/1.dcm": contents[0], "a/DICOMDIR": b"x", "a/readme": b"hello"})
    answer = _post(client, [("x.zip", packed), ("2.dcm", contents[1])]).json()
    assert (answer["stored"], answer["studies"]) == (2, [study])
    assert [item["name"] for item in answer["files"]] == ["x.zip/a/1.dcm", "x.zip/a/readme", "2.dcm"]


def test_a_bare_zip_and_a_bare_instance(client):
    study, contents = _instances(3)
    packed = _zip({"1.dcm": contents[0]})
    answer = client.post("/api/upload", content=packed, headers={"Content-Type": "application/zip"}).json()
    assert (answer["stored"], answer["studies"]) == (1, [study])
    answer = client.post("/api/upload", content=contents[1], headers={"Content-Type": "application/dicom"}).json()
    assert (answer["stored"], answer["studies"]) == (1, [study])


def test_a_part_of_the_form_that_is_no_file(client):
    study, contents = _instances(4)
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'.encode()
    body = field + _form([("1.dcm", contents[0])])
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = client.post("/api/upload", content=body, headers=headers).json()
    assert (answer["stored"], answer["refused"], answer["studies"]) == (1, 0, [study])


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"zeros": b"\0" * (300 << 20)}, "zip-bomb"),
        ({"../climb.dcm": b"x"}, "zip-path"),
        ({"inner.zip": _zip({"a": b"b"})}, "zip-nested"),
    ],
)
def test_a_hostile_zip_takes_nothing_with_it(client, members, code):
    study, contents = _instances(5)
    answer = _post(client, [("1.dcm", contents[0]), ("x.zip", _zip(members))])
    assert answer.json()["code"] == code
    assert answer.status_code in {413, 422}
    assert client.get(f"/api/studies/{study}").status_code == 404


@pytest.mark.parametrize("content", [b"PK\x03\x04 and then nothing", _zip({})])
def test_a_damaged_or_empty_zip(client, content):
    answer = _post(client, [("x.zip", content)])
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-zip")


def test_malformed_requests(client):
    study, contents = _instances(6)
    form = _form([("1.dcm", contents[0])])
    good = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    assert client.post("/api/upload", content=form[:-20], headers=good).status_code == 400
    assert client.post("/api/upload", content=b"", headers=good).status_code == 400
    assert client.post("/api/upload", content=form, headers={"Content-Type": "multipart/form-data"}).status_code == 400
    assert client.post("/api/upload", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.get(f"/api/studies/{study}").status_code == 404


def test_too_large_is_refused_before_anything_is_read(client):
    headers = {"Content-Type": "application/dicom", "Content-Length": str(limits.REQUEST_BYTES_MAX + 1)}
    answer = client.post("/api/upload", content=iter([b"x"]), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "request-too-large")


def test_a_zip_leaves_no_file_behind(hub):
    services, client = hub
    _, contents = _instances(7)
    _post(client, [("x.zip", _zip({"1.dcm": contents[0]}))])
    assert list((services.settings.state / "uploads").iterdir()) == []


def test_it_needs_the_scope(hub):
    services, client = hub
    token = services.accounts.token(services.accounts.ensure("pacs", "pacs"))
    assert _post(client, [("x", b"y")], {"Authorization": f"Bearer {token}"}).status_code == 403


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'Content-Disposition: form-data; name="f"; filename="a b.dcm"', "a b.dcm"),
        (b'content-disposition: form-data; name="f"; filename="caf\xc3\xa9/1.dcm"\r\nX: y', "café/1.dcm"),
        (b"Content-Disposition: form-data; name=f; filename*=UTF-8''na%C3%AFve", "naïve"),
        (b'Content-Disposition: form-data; name="f"; filename=""', ""),
        (b'Content-Disposition: form-data; name="f"', None),
        (b"", None),
        (b'Content-Disposition: form-data; filename="' + b"x" * 600 + b'"', "x" * 512),
    ],
)
def test_file_names(head, name):
    assert file_name(head) == name
