"""WADO-RS frames and rendered resources."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image

from tests.common.dicom_factory import content_of, make_series
from tests.common.dicomweb import THEIRS
from tests.unit.api.dicomweb.test_wado import parts

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
OCTETS, EXPLICIT, J2K = "application/octet-stream", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.91"


def stored(store, content):
    answer = store([content])
    assert answer.status_code in {200, 202}
    return answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]


@pytest.fixture
def native(store):
    dataset = make_series((1, 8, 6))[0]
    dataset.NumberOfFrames, dataset.PixelData = 3, dataset.PixelData + bytes(96) + dataset.PixelData
    return stored(store, content_of(dataset)), dataset.PixelData


@pytest.fixture
def packed(store):
    return stored(store, (SAMPLES / "JPEG2000.dcm").read_bytes())


def get(client, url, accept=None):
    return client.get(url, headers={"Accept": accept} if accept else {})


@pytest.mark.parametrize(
    "accept",
    [None, "*/*", 'multipart/related; type="application/octet-stream"', 'multipart/related; type="*/*"',
     'multipart/related; type="application/octet-stream"; transfer-syntax=*',
     f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT}'],
)  # fmt: skip
def test_native_frames_in_the_order_they_were_asked_for(client, native, accept):
    url, pixels = native
    found = parts(get(client, f"{url}/frames/3,2", accept))
    assert [content for _, content in found] == [pixels[192:], pixels[96:192]]
    assert {kind for kind, _ in found} == {f"{OCTETS}; transfer-syntax={EXPLICIT}"}


def test_one_frame_in_one_part(client, native):
    url, pixels = native
    answer = get(client, f"{url}/frames/1", OCTETS)
    assert answer.headers["content-type"].startswith(OCTETS)
    assert answer.content == pixels[:96]
    assert get(client, f"{url}/frames/1,2", OCTETS).status_code == 406


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ('multipart/related; type="application/octet-stream"; transfer-syntax=*', "image/jp2"),
        (f'multipart/related; type="image/jp2"; transfer-syntax={J2K}', "image/jp2"),
        ('multipart/related; type="image/jp2"', "image/jp2"),
        ('multipart/related; type="image/*"', "image/jp2"),
        ('multipart/related; type="*/*"; transfer-syntax=*', "image/jp2"),
        ("image/jp2", "image/jp2"),
        (None, OCTETS),
        ('multipart/related; type="application/octet-stream"', OCTETS),
        ('multipart/related; type="image/jls", multipart/related; type="application/octet-stream"', OCTETS),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_compressed_frames_as_stored_or_decoded(client, packed, accept, kind):
    answer = get(client, f"{packed}/frames/1", accept)
    assert answer.status_code == 200
    single = not answer.headers["content-type"].startswith("multipart")
    ((found, content),) = [(answer.headers["content-type"], answer.content)] if single else parts(answer)
    assert found == f"{kind}; transfer-syntax={J2K if kind == 'image/jp2' else EXPLICIT}"
    if kind == OCTETS:
        expected = pydicom.dcmread(SAMPLES / "JPEG2000.dcm").pixel_array
        np.testing.assert_array_equal(np.frombuffer(content, "<i2").reshape(expected.shape), expected)
    else:
        assert content[:4] == b"\xff\x4f\xff\x51"


@pytest.mark.parametrize(
    ("tail", "accept", "status", "code"),
    [
        ("/frames/1", "image/png", 406, "not-acceptable"),
        ("/frames/1", 'multipart/related; type="image/jls"', 406, "not-acceptable"),
        (
            "/frames/1",
            f'multipart/related; type="application/octet-stream"; transfer-syntax={J2K}',
            406,
            "not-acceptable",
        ),
        ("/frames/0", None, 404, "frame-absent"),
        ("/frames/4", None, 404, "frame-absent"),
        ("/frames/1,9", None, 404, "frame-absent"),
        ("/frames/x", None, 400, "bad-frame-list"),
        ("/frames/1,,2", None, 400, "bad-frame-list"),
        ("/frames/-1", None, 400, "bad-frame-list"),
        ("/frames/" + ",".join("1" * 10_001), None, 400, "bad-frame-list"),
        ("/frames/1,2/rendered", None, 400, "bad-frame-list"),
        ("/frames/4/rendered", None, 404, "frame-absent"),
        ("/rendered", "image/gif", 406, "not-acceptable"),
        ("/rendered?window=1", None, 400, "bad-query"),
    ],
)
def test_what_is_refused(client, native, tail, accept, status, code):
    answer = get(client, native[0] + tail, accept)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_rendered(client, native):
    url, _ = native
    answer = get(client, f"{url}/rendered")
    assert answer.headers["content-type"] == "image/jpeg"
    answer = get(client, f"{url}/frames/3/rendered?window=5,10,linear-exact&viewport=60,80", "image/png")
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size, picture.mode) == ("PNG", (60, 80), "L")


def test_another_institution_finds_nothing(client, native):
    for tail in ("/frames/1", "/rendered", "/frames/1/rendered", "/bulkdata/7FE00010"):
        assert client.get(native[0] + tail, headers={"Institution": THEIRS}).status_code == 404


@pytest.mark.filterwarnings("ignore")
def test_what_has_no_frames(client, store):
    report = stored(store, (SAMPLES / "reportsi.dcm").read_bytes())
    assert get(client, f"{report}/frames/1").status_code == 404
    assert get(client, f"{report}/rendered").status_code == 404
    assert get(client, f"{report}/metadata").status_code == 200


@pytest.mark.filterwarnings("ignore")
def test_frames_of_a_segmentation_stay_packed(client, store):
    url = stored(store, (SAMPLES / "liver_1frame.dcm").read_bytes())
    ((_, content),) = parts(get(client, f"{url}/frames/1"))
    dataset = pydicom.dcmread(SAMPLES / "liver_1frame.dcm")
    assert len(content) == dataset.Rows * dataset.Columns // 8
    assert content == dataset.PixelData[: len(content)]
