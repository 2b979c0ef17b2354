"""Zip archives that mean harm, each with its code, and those that do not."""

from __future__ import annotations

import io
import stat
import struct
import zipfile

import pytest

from bithive import limits
from clinic import zipped
from clinic.errors import BadZip, ZipBomb, ZipEncrypted, ZipMethod, ZipNested, ZipPath, ZipTooLarge, ZipTooMany
from clinic.zipped import is_zip, open_zip


def packed(entries, method=zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return target.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    return {name: b"".join(chunks) for name, chunks in open_zip(io.BytesIO(content))}


def test_files_come_out_and_clutter_does_not():
    large = bytes(range(256)) * 10_000
    entries = [
        ("study/1.dcm", b"one"),
        ("study/", b""),
        ("study/2.dcm", large),
        ("__MACOSX/study/._1.dcm", b"x"),
        ("study/.DS_Store", b"x"),
        ("DICOMDIR", b"x"),
        ("empty", b""),
    ]
    content = packed(entries)
    assert is_zip(content)
    assert read(content) == {"study/1.dcm": b"one", "study/2.dcm": large, "empty": b""}


def test_an_empty_archive_holds_nothing():
    assert read(packed([])) == {}


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/etc/passwd", "C:/x", "C:\\x", "..\\out", "a\\..\\..\\b", "\\\\server\\x"]
)
def test_paths_that_lead_out(name):
    with pytest.raises(ZipPath):
        read(packed([("good", b"x"), (name, b"x")]))


def test_symbolic_links_and_names_with_nul():
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ZipPath):
        read(packed([(entry, b"/etc/passwd")]))
    with pytest.raises(ZipPath):
        read(packed([("goodXbad", b"x")]).replace(b"goodXbad", b"good\x00bad"))


def test_entries_at_the_limit_and_one_past_it(monkeypatch):
    monkeypatch.setattr(limits, "ZIP_ENTRIES_MAX", 3)
    assert len(read(packed([(str(k), b"x") for k in range(3)]))) == 3
    with pytest.raises(ZipTooMany):
        read(packed([(str(k), b"x") for k in range(4)]))


def test_an_outsized_directory_is_refused_before_it_is_read(monkeypatch):
    content = bytearray(packed([("a", b"x")]))
    at = content.rfind(b"PK\x05\x06")
    struct.pack_into("<I", content, at + 12, 2**31)
    with pytest.raises(ZipTooMany):
        read(bytes(content))


def test_expansion_at_the_limit_and_past_it(monkeypatch):
    monkeypatch.setattr(limits, "ZIP_EXPANDED_BYTES_MAX", 1000)
    assert read(packed([("a", b"x" * 500), ("b", b"x" * 500)]))
    with pytest.raises(ZipTooLarge):
        read(packed([("a", b"x" * 500), ("b", b"x" * 501)]))
    monkeypatch.setattr(limits, "INSTANCE_BYTES_MAX", 400)
    with pytest.raises(ZipTooLarge):
        read(packed([("a", b"x" * 401)]))


def test_a_bomb_by_ratio(monkeypatch):
    content = packed([("a", bytes(2_000_000))])
    assert read(content)  # a few blank images shrink like that
    monkeypatch.setattr(zipped, "_RATIO_MATTERS_BYTES", 1_000_000)
    with pytest.raises(ZipBomb):
        read(content)


def test_a_bomb_by_overlap():
    content = bytearray(packed([("a", b"x" * 100), ("b", b"y" * 100)], zipfile.ZIP_STORED))
    second = content.find(b"PK\x01\x02", content.find(b"PK\x01\x02") + 1)
    struct.pack_into("<I", content, second + 42, 0)
    with pytest.raises(ZipBomb):
        read(bytes(content))


def test_what_is_inside_must_be_plain(monkeypatch):
    with pytest.raises(ZipNested):
        read(packed([("inner.zip", packed([("a", b"x")]))]))
    with pytest.raises(ZipMethod):
        read(packed([("a", b"x" * 100)], zipfile.ZIP_LZMA))
    content = bytearray(packed([("a", b"x")]))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(mark) + at] |= 1
    with pytest.raises(ZipEncrypted):
        read(bytes(content))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06", b"no zip at all" * 100])
def test_what_is_no_zip(content):
    with pytest.raises(BadZip):
        read(content)


def test_damage_is_noticed():
    content = packed([("a", bytes(range(256)) * 100)], zipfile.ZIP_STORED)
    with pytest.raises(BadZip):
        read(content[:2000] + b"\x00" * 50 + content[2050:])
    with pytest.raises(BadZip):
        read(content[:-30])


def test_a_size_that_lies_is_a_bound(monkeypatch):
    content = bytearray(packed([("a", bytes(1_000_000))]))
    at = content.find(b"PK\x01\x02")
    struct.pack_into("<I", content, at + 24, 1000)
    with pytest.raises(BadZip):
        read(bytes(content))


def test_every_cut_and_flip_ends_in_a_code_or_in_files():
    content = packed([(f"f{k}", bytes([k]) * 300) for k in range(3)])
    for at in range(0, len(content), 7):
        for broken in (content[:at], content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]):
            try:
                read(broken)
            except (BadZip, ZipBomb, ZipEncrypted, ZipMethod, ZipNested, ZipPath, ZipTooLarge, ZipTooMany):
                continue
