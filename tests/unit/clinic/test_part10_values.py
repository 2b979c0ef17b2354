"""Values of every kind, as PS3.18 Annex F wants them."""

from __future__ import annotations

import pytest

from clinic.part10_values import known_vr, read_value, settle_vr


@pytest.mark.parametrize(
    ("vr", "raw", "expected"),
    [
        ("DS", b"1.5\\2 \\ ", [1.5, 2.0, None]),
        ("DS", b"1,5", ["1,5"]),
        ("DS", b"nan", ["nan"]),
        ("DS", b"1e999", ["1e999"]),
        ("DS", b"1_0", ["1_0"]),
        ("DS", b"  ", []),
        ("IS", b"12\\-3", [12, -3]),
        ("IS", b"1.0", ["1.0"]),
        ("IS", b"9" * 5000, ["9" * 5000]),
        ("CS", b" A \\B", ["A", "B"]),
        ("CS", b"A\\\\B", ["A", None, "B"]),
        ("UI", b"1.2.3\x00", ["1.2.3"]),
        ("LO", b"a\\b  ", ["a", "b"]),
        ("LT", b"a\\b  ", ["a\\b"]),
        ("ST", b"", []),
        ("UR", b"http://a/b ", ["http://a/b"]),
        (
            "PN",
            b"Doe^Jane=X=Y\\^",
            [{"Alphabetic": "Doe^Jane", "Ideographic": "X", "Phonetic": "Y"}, {"Alphabetic": "^"}],
        ),
        ("PN", b"==Y", [{"Phonetic": "Y"}]),
        ("US", b"\x01\x00\x02\x00\x03", [1, 2]),
        ("SS", b"\xff\xff", [-1]),
        ("FD", b"\x00\x00\x00\x00\x00\x00\xf0\x7f", ["inf"]),
        ("FL", b"\x00\x00\xc0\x7f", ["NaN"]),
        ("AT", b"\x10\x00\x20\x00", ["00100020"]),
        ("XX", b"abc", ["abc"]),
    ],
)
def test_values(vr, raw, expected):
    assert read_value(vr, raw, "<", ()) == expected


@pytest.mark.parametrize(
    ("charset", "raw", "expected"),
    [
        (("ISO_IR 192",), "Müller".encode(), "Müller"),
        (("ISO_IR 100",), "Müller".encode("latin-1"), "Müller"),
        (("NO SUCH",), "Müller".encode("latin-1"), "Müller"),
        (("", "ISO 2022 IR 87"), b"\x1b$B;3ED\x1b(B", "山田"),
        (("ISO_IR 192",), b"\xff\xfe", "\ufffd\ufffd"),
        (("", "NO SUCH"), b"\x1b$B;3ED\x1b(B", None),
        ((), b"\xe9", "\xe9"),
    ],
)
def test_character_sets(charset, raw, expected):
    (text,) = read_value("LO", raw, "<", charset)
    assert expected is None or text == expected


def test_the_dictionary_where_the_file_does_not_say():
    assert known_vr(0x00100010) == "PN"
    assert known_vr(0x00091001) == "UN"
    assert known_vr(0x00090010) == "LO"
    assert known_vr(0x60003000) == "OB or OW"
    assert known_vr(0x0000FFFF) == "UN"
    assert settle_vr(0x00280106, "US or SS", signed=True) == "SS"
    assert settle_vr(0x00280106, "US or SS", signed=False) == "US"
    assert settle_vr(0x60003000, "OB or OW", signed=False) == "OW"
    assert settle_vr(0x00100010, "PN", signed=False) == "PN"
