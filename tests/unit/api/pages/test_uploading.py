from __future__ import annotations

import io
import json
import re
import zipfile
from html import unescape

from bithive.limits import REQUEST_BYTES_MAX, REQUEST_INSTANCES_MAX
from tests.common.dicom_factory import content_of, make_series
from tests.common.page_house import OURS


def test_the_page_knows_the_limits(page):
    text = page.get("/upload").text
    limits = json.loads(unescape(re.search(r"data-limits='([^']+)'", text)[1]))
    assert (limits["bytes"], limits["instances"]) == (REQUEST_BYTES_MAX, REQUEST_INSTANCES_MAX)
    assert '<label class="button primary" for="files">' in text
    assert "webkitdirectory" in text


def test_who_may_not_send_does_not_see_it(browser):
    assert browser("auditor").get("/upload").status_code == 403
    assert browser("administrator").get("/upload").status_code == 200


def test_what_the_page_sends_is_answered_file_by_file(page):
    contents = [content_of(item) for item in make_series(shape=(2, 8, 8))]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/b.dcm", contents[1])
    files = [
        ("files", ("folder/a.dcm", contents[0])),
        ("files", ("folder/notes.txt", b"hello")),
        ("files", ("more.zip", packed.getvalue())),
    ]
    first = page.post("/api/upload", files=files, headers=OURS).json()
    assert [(file["stored"], file["known"], file["code"]) for file in first["files"]] == [
        (True, False, None), (False, False, "not-dicom"), (True, False, None),
    ]  # fmt: skip
    again = page.post("/api/upload", files=files, headers=OURS).json()
    assert [(file["stored"], file["known"]) for file in again["files"]] == [(True, True), (False, False), (True, True)]
