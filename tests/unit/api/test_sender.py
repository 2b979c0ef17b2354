from __future__ import annotations

import zipfile

import httpx2
import pytest

from api.sender import NothingToSend, SendingFailed, collect, send
from bithive.errors import Unavailable

DICOM = b"\0" * 128 + b"DICM" + b"rest"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "study" / "deep"
    folder.mkdir(parents=True)
    (folder / "b.dcm").write_bytes(DICOM + b"b")
    (folder.parent / "a").write_bytes(DICOM + b"a")
    (folder / "notes.txt").write_text("hello")
    (folder / "empty").write_bytes(b"")
    return folder.parent


def test_dicom_files_of_a_folder_a_zip_and_a_file(folder, tmp_path):
    assert [source.path.name for source in collect(folder)] == ["a", "b.dcm"]
    packed = tmp_path / "study.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../x/1.dcm", DICOM + b"z")
        archive.writestr("readme", "hello")
    (source,) = collect(packed)
    assert b"".join(source.read()) == DICOM + b"z"
    assert len(collect(folder / "a")) == 1


def test_nothing_to_send(tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "x.txt", tmp_path / "absent"):
        with pytest.raises(NothingToSend):
            collect(path)


def _client(answer):
    return httpx2.Client(base_url="http://hub", transport=httpx2.MockTransport(answer))


def test_one_request_with_every_file(folder, ids):
    seen = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = request.read()
        assert int(request.headers["content-length"]) == len(body)
        assert body.count(b"DICM") == 2
        document = {
            "00081199": {
                "vr": "SQ",
                "Value": [
                    {"00081190": {"vr": "UR", "Value": ["http://hub/dicomweb/studies/1.2/series/3/instances/4"]}}
                ],
            },
            "00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]},
        }
        return httpx2.Response(202, json=document, headers={"Content-Type": "application/dicom+json"})

    with _client(answer) as client:
        said = send(client, collect(folder), ids, seen.append)
    assert (said.stored, said.refused, said.study_uids, said.reasons) == (1, 1, ("1.2",), (0xC000,))
    assert sum(seen) == 2 * len(DICOM) + 2


@pytest.mark.parametrize("status", [401, 500, 200])
def test_an_answer_that_is_no_stow_document(folder, ids, status):
    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, json={"detail": "who are you?"})

    with _client(answer) as client, pytest.raises(SendingFailed, match="who are you"):
        send(client, collect(folder), ids)


def test_no_hub(folder, ids):
    def answer(_request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with _client(answer) as client, pytest.raises(Unavailable):
        send(client, collect(folder), ids)
