"""Content negotiation."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from api.dicomweb import accept
from api.dicomweb.errors import NotAcceptable

EXPLICIT = "1.2.840.10008.1.2.1"


def request(header=None, query=""):
    headers = [(b"accept", item.encode()) for item in ([header] if isinstance(header, str) else header or [])]
    return Request({"type": "http", "headers": headers, "query_string": query.encode(), "method": "GET", "path": "/"})


def test_ranges_are_ordered_by_quality():
    found = accept.ranges(
        request('multipart/related; type="application/dicom"; transfer-syntax=*; q=0.5, application/dicom, */*;q=0')
    )
    assert [(item.media_type, item.part_type, item.syntax, item.named) for item in found] == [
        ("application/dicom", "*/*", EXPLICIT, False),
        ("multipart/related", "application/dicom", "*", True),
    ]


def test_nothing_said_is_anything():
    (item,) = accept.ranges(request())
    assert item.takes("application/dicom")
    assert item.takes_parts("application/dicom")
    assert item.takes_syntax(EXPLICIT)
    assert not item.takes_syntax("1.2.840.10008.1.2")


def test_commas_inside_quotes_and_several_headers():
    found = accept.ranges(request(['multipart/related; type="a,b"', "image/png"]))
    assert [item.media_type for item in found] == ["multipart/related", "image/png"]


def test_the_query_goes_before_the_header():
    assert accept.single(request("image/png", "accept=image/jpeg"), ("image/png", "image/jpeg")) == "image/jpeg"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/dicom+json, application/json", "application/dicom+json"),
        ("application/json;q=0.9, application/dicom+json", "application/dicom+json"),
        ("application/dicom+xml, */*;q=0.1", "application/dicom+json"),
    ],
)
def test_json(header, expected):
    assert accept.wants_json(request(header)) == expected


@pytest.mark.parametrize("header", ["application/dicom+xml", "text/html", "x" * 5000, "application/json;q=0"])
def test_what_cannot_be_given(header):
    with pytest.raises(NotAcceptable):
        accept.wants_json(request(header))
    with pytest.raises(NotAcceptable):
        accept.single(request(header), ("image/png",))


def test_wildcards():
    assert accept.matches("image/*", "image/png")
    assert not accept.matches("image/*", "video/mp4")
    assert accept.single(request("image/*"), ("image/jpeg", "image/png")) == "image/jpeg"
