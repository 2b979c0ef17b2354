"""multipart/related: whatever the chunks, the parts are the same."""

from __future__ import annotations

import random

import pytest

from api.dicomweb.errors import BadMultipart
from api.dicomweb.multipart import Mark, MultipartReader, closing, new_boundary, parameters, part_head
from bithive import limits


def read(body: bytes, boundary="b", size=None) -> list[bytes]:
    reader, parts = MultipartReader(boundary), []
    chunks = [body[at : at + size] for at in range(0, len(body), size)] if size else [body]
    for chunk in chunks:
        for event in reader.feed(chunk):
            if event is Mark.BEGIN:
                parts.append([bytearray(), False])
            elif event is Mark.END:
                parts[-1][1] = True
            else:
                parts[-1][0] += event
    reader.finish()
    assert all(ended for _, ended in parts)
    return [bytes(content) for content, _ in parts]


def body_of(contents, boundary="b"):
    return b"".join(part_head(boundary, "application/dicom") + item + b"\r\n" for item in contents) + closing(boundary)


CONTENTS = [b"one", b"", b"\r\n--", b"\r\n--bb\r\n", b"--b--", bytes(range(256)) * 20, b"\r\n\r\n", b"\r\r\n\r\n-"]


@pytest.mark.parametrize("size", [None, 1, 2, 3, 7, 64, 1000])
def test_parts_of_any_content_in_chunks_of_any_size(size):
    assert read(body_of(CONTENTS), size=size) == CONTENTS


def test_random_contents_full_of_almost_boundaries():
    chance = random.Random(1)
    for _ in range(200):
        contents = [
            b"".join(chance.choices([b"\r", b"\n", b"-", b"b", b"\r\n--", b"x"], k=chance.randrange(30)))
            for _ in range(3)
        ]
        contents = [item.replace(b"\r\n--b", b"") for item in contents]
        if any(b"\r\n--b" in item for item in contents):
            continue
        assert read(body_of(contents), size=chance.randrange(1, 20)) == contents


def test_preamble_epilogue_blanks_and_headless_parts():
    body = (
        b"ignored\r\nwords\r\n--b  \t\r\n\r\nfirst\r\n--b\r\nA: b\r\nC: d\r\n\r\nsecond\r\n--b--\r\ntrailing\r\n--b\r\n"
    )
    assert read(body) == [b"first", b"second"]
    assert read(body, size=1) == [b"first", b"second"]


def test_an_empty_multipart():
    assert read(b"--b--") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--b\r\n\r\ncontent",
        b"--b\r\nHeader: x",
        b"--b\r\n\r\ncontent\r\n--b",
        b"--b\r\n\r\ncontent\r\n--b\r\n",
        b"--bx\r\n\r\nc\r\n--bx--",
        b"--b x\r\n\r\nc\r\n--b--",
        b"--b\r\n\r\nc\r\n--b-\r\n",
    ],
)
@pytest.mark.parametrize("size", [None, 1])
def test_what_is_malformed(body, size):
    with pytest.raises(BadMultipart):
        read(body, size=size)


@pytest.mark.parametrize(
    "body", [b"x" * 20_000, b"--b" + b" " * 20_000, b"--b\r\nA: " + b"x" * 20_000, b"--b\r\n" + b"A: b\r\n" * 5_000]
)
@pytest.mark.parametrize("size", [None, 997])
def test_what_never_ends_is_cut_off(body, size):
    with pytest.raises(BadMultipart):
        read(body + b"\r\n\r\n", size=size)


def test_waiting_bytes_are_bounded():
    reader = MultipartReader("b")
    list(reader.feed(b"--b\r\n\r\n"))
    for _ in range(100):
        list(reader.feed(b"\r" * 65536))
        assert len(reader._waiting) < 100
    reader = MultipartReader("b")
    for _ in range(3):
        list(reader.feed(b"x" * 1000))
    assert len(reader._waiting) < 100
    assert limits.PART_HEADER_BYTES_MAX > 4000


@pytest.mark.parametrize("boundary", ["", "x" * 201, "ü"])
def test_boundaries_that_are_none(boundary):
    with pytest.raises(BadMultipart):
        MultipartReader(boundary)


def test_content_types():
    assert parameters('Multipart/Related; TYPE="application/dicom"; boundary="a b;c"') == (
        "multipart/related",
        {"type": "application/dicom", "boundary": "a b;c"},
    )
    assert parameters("application/dicom") == ("application/dicom", {})
    assert parameters("") == ("", {})
    assert new_boundary() != new_boundary()
    assert b"Content-Location: http://x\r\n\r\n" in part_head("b", "t", 5, "http://x")
